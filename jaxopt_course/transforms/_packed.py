"""Run an elementwise optimizer on a few large arrays instead of many small ones.

A thousand small leaves that are concatenated take one operation instead of a thousand.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import optax
from jaxtyping import PyTree

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    Params,
    State,
    checks,
    is_split,
    states,
    tree,
)

from ._elementwise import NotElementwiseError, kinds_of, leaf_programs
from ._packing import Layout, PackedTree, pack, packed_shapes, plan


class PackedState(NamedTuple):
    """State of a packed optimizer.

    layout: place of each leaf, static.
    inner_state: inner state, with a :class:`PackedTree` for each tree shaped like the params.
    """

    layout: Layout
    inner_state: State

    def evaluation_params(self, params: Params) -> Params:
        """The evaluation parameters of the inner state."""
        return self._point(states.evaluation_params, params)

    def lookahead_params(self, params: Params) -> Params:
        """The look-ahead point of the inner state."""
        return self._point(states.lookahead_params, params)

    def pack_params(self, params: Params) -> PackedTree:
        """``params`` in this layout."""
        return params if _has_layout(params, self.layout) else pack(params, self.layout)

    def unpacked(self) -> State:
        """The inner state with a tree for each :class:`PackedTree`, if all of these are intact."""
        if not self._is_intact():
            return self
        apart = lambda part: _unpack(part) if _is_packed_tree(part) else part
        return jax.tree.map(apart, self.inner_state, is_leaf=_is_packed_tree)

    def packed(self, state: State) -> "PackedState":
        """``state``, which :meth:`unpacked` returned, in this layout."""
        if not self._is_intact():
            return state
        own = lambda part, new: _pack(new, part.layout) if _is_packed_tree(part) else new
        inner = jax.tree.map(own, self.inner_state, state, is_leaf=_is_packed_tree)
        return PackedState(self.layout, inner)

    def _is_intact(self) -> bool:
        parts = jax.tree.leaves(self.inner_state, is_leaf=_is_packed_tree)
        return all(part.is_intact for part in filter(_is_packed_tree, parts))

    def _point(self, point: Callable[[State, Params], Params], params: Params) -> Params:
        if _has_layout(params, self.layout):
            return point(self.inner_state, params)
        to = lambda leaves: pack(leaves, self.layout)
        back = lambda tree, _: jax.tree.leaves(tree.unpacked())
        return states.in_own_layout(point, self.inner_state, params, to, back, self.layout.absent)


def packed(
    optimizer: optax.GradientTransformation, *, max_size: int = 16384
) -> GradientTransformationExtraArgs:
    """Run an elementwise ``optimizer`` on a few arrays that small leaves are joined to.

    Leaves are joined if they have one dtype, shapes that differ only in the first axis, and equal
    treatment by the optimizer. Leaves that are split over several devices are not joined, because
    that would exchange data between devices in every step.

    ``init`` decides which leaves are joined. On several devices call it on concrete parameters,
    outside of ``jax.jit`` and ``jax.eval_shape``, which hide the sharding of an array on an
    automatic mesh: such an array is not joined. :func:`~jaxopt_course.training.fit` knows the
    sharding of its parameters.

    ``init`` checks that the optimizer is elementwise. Transformations that look at whole leaves or
    trees, such as clipping by norm, must be outside. If this wrapper is the outermost one, the
    trainings of this library keep the parameters packed between steps, too, and unpack them in
    their results.

    Args:
        optimizer: the transformation.
        max_size: largest number of entries of a leaf that is joined, in [0, inf), static.

    Returns:
        A transformation with the updates of ``optimizer``, up to rounding. If ``optimizer`` draws
        random numbers, they differ.

    Raises:
        ValueError: from ``init``, if ``optimizer`` is not elementwise, or treats a joined array
            differently from the leaves in it, as masks by path do.

    Examples:
        >>> import jax.numpy as jnp
        >>> from jaxopt_course.transforms import unpack
        >>> params = {f"bias {i}": jnp.zeros(4) for i in range(100)}
        >>> tx = packed(optax.trace(0.9))
        >>> [leaf.shape for leaf in jax.tree.leaves(tx.init(params))]
        [(400,)]
        >>> unpack(tx.init(params)).trace["bias 7"].shape
        (4,)
    """
    checks.integer("packed", "max_size", max_size, "[0, inf)")
    inner = checks.transformation("packed", "optimizer", optimizer)
    exact = getattr(inner, "exact", inner)
    known: dict[Any, Layout] = {}  # by the shapes and shardings of parameters

    def init(params):
        kinds = (kinds_of(params), *map(is_split, jax.tree.leaves(params)))
        if kinds not in known:
            known[kinds] = _layout(exact, params, max_size)
        return PackedState(known[kinds], inner.init(pack(params, known[kinds])))

    def update(updates, state, params=None, **extra_args):
        if not isinstance(state, PackedState):  # an unpacked state
            return inner.update(updates, state, params, **extra_args)
        layout, given = state.layout, updates
        is_packed = _has_layout(given, layout)
        if not is_packed:
            if params is not None:
                checks.like("packed", "gradient", updates, params)
            updates = pack(updates, layout)
        if params is not None and not _has_layout(params, layout):
            params = pack(params, layout)
        updates, inner_state = inner.update(updates, state.inner_state, params, **extra_args)
        if not is_packed:
            structure: Any = jax.tree.structure(given)
            apart = jax.tree.unflatten(structure, jax.tree.leaves(updates.unpacked()))
            updates = tree.cast_like(apart, given)
        return updates, PackedState(layout, inner_state)

    return GradientTransformationExtraArgs(init, update)


# Outside of compiled programs, one program each.
_pack, _unpack = jax.jit(pack, static_argnames="layout"), jax.jit(PackedTree.unpacked)


def _has_layout(tree: PyTree, layout: Layout) -> bool:
    """Whether ``tree`` is packed in this layout, and not in that of another wrapper around it."""
    return isinstance(tree, PackedTree) and tree.layout == layout


def _is_packed_tree(part: Any) -> bool:
    return isinstance(part, PackedTree)


def _layout(exact: GradientTransformationExtraArgs, params: PyTree, max_size: int) -> Layout:
    """The layout in which each buffer is treated as every leaf in it."""
    layout = plan(params, max_size)
    if not layout.groups:
        return layout
    try:
        programs = leaf_programs(exact, params)
        layout = plan(params, max_size, tuple(programs))
        together = leaf_programs(exact, packed_shapes(params, layout))
    except NotElementwiseError as error:
        raise ValueError(
            f"packed: `optimizer` must treat each entry alone, but {error}; pack the part of it "
            "that does, and chain or wrap the rest around that."
        ) from None
    except Exception as error:
        raise ValueError(
            "packed: `optimizer` must run on these parameters, alone and joined, without extra "
            f"arguments, but it raises {type(error).__name__}: {error}"
        ) from error
    alone = [*layout.groups, *((i,) for i in layout.whole)]
    for group, program in zip(alone, together, strict=True):
        if any(programs[i] != program for i in group):
            path, _ = jax.tree.leaves_with_path(params)[group[0]]
            raise ValueError(
                f"packed: `optimizer` must treat a leaf alike wherever it lies, but it treats "
                f"{jax.tree_util.keystr(path)} otherwise among joined leaves, as a mask "
                "by path does; mask `packed(...)`, not what is in it."
            )
    return layout
