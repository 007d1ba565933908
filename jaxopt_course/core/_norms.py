"""Euclidean norms of trees and arrays, which are finite for finite numbers of any size.

    |x| = s sqrt(sum |x_i / s|^2)        s: the power of two next to the largest |x_i|

The squares of float32 numbers overflow from 1.8e19 on and vanish below 1e-23. Dividing by a power
of two is exact, so numbers of usual size keep every bit of the plain formula.

Reference: Blue, "A Portable Fortran Program to Find the Euclidean Norm of a Vector", 1978.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Inexact, PyTree

from ._numerics import abs_sq, power_of_two, wide_dtype
from ._tree import divide_tree, scalar_dtype, squared, total, widened


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
    if axes is not None:
        return _scaled_norm(leaves, axes, mean)
    size = sum(leaf.size for leaf in leaves)
    squares = total(squared(leaves))
    limits = jnp.finfo(squares.dtype)
    # Squares below tiny are lost, in all `size * tiny` at most: the rounding of this bound.
    least = float(limits.tiny) / float(limits.eps) * size
    usual = (squares > least) & (squares <= float(limits.max))
    plain = jnp.sqrt(squares / size if mean else squares)
    # One pass over the tree where the plain formula is right, and two more only where it is not.
    return jax.lax.cond(usual, lambda _: plain, lambda x: _scaled_norm(x, None, mean), leaves)


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


def _scaled_norm(leaves: list[Array], axes: tuple[int, ...] | None, mean: bool) -> Array:
    dtype, kept = scalar_dtype(leaves), axes is not None
    limits = jnp.finfo(dtype)

    def largest(x: Array) -> Array:
        parts = (x.real, x.imag) if jnp.iscomplexobj(x) else (x,)
        peaks = [jnp.max(jnp.abs(part), axes, keepdims=kept) for part in parts]
        return functools.reduce(jnp.maximum, peaks).astype(dtype)

    top = functools.reduce(jnp.maximum, map(largest, leaves))
    scale = power_of_two(top)

    def summed(x: Array) -> Array:
        inverse = (1 / scale).astype(jnp.finfo(x.dtype).dtype)
        return jnp.sum(abs_sq(x * inverse.astype(x.dtype)), axes, keepdims=kept).astype(dtype)

    sums = [summed(x) for x in leaves]
    squares = sum(sums[1:], start=sums[0])
    root = jnp.sqrt(squares / _group_size(leaves, axes) if mean else squares)
    norm = scale * root
    return jnp.where(jnp.isfinite(top), jnp.minimum(norm, float(limits.max)), norm)


def _group_size(leaves: list[Array], axes: tuple[int, ...] | None) -> int:
    """How many entries one norm is taken of."""
    if axes is None:
        return sum(leaf.size for leaf in leaves)
    shape = leaves[0].shape
    size = 1
    for axis in axes:
        size *= shape[axis]
    return size
