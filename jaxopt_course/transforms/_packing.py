"""Trees of many small arrays, stored in a few large ones.

Arrays of one dtype whose shapes differ only in the first axis are concatenated along it; a scalar
counts as an array of length 1. A buffer therefore has the axes of the arrays in it, and is cut into
them without reshaping it first.
"""

import dataclasses
import functools
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from jaxopt_course.core import is_split, states


AT_ONCE = 64  # arrays that one operation concatenates


@jax.tree_util.register_static
class Layout:
    """The place of each leaf of a tree: hashable, and a pytree without leaves.

    structure: structure of the tree.
    shapes: shapes of its leaves.
    groups: for each buffer, the numbers of the leaves in it, in order.
    buffer_shapes: shapes of the buffers.
    whole: the numbers of the leaves that are in no buffer.
    absent: the numbers of masked places, of the leaves that others train, among all places.
    """

    def __init__(
        self,
        structure: Any,
        shapes: tuple[tuple[int, ...], ...],
        groups: tuple[tuple[int, ...], ...],
    ) -> None:
        """Store the fields and their hash, which every call of a compiled function needs."""
        self.structure, self.shapes, self.groups = structure, shapes, groups
        self._hash = hash((structure, shapes, groups))
        self.buffer_shapes = tuple(
            (sum(_lengths([shapes[i] for i in group])), *shapes[group[0]][1:]) for group in groups
        )
        packed = {i for group in groups for i in group}
        self.whole = tuple(i for i in range(len(shapes)) if i not in packed)
        self.absent = states.absent_leaves(structure.unflatten(range(len(shapes))))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return isinstance(other, Layout) and (
            (self._hash, self.structure, self.shapes, self.groups)
            == (other._hash, other.structure, other.shapes, other.groups)
        )

    def __repr__(self) -> str:
        packed = sum(map(len, self.groups))
        return f"Layout({packed} leaves in {len(self.groups)} buffers, {len(self.whole)} whole)"


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["buffers", "whole"], meta_fields=["layout"]
)
@dataclasses.dataclass(frozen=True)
class PackedTree:
    """A tree of arrays, stored in a few arrays.

    buffers: tuple of arrays that hold several leaves each.
    whole: tuple of the leaves that are stored as they are.
    layout: the place of each leaf.
    """

    buffers: tuple[Any, ...]
    whole: tuple[Any, ...]
    layout: Layout

    def unpacked(self) -> PyTree:
        """The tree."""
        layout = self.layout
        leaves: dict[int, Any] = dict(zip(layout.whole, self.whole, strict=True))
        for group, buffer in zip(layout.groups, self.buffers, strict=True):
            shapes = tuple(layout.shapes[i] for i in group)
            leaves.update(zip(group, _cut(shapes, buffer), strict=True))
        return jax.tree.unflatten(layout.structure, [leaves[i] for i in range(len(layout.shapes))])

    def packed(self, tree: PyTree) -> "PackedTree":
        """``tree`` in this layout."""
        return pack(tree, self.layout)

    def placed_by(self, rule: Callable[[tuple[int, ...]], Any]) -> "PackedTree":
        """The shardings of these arrays, given the ``rule`` from shapes to shardings.

        A buffer of leaves that are not split is not split, whatever its own shape is.
        """
        buffers = []
        for buffer, group in zip(self.buffers, self.layout.groups, strict=True):
            is_split = any(tuple(rule(self.layout.shapes[i]).spec) for i in group)
            own = is_split or not hasattr(buffer, "shape")
            buffers.append(jax.tree.map(lambda x, own=own: rule(x.shape if own else ()), buffer))
        whole = jax.tree.map(lambda leaf: rule(leaf.shape), self.whole)
        return dataclasses.replace(self, buffers=tuple(buffers), whole=whole)

    @property
    def is_intact(self) -> bool:
        """Whether the buffers hold the leaves; a wrapper may have replaced them."""
        shapes = tuple(getattr(buffer, "shape", None) for buffer in self.buffers)
        return shapes == self.layout.buffer_shapes


