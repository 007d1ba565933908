"""Euclidean norms of trees and arrays, which are finite for finite numbers of any size.

    |x| = sqrt(sum |s x_i|^2) / s        s = 1, or a power of two

The squares of float32 numbers overflow above 1.8e19 and vanish below 1e-23. Then s is 2^-80 or
2^80, which causes no rounding. Numbers of usual size have the norm of the plain formula, up to the
rounding of the sum.

Reference: Blue, "A Portable Fortran Program to Find the Euclidean Norm of a Vector", 1978.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Inexact, PyTree, ScalarLike

from . import numerics, tree


# Entries of a leaf up to which its squares are summed for all factors in one pass. It needs no
# branch, compiles faster than two passes, and suits vmap. Longer leaves would take twice as long.
ONE_PASS = 2**16

Axis = int | Sequence[int] | None


def global_norm(updates: PyTree) -> Float[Array, ""]:
    """The L2 norm of all entries of ``updates`` together, in float32 or wider.

    If all entries are finite it is finite, at most the largest float. It is 0 only if all entries
    are. Its derivative at 0 is 0.
    """
    leaves = [leaf for leaf in jax.tree.leaves(tree.widened(updates)) if leaf.size]
    return _norm(leaves, None, False) if leaves else jnp.zeros((), tree.scalar_dtype(updates))


def l2_norm(
    x: Inexact[Array, "*shape"], axis: Axis = None, *, keepdims: bool = False
) -> Float[Array, "..."]:
    """The L2 norms of an array along ``axis``, with the guarantees of :func:`global_norm`."""
    return _along(x, axis, keepdims, False)


def root_mean_square(
    x: Inexact[Array, "*shape"], axis: Axis = None, *, keepdims: bool = False
) -> Float[Array, "..."]:
    """The root of the mean of ``|x|^2`` along ``axis``, with the same guarantees."""
    return _along(x, axis, keepdims, True)


def shrink_to(updates: PyTree, norm: Float[Array, ""], bound: ScalarLike) -> PyTree:
    """``updates`` times min(1, bound / norm); unchanged if the norm is NaN, or both are 0.

    They are divided by the norm first: norm / bound may be infinite where both are finite.
    """
    limit = jnp.asarray(bound, norm.dtype)
    exceeds = norm > limit
    units = tree.divide(updates, jnp.where(exceeds, norm, 1))
    return tree.cast_like(tree.scale(units, jnp.where(exceeds, limit, 1)), updates)


def _along(x: Any, axis: Axis, keepdims: bool, mean: bool) -> Array:
    x, axes = tree.widened(x), (axis,) if isinstance(axis, int) else axis and tuple(axis)
    if not x.size:
        return jnp.sum(numerics.abs_sq(x), axes, keepdims=keepdims)
    norm = _norm([x], axes, mean)
    if axes is None:
        return jnp.expand_dims(norm, tuple(range(x.ndim))) if keepdims else norm
    return norm if keepdims else jnp.squeeze(norm, axes)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1, 2))
def _norm(leaves: list[Array], axes: tuple[int, ...] | None, mean: bool) -> Array:
    """The norm of all ``leaves``, or of the only leaf along ``axes``, which keep size 1."""
    dtype = tree.scalar_dtype(leaves)
    size, limits = _group_size(leaves, axes), jnp.finfo(dtype)
    # The root of the largest number and 16 bits more, for the sum of up to 2^31 squares.
    power = 2.0 ** (limits.maxexp // 2 + 16)
    # The barrier keeps compilers from moving the factor out of the sum, where its square overflows.
    factors = jax.lax.optimization_barrier(jnp.array([1, 1 / power, power], dtype))
    short = [x for x in leaves if x.size <= ONE_PASS]
    long = [x for x in leaves if x.size > ONE_PASS]

    by_factor = _sums_of_squares(short, axes, factors)
    plain = by_factor[0] + _sums_of_squares(long, axes, factors[:1])[0]
    too_large = ~(plain <= float(limits.max))
    # Squares below tiny are lost: at most `size * tiny`, eps times this bound.
    too_small = plain < float(limits.tiny) / float(limits.eps) * size

    def chosen(options: Array) -> Array:
        return jnp.where(too_large, options[1], jnp.where(too_small, options[2], options[0]))

    def scaled() -> Array:
        factor = chosen(factors)
        sums = chosen(by_factor) + _sums_of_squares(long, axes, factor[None])[0]
        norm = jnp.sqrt(sums / (size if mean else 1)) / factor
        return jnp.where(jnp.isfinite(sums), jnp.minimum(norm, float(limits.max)), norm)

    if not long:
        return scaled()
    # One pass over long leaves if the plain formula is exact enough, and otherwise a second one.
    usual = lambda: jnp.sqrt(plain / (size if mean else 1))
    return jax.lax.cond(jnp.any(too_large | too_small), scaled, usual)


@_norm.defjvp
def _norm_jvp(axes, mean, primals, tangents):  # type: ignore[no-untyped-def]
    """The derivative is that of x / |x|, whose entries are at most 1, and 0 at 0."""
    (leaves,), (directions,) = primals, tangents
    norm = _norm(leaves, axes, mean)
    positive = norm > 0
    units = tree.divide(leaves, jnp.where(positive, norm, 1))
    size = _group_size(leaves, axes) if mean else 1

    def slope(unit: Array, dx: Array) -> Array:
        unit = jnp.conj(unit) / size
        return jnp.sum((unit * dx).real, axes, keepdims=axes is not None).astype(norm.dtype)

    slopes = [slope(x, dx) for x, dx in zip(units, directions, strict=True)]
    return norm, jnp.where(positive, sum(slopes[1:], start=slopes[0]), 0)


def _sums_of_squares(leaves: list[Array], axes: tuple[int, ...] | None, factors: Array) -> Array:
    """The sum over ``leaves`` of |f x|^2, for each f along the first axis of ``factors``."""

    def summed(x: Array) -> Array:
        over = range(x.ndim) if axes is None else (axis % x.ndim for axis in axes)
        factor = factors.reshape(factors.shape + (1,) * (x.ndim + 1 - factors.ndim))
        dtype = np.promote_types(x.dtype, factors.dtype)  # that of the widest leaf
        squares = numerics.abs_sq(factor.astype(dtype) * x[None].astype(dtype))
        return jnp.sum(squares, tuple(i + 1 for i in over), keepdims=axes is not None)

    sums = [summed(x).astype(factors.dtype) for x in leaves]
    return sum(sums[1:], start=sums[0]) if sums else jnp.zeros(len(factors), factors.dtype)


def _group_size(leaves: list[Array], axes: tuple[int, ...] | None) -> int:
    """The number of entries in one norm."""
    if axes is None:
        return sum(leaf.size for leaf in leaves)
    return math.prod(leaves[0].shape[axis] for axis in axes)
