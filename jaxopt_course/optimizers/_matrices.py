"""Matrices of equal shape as one batch, and large matrices in blocks.

A network repeats its layers, so hundreds of matrices have a handful of shapes. Long chains of
operations, such as the Newton-Schulz iteration, and costly calls, such as a decomposition, are
written for one matrix and mapped over stacks of them, which is faster to run and to compile. Short
formulas should be mapped over single leaves, because stacking and splitting costs as much.

The cost of a full factor grows with the cube of an axis. Cut into blocks, each of which is a leaf
of its own, an axis of n entries costs n / b times b^3. Every axis of a leaf with at least two axes
is cut after each b entries; the last block of an axis may be shorter.

Reference: Anil et al., "Scalable Second Order Optimization for Deep Learning", 2020,
https://arxiv.org/abs/2002.09018, section 3.4 (blocks).
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec
from jaxtyping import Array, PyTree

from jaxopt_course.core import GradientTransformationExtraArgs, checks, on_auto_axes


# Largest size of a stack. Several copies of it exist at a time, and beyond the caches of a CPU they
# are slower; ``benchmarks/muon.py`` tries other sizes.
STACK_BYTES = 4 * 2**20


def map_stacked(f: Callable[..., Any], tree: PyTree, *rest: PyTree) -> PyTree:
    """``jax.tree.map(f, tree, *rest)``, where leaves of equal shape are computed as one batch.

    Leaves whose arguments have equal shapes and dtypes are stacked, up to ``STACK_BYTES`` at a
    time, and ``f`` is vmapped over them. A larger leaf is computed by itself.

    Args:
        f: a function of one leaf, and of the subtree in its place in each tree of ``rest``.
        tree: tree of arrays.
        rest: trees with ``tree`` as a prefix.
    """
    leaves = jax.tree.leaves(tree)
    structure: Any = jax.tree.structure(tree)
    calls = list(zip(leaves, *(structure.flatten_up_to(other) for other in rest), strict=True))
    alike: dict[Any, list[int]] = {}
    for i, call in enumerate(calls):
        arrays, kind = jax.tree.flatten(call)
        alike.setdefault((kind, *map(jax.typeof, arrays)), []).append(i)
    found: dict[int, Any] = {}
    for (_, *types), members in alike.items():
        size = sum(own.size * own.dtype.itemsize for own in types)
        room = max(STACK_BYTES // max(size, 1), 1)
        for begin in range(0, len(members), room):
            some = members[begin : begin + room]
            found.update(zip(some, _mapped(f, [calls[i] for i in some]), strict=True))
    return jax.tree.unflatten(structure, [found[i] for i in range(len(leaves))])


def _mapped(f: Callable[..., Any], calls: list[tuple[Any, ...]]) -> list[Any]:
    """``f`` of each of these calls, whose arguments have equal shapes."""
    if len(calls) == 1:
        return [f(*calls[0])]
    results = jax.vmap(f)(*jax.tree.map(lambda *arrays: jnp.stack(arrays), *calls))
    arrays, structure = jax.tree.flatten(results)
    parts = [_entries(array) for array in arrays]
    return [jax.tree.unflatten(structure, [p[i] for p in parts]) for i in range(len(calls))]


def _entries(stack: Array) -> list[Array]:
    """The entries of ``stack``.

    The indices pass an optimization barrier, so that all slices of one shape share a kernel. With
    constant indices the CPU compiler makes a kernel for each, which takes up to twice as long.
    """
    zeros = [np.uint32(0)] * (stack.ndim - 1)
    numbers = jax.lax.optimization_barrier([np.uint32(i) for i in range(len(stack))])
    shape = stack.shape[1:]
    return [jax.lax.dynamic_slice(stack, (i, *zeros), (1, *shape)).reshape(shape) for i in numbers]


def in_blocks(
    inner: GradientTransformationExtraArgs, block_size: int
) -> GradientTransformationExtraArgs:
    """Run ``inner`` on the blocks of each leaf; its state is that of a tree with lists of blocks.

    Args:
        inner: the transformation, which should treat leaves one by one.
        block_size: b, the largest number of entries of an axis in a block, at least 1.
    """

    def cut(tree: PyTree) -> PyTree:
        if tree is None:
            return None
        blocks = lambda tree: jax.tree.map(lambda x: _cut(x, block_size), tree)
        return on_auto_axes(blocks, tree, like=jax.tree.map(place, tree))

    def place(x: Any) -> Any:
        return PartitionSpec() if _counts(jnp.shape(x), block_size) else x

    def joined(blocks: PyTree, like: PyTree) -> PyTree:
        back = lambda x, parts: _joined(parts, x.shape, block_size)
        return jax.tree.map(back, like, blocks)

    def update(updates, state, params=None, **extra_args):
        if params is not None:  # whose blocks might have the shapes of those of another leaf
            checks.like("in_blocks", "gradient", updates, params)
        parts, state = inner.update(cut(updates), state, cut(params), **extra_args)
        return on_auto_axes(joined, parts, updates, like=updates), state

    return GradientTransformationExtraArgs(lambda params: inner.init(cut(params)), update)


def _counts(shape: tuple[int, ...], block_size: int) -> list[int] | None:
    """The number of blocks along each axis, or None for a leaf that stays whole."""
    counts = [max(math.ceil(n / block_size), 1) for n in shape]
    return counts if len(shape) > 1 and math.prod(counts) > 1 else None


def _cut(x: Any, block_size: int) -> Any:
    """The blocks of ``x`` as a list, the last axis fastest; ``x`` itself if there is only one."""
    if _counts(jnp.shape(x), block_size) is None:
        return x
    parts = [x]
    for axis, size in enumerate(x.shape):
        ends = list(range(block_size, size, block_size))
        parts = [block for part in parts for block in jnp.split(part, ends, axis)]
    return parts


def _joined(parts: Any, shape: tuple[int, ...], block_size: int) -> Array:
    """The reverse of :func:`_cut`."""
    counts = _counts(shape, block_size)
    if counts is None:
        return parts
    for axis, count in reversed(list(enumerate(counts))):
        parts = [jnp.concatenate(parts[i : i + count], axis) for i in range(0, len(parts), count)]
    return parts[0]
