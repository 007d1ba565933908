"""Small leaves together: an optimizer that runs on a few large arrays instead of many small ones.

What an elementwise optimizer does to an entry does not hang on where the entry lies. Laid end to
end, a thousand small leaves are one operation instead of a thousand, compiled once.
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
    tree,
)

from ._elementwise import NotElementwiseError, kinds_of, leaf_programs
from ._packing import Layout, PackedTree, can_unpack, pack, packed_shapes, plan, unpack
from ._points import evaluation_params, in_own_layout, lookahead_params


class PackedState(NamedTuple):
    """The state of the optimizer, on packed parameters.

    layout: where the leaves lie; static.
    inner_state: the inner state; for each tree shaped like the params a few arrays.
    """

    layout: Layout
    inner_state: State

    def evaluation_params(self, params: Params) -> Params:
        """What the state inside has to evaluate with."""
        return self._point(evaluation_params, params)

    def lookahead_params(self, params: Params) -> Params:
        """Where the state inside wants the gradient."""
        return self._point(lookahead_params, params)

    def _point(self, point: Callable[[State, Params], Params], params: Params) -> Params:
        if _has_layout(params, self.layout):
            return point(self.inner_state, params)
        to = lambda leaves: pack(leaves, self.layout)
        back = lambda tree, _: jax.tree.leaves(unpack(tree))
        return in_own_layout(point, self.inner_state, params, to, back, self.layout.structure)


def packed(
    optimizer: optax.GradientTransformation, *, max_size: int = 16384
) -> GradientTransformationExtraArgs:
    """Run an elementwise ``optimizer`` on small leaves joined to a few arrays; large ones stay.

    Leaves of one dtype are joined whose shapes differ in the first axis only, and which the
    optimizer treats alike. Leaves that are split over several devices stay as they are, because
    joining them would exchange data between devices in every step.

    ``init`` decides which leaves are joined, and ``update`` follows its state. A concrete array
    knows how it is sharded. Inside ``jax.jit`` or ``jax.eval_shape``, an array on an automatic mesh
    of several devices does not, and therefore stays as it is; call ``init`` on concrete parameters,
    outside of ``jax.jit``, to have replicated leaves joined. Parameters that are created in the
    same ``jax.jit`` and get their sharding from its ``out_shardings`` do not even show a mesh:
    create them first, and call ``init`` afterwards. :func:`~jaxopt_course.training.fit` knows the
    sharding of its parameters and needs none of this.

    Whether the optimizer is elementwise is read from the jaxpr of its ``update`` when ``init`` is
    called. Put what looks at whole leaves or trees, such as a clip by norm, outside. Trainings of
    this library hold the parameters packed too, where this wrapper is the outermost, and hand them
    out as the tree that they are.

    Args:
        optimizer: the transformation.
        max_size: entries up to which a leaf is small, static, in [0, inf).

    Returns:
        A transformation with the updates of ``optimizer``, to rounding. Where that draws random
        numbers, others are drawn.

    Raises:
        ValueError: from ``init``, if ``optimizer`` is not elementwise, or treats a joined array
            otherwise than what is in it, as masks by path do.

    Examples:
        >>> import jax.numpy as jnp
        >>> params = {f"bias {i}": jnp.zeros(4) for i in range(100)}
        >>> tx = packed(optax.trace(0.9))
        >>> [leaf.shape for leaf in jax.tree.leaves(tx.init(params))]
        [(400,)]
        >>> unpacked_state(tx.init(params)).trace["bias 7"].shape
        (4,)
    """
    checks.integer("packed", "max_size", max_size, "[0, inf)")
    inner = checks.transformation("packed", "optimizer", optimizer)
    exact = getattr(inner, "exact", inner)
    known: dict[Any, Layout] = {}  # of such parameters

    def init(params):
        kinds = (kinds_of(params), *map(is_split, jax.tree.leaves(params)))
        if kinds not in known:
            known[kinds] = _layout(exact, params, max_size)
        return PackedState(known[kinds], inner.init(pack(params, known[kinds])))

    def update(updates, state, params=None, **extra_args):
        if not isinstance(state, PackedState):  # nothing is packed in it
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
            apart = jax.tree.unflatten(structure, jax.tree.leaves(unpack(updates)))
            updates = tree.cast_like(apart, given)
        return updates, PackedState(layout, inner_state)

    return GradientTransformationExtraArgs(init, update)


def packed_params(state: State, params: Params) -> Params:
    """``params`` as the optimizer of ``state`` holds them: packed, if it is :func:`packed`."""
    is_ours = isinstance(state, PackedState) and not isinstance(params, PackedTree)
    return pack(params, state.layout) if is_ours else params


def unpacked_state(state: State) -> State:
    """The state that the optimizer has without :func:`packed`, with a tree for each tree.

    The ``update`` of :func:`packed` takes it too, and then runs on the tree. Where what is packed
    is no longer leaves end to end, as the blocks of :func:`quantized_state` are not, it stays.

    Args:
        state: of :func:`packed`, or of any chain or wrapper around it, or a tree of these.
    """

    def of(part: Any) -> Any:
        if not _can_unpack(part):
            return part
        apart = lambda part: _unpack(part) if _is_packed_tree(part) else part
        return jax.tree.map(apart, part.inner_state, is_leaf=_is_packed_tree)

    return jax.tree.map(of, state, is_leaf=_is_packed_state)


def packed_state(state: State, like: State) -> State:
    """The reverse of :func:`unpacked_state`: ``state``, laid out as ``like``.

    Args:
        state: of the optimizer without :func:`packed`, one that was saved for instance. A state of
            :func:`packed` is laid out again where ``like`` joins other leaves, as it does if the
            parameters of one of the two states are sharded.
        like: the state that ``init`` of the packed one gives, or its shapes.
    """
    structure: Any = jax.tree.structure(state)
    if structure == jax.tree.structure(like):
        return state
    state = unpacked_state(state)

    def of(part: Any, own: Any) -> Any:
        if not _can_unpack(part):
            return own
        repacked = lambda tree, own: _pack(own, tree.layout) if _is_packed_tree(tree) else own
        inner = jax.tree.map(repacked, part.inner_state, own, is_leaf=_is_packed_tree)
        return PackedState(part.layout, inner)

    return jax.tree.map(of, like, state, is_leaf=_is_packed_state)


_pack, _unpack = jax.jit(pack, static_argnames="layout"), jax.jit(unpack)  # one program each


def _has_layout(tree: PyTree, layout: Layout) -> bool:
    """Whether ``tree`` is packed in this layout, and not in that of another wrapper around it."""
    return isinstance(tree, PackedTree) and tree.layout == layout


def _is_packed_state(part: Any) -> bool:
    return isinstance(part, PackedState)


def _is_packed_tree(part: Any) -> bool:
    return isinstance(part, PackedTree)


def _can_unpack(part: Any) -> bool:
    """Whether it is a packed state whose trees all can be taken apart."""
    if not _is_packed_state(part):
        return False
    parts = jax.tree.leaves(part.inner_state, is_leaf=_is_packed_tree)
    return all(map(can_unpack, filter(_is_packed_tree, parts)))


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
    except (ValueError, TypeError) as error:
        raise ValueError(f"packed: `optimizer` does not run on joined leaves: {error}") from error
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