def plan(tree: PyTree, max_size: int, apart: tuple[Hashable, ...] | None = None) -> Layout:
    """The layout of ``tree`` in which leaves of at most ``max_size`` entries are packed.

    Leaves that are, or may be, split over several devices are not packed: joining them would
    exchange data between devices in every step. ``apart`` has one value per leaf; only leaves with
    equal values share a buffer.
    """
    leaves, structure = jax.tree.flatten(tree)
    shapes = tuple(jnp.shape(leaf) for leaf in leaves)
    found: dict[Any, list[int]] = {}
    for i, (leaf, shape) in enumerate(zip(leaves, shapes, strict=True)):
        if np.prod(shape) <= max_size and not is_split(leaf):
            kind = (jnp.result_type(leaf), shape[1:], apart and apart[i])
            found.setdefault(kind, []).append(i)
    groups = tuple(tuple(group) for group in found.values() if len(group) > 1)
    return Layout(structure, shapes, groups)


def pack(tree: PyTree, layout: Layout) -> PackedTree:
    """``tree`` in this layout. Its containers may differ from those of the layout.

    Raises:
        ValueError: if the shapes of its leaves are not those of the layout.
    """
    leaves = jax.tree.leaves(tree)
    shapes = tuple(jnp.shape(leaf) for leaf in leaves)
    if shapes != layout.shapes:
        raise ValueError(
            f"packed: the leaves must be those of the params given to `init`, of shapes "
            f"{layout.shapes}, got {shapes}."
        )
    buffers = tuple(_joined([leaves[i] for i in group]) for group in layout.groups)
    return PackedTree(buffers, tuple(leaves[i] for i in layout.whole), layout)


def packed_shapes(tree: PyTree, layout: Layout) -> PackedTree:
    """Shapes and dtypes of ``pack(tree, layout)``, computed without tracing it."""
    leaves = jax.tree.leaves(tree)
    like = lambda shape, i: jax.ShapeDtypeStruct(shape, jnp.result_type(leaves[i]))
    buffers = zip(layout.buffer_shapes, layout.groups, strict=True)
    return PackedTree(
        tuple(like(shape, group[0]) for shape, group in buffers),
        tuple(like(layout.shapes[i], i) for i in layout.whole),
        layout,
    )


def _lengths(shapes: Sequence[tuple[int, ...]]) -> list[int]:
    """The lengths of leaves along the axis of concatenation."""
    return [shape[0] if shape else 1 for shape in shapes]


def _joined(leaves: Sequence[Any]) -> Array:
    """``leaves`` concatenated, a few at a time because many at once take long to compile."""
    parts = [leaf if jnp.ndim(leaf) else jnp.reshape(leaf, 1) for leaf in leaves]
    while len(parts) > 1:
        some = [parts[i : i + AT_ONCE] for i in range(0, len(parts), AT_ONCE)]
        parts = [jnp.concatenate(part) for part in some]
    return parts[0]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _cut(shapes: tuple[tuple[int, ...], ...], buffer: Array) -> list[Array]:
    """The leaves in ``buffer``; its gradient concatenates theirs.

    The barrier hides the offsets from the compiler, so that all slices of one length share one
    kernel. With constant offsets each slice is compiled by itself, which takes 17 times as long on
    a CPU. The barrier also keeps each slice from recomputing the buffer.
    """
    lengths = _lengths(shapes)
    ends = np.cumsum(lengths)
    begins = [np.uint32(end - length) for end, length in zip(ends, lengths, strict=True)]
    buffer, begins = jax.lax.optimization_barrier((buffer, begins))
    rest = [np.uint32(0)] * (buffer.ndim - 1)
    parts = [
        jax.lax.dynamic_slice(buffer, (begin, *rest), (length, *buffer.shape[1:]))
        for begin, length in zip(begins, lengths, strict=True)
    ]
    return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]


def _cut_forward(shapes: Any, buffer: Array) -> tuple[list[Array], None]:
    return _cut(shapes, buffer), None


def _cut_backward(shapes: Any, _: None, parts: list[Array]) -> tuple[Array]:
    return (_joined(parts),)


_cut.defvjp(_cut_forward, _cut_backward)
