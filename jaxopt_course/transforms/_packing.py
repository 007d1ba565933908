"""Many small arrays in a few large ones.

Arrays of one dtype whose shapes differ in the first axis only are laid end to end along it; a
number counts as an array of length 1. So a buffer has the axes of what is in it, and is cut
without a copy in between.
"""

import dataclasses
import functools
from collections.abc import Hashable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from jaxopt_course.core import is_split


AT_ONCE = 64  # arrays that are laid end to end in one operation


@jax.tree_util.register_static
class Layout:
    """Where each leaf of a tree lies: hashable, a pytree without leaves.

    structure: of the tree.
    shapes: of its leaves.
    groups: for each buffer the numbers of the leaves in it, in their order.
    buffer_shapes: of the buffers.
    whole: the numbers of the leaves that are in none.
    """

    def __init__(
        self,
        structure: Any,
        shapes: tuple[tuple[int, ...], ...],
        groups: tuple[tuple[int, ...], ...],
    ) -> None:
        """Keep them, and their hash: it is asked for at every call of a compiled function."""
        self.structure, self.shapes, self.groups = structure, shapes, groups
        self._hash = hash((structure, shapes, groups))
        self.buffer_shapes = tuple(
            (sum(_lengths([shapes[i] for i in group])), *shapes[group[0]][1:]) for group in groups
        )
        packed = {i for group in groups for i in group}
        self.whole = tuple(i for i in range(len(shapes)) if i not in packed)

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
    """A tree in a few arrays.

    buffers: a tuple of arrays, each holding several leaves.
    whole: a tuple of the leaves that are left as they are.
    layout: where each leaf lies.
    """

    buffers: tuple[Any, ...]
    whole: tuple[Any, ...]
    layout: Layout


def plan(tree: PyTree, max_size: int, apart: tuple[Hashable, ...] | None = None) -> Layout:
    """The layout of ``tree``, of which leaves up to ``max_size`` entries are packed.

    Leaves that are split over several devices, or may be, stay as they are: joining them would
    exchange data between devices in every step.

    Args:
        tree: of arrays.
        max_size: entries.
        apart: a value for each leaf; only leaves of equal values share a buffer.
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
    """``tree``, laid out as said. Its containers may be others, if its leaves are those.

    Raises:
        ValueError: if it has other leaves than the tree that the layout was made for.
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
    """Shapes and dtypes of ``pack(tree, layout)``, without tracing it."""
    leaves = jax.tree.leaves(tree)
    like = lambda shape, i: jax.ShapeDtypeStruct(shape, jnp.result_type(leaves[i]))
    buffers = zip(layout.buffer_shapes, layout.groups, strict=True)
    return PackedTree(
        tuple(like(shape, group[0]) for shape, group in buffers),
        tuple(like(layout.shapes[i], i) for i in layout.whole),
        layout,
    )


def can_unpack(tree: PackedTree) -> bool:
    """Whether its buffers are arrays that hold the leaves; of some a wrapper has made others."""
    shapes = tuple(getattr(buffer, "shape", None) for buffer in tree.buffers)
    return shapes == tree.layout.buffer_shapes


def unpack(tree: PyTree) -> PyTree:
    """The tree that a :class:`PackedTree` holds; any other tree as it is."""
    if not isinstance(tree, PackedTree):
        return tree
    layout = tree.layout
    leaves: dict[int, Any] = dict(zip(layout.whole, tree.whole, strict=True))
    for group, buffer in zip(layout.groups, tree.buffers, strict=True):
        shapes = tuple(layout.shapes[i] for i in group)
        leaves.update(zip(group, _cut(shapes, buffer), strict=True))
    return jax.tree.unflatten(layout.structure, [leaves[i] for i in range(len(layout.shapes))])


def _lengths(shapes: Sequence[tuple[int, ...]]) -> list[int]:
    """Of leaves along the axis in which they are laid end to end."""
    return [shape[0] if shape else 1 for shape in shapes]


def _joined(leaves: Sequence[Any]) -> Array:
    """``leaves`` end to end, by some at a time: many at once take long to compile."""
    parts = [leaf if jnp.ndim(leaf) else jnp.reshape(leaf, 1) for leaf in leaves]
    while len(parts) > 1:
        some = [parts[i : i + AT_ONCE] for i in range(0, len(parts), AT_ONCE)]
        parts = [jnp.concatenate(part) for part in some]
    return parts[0]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _cut(shapes: tuple[tuple[int, ...], ...], buffer: Array) -> list[Array]:
    """The parts of ``buffer``; the gradient lays those of the parts end to end.

    Where a part begins is a number behind a barrier. So all cuts of one length are one kernel:
    with the numbers in their code each is compiled by itself, 17 times as long on a CPU. The
    barrier before them keeps them from computing the buffer anew.
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
