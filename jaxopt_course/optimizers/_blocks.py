"""Blocks: a transformation of matrices runs on parts of large leaves, each as a leaf of its own.

The cost of a full factor grows with the cube of an axis. Cut into blocks, an axis of n entries
costs n / b times b^3. Every axis of a leaf with at least two axes is cut after each b entries; the
last block of an axis may be shorter.

Reference: Anil et al., "Scalable Second Order Optimization for Deep Learning", 2020,
https://arxiv.org/abs/2002.09018, section 3.4.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jaxtyping import Array, PyTree

from jaxopt_course.core import GradientTransformationExtraArgs, checks, on_auto_axes


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
