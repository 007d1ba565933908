"""Euclidean norms of trees and arrays, which are finite for finite numbers of any size.

    |x| = sqrt(sum |s x_i|^2) / s        s = 1, or a power of two

The squares of float32 numbers overflow from 1.8e19 on and vanish below 1e-23: s is then 2^-80 or
2^80. Such a factor rounds nothing, and numbers of usual size keep the bits of the plain formula.

Reference: Blue, "A Portable Fortran Program to Find the Euclidean Norm of a Vector", 1978.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Inexact, PyTree

from ._numerics import abs_sq, wide_dtype
from ._tree import divide_tree, scalar_dtype, widened


__all__ = ["global_norm", "l2_norm", "root_mean_square"]

Axis = int | Sequence[int] | None


def global_norm(tree: PyTree) -> Float[Array, ""]:
    """The L2 norm of all entries of ``tree`` taken together, in float32 or wider.

    It is finite where all entries are, the largest float at most, and 0 only where all are. Its
    slope at a zero tree is 0.
    """
    leaves = [leaf for leaf in jax.tree.leaves(widened(tree)) if leaf.size]
    return _norm(leaves, None, False) if leaves else jnp.zeros((), scalar_dtype(tree))


def l2_norm(
    x: Inexact[Array, "*shape"], axis: Axis = None, *, keepdims: bool = False
) -> Float[Array, "..."]:
    """The L2 norms of an array along ``axis``, by the rules of :func:`global_norm`."""
    return _along(x, axis, keepdims, False)


def root_mean_square(
    x: Inexact[Array, "*shape"], axis: Axis = None, *, keepdims: bool = False
) -> Float[Array, "..."]:
    """The root of the mean of ``|x|^2`` along ``axis``, as finite as :func:`global_norm`."""
    return _along(x, axis, keepdims, True)


def _along(x: Any, axis: Axis, keepdims: bool, mean: bool) -> Array:
    x = jnp.asarray(x, wide_dtype(jnp.result_type(x)))
    if not x.size:
        return jnp.sum(abs_sq(x), axis if axis is None else _axes(axis), keepdims=keepdims)
    if axis is None:
        norm = _norm([x], None, mean)
        return jnp.expand_dims(norm, tuple(range(x.ndim))) if keepdims else norm
    norm = _norm([x], _axes(axis), mean)
    return norm if keepdims else jnp.squeeze(norm, _axes(axis))


def _axes(axis: int | Sequence[int]) -> tuple[int, ...]:
    return (axis,) if isinstance(axis, int) else tuple(axis)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1, 2))
def _norm(leaves: list[Array], axes: tuple[int, ...] | None, mean: bool) -> Array:
    """The norm of all ``leaves``, or along ``axes`` of the only one, which stay with size 1."""
    size = _group_size(leaves, axes)
    over = size if mean else 1
    squares = _sum_of_squares(leaves, axes)
    limits = jnp.finfo(squares.dtype)
    # Squares below tiny are lost, in all `size * tiny` at most: the rounding of this bound.
    too_small = squares < float(limits.tiny) / float(limits.eps) * size
    too_large = ~(squares <= float(limits.max))
    # The root of the largest number and 16 bits more, for the sum of up to 2^31 squares.
    power = 2.0 ** (limits.maxexp // 2 + 16)

    def scaled() -> Array:
        factor = jnp.where(too_large, 1 / power, jnp.where(too_small, power, 1))
        factor = factor.astype(squares.dtype)
        sums = _sum_of_squares(leaves, axes, factor)
        norm = jnp.sqrt(sums / over) / factor
        return jnp.where(jnp.isfinite(sums), jnp.minimum(norm, float(limits.max)), norm)

    # One pass over the numbers where the plain formula is right, and one more where it is not.
    usual = ~jnp.any(too_small | too_large)
    return jax.lax.cond(usual, lambda: jnp.sqrt(squares / over), scaled)


@_norm.defjvp
def _norm_jvp(axes, mean, primals, tangents):  # type: ignore[no-untyped-def]
    """The slope is that of x / |x|, whose entries are at most 1, and 0 at 0."""
    (leaves,), (directions,) = primals, tangents
    norm = _norm(leaves, axes, mean)
    positive = norm > 0
    units = divide_tree(leaves, jnp.where(positive, norm, 1))
    size = _group_size(leaves, axes) if mean else 1

    def slope(unit: Array, dx: Array) -> Array:
        unit = jnp.conj(unit) / size
        return jnp.sum((unit * dx).real, axes, keepdims=axes is not None).astype(norm.dtype)

    slopes = [slope(x, dx) for x, dx in zip(units, directions, strict=True)]
    return norm, jnp.where(positive, sum(slopes[1:], start=slopes[0]), 0)


def _sum_of_squares(
    leaves: list[Array], axes: tuple[int, ...] | None, factor: Array | None = None
) -> Array:
    """Of all entries, or along ``axes``; of ``factor`` times the entries where one is given."""
    dtype = scalar_dtype(leaves)

    def summed(x: Array) -> Array:
        x = x if factor is None else x * factor.astype(x.dtype)
        return jnp.sum(abs_sq(x), axes, keepdims=axes is not None).astype(dtype)

    sums = [summed(x) for x in leaves]
    return sum(sums[1:], start=sums[0])


def _group_size(leaves: list[Array], axes: tuple[int, ...] | None) -> int:
    """How many entries one norm is taken of."""
    if axes is None:
        return sum(leaf.size for leaf in leaves)
    shape = leaves[0].shape
    size = 1
    for axis in axes:
        size *= shape[axis]
    return size
