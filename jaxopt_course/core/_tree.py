"""Arithmetic on pytrees. What optax's tree utilities already do well is not repeated here.

Arithmetic runs in float32 or wider, whatever the leaves' dtype; who stores a result casts it.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, DTypeLike, Float, Int, PyTree, ScalarLike

from ._numerics import abs_sq, complement, one_minus_power, safe_divide, safe_sqrt, wide_dtype


__all__ = [
    "accumulator_like",
    "bias_corrected",
    "cast_like",
    "divide_by_root",
    "global_norm",
    "running_mean",
    "running_sum",
    "scale_tree",
    "squared",
]


def accumulator_like(
    tree: PyTree, dtype: DTypeLike | None = None, fill: ScalarLike = 0.0
) -> PyTree:
    """``fill`` in the shapes of ``tree``, in ``dtype``, or else in float32 or wider."""
    return jax.tree.map(
        lambda x: jnp.full_like(x, fill, dtype or wide_dtype(jnp.result_type(x))), tree
    )


def cast_like(tree: PyTree, like: PyTree) -> PyTree:
    """``tree`` with the dtypes of ``like``, leaf by leaf."""
    return jax.tree.map(lambda x, y: jnp.asarray(x, jnp.result_type(y)), tree, like)


def running_mean(old: PyTree, new: PyTree, decay: ScalarLike) -> PyTree:
    """``decay * old + (1 - decay) * new``, leaf by leaf.

    Args:
        old: the mean so far.
        new: what it moves towards, of the same structure and shapes.
        decay: the weight of the past, in [0, 1].
    """
    keep, add = _in_dtype(decay), functools.cache(lambda dtype: complement(decay, dtype))

    def mixed(o: Any, n: Any) -> Array:
        o = _wide(o)
        return keep(o.dtype) * o + add(o.dtype) * jnp.asarray(n, o.dtype)

    return jax.tree.map(mixed, old, new)


def running_sum(old: PyTree, new: PyTree, decay: ScalarLike) -> PyTree:
    """``decay * old + new``, leaf by leaf."""
    keep = _in_dtype(decay)

    def summed(o: Any, n: Any) -> Array:
        o = _wide(o)
        return keep(o.dtype) * o + jnp.asarray(n, o.dtype)

    return jax.tree.map(summed, old, new)


def bias_corrected(mean: PyTree, decay: ScalarLike, count: Int[Array, ""]) -> PyTree:
    """``mean / (1 - decay^count)``: a running mean from zeros, without their pull."""
    correction = functools.cache(lambda dtype: one_minus_power(decay, count, dtype))
    return jax.tree.map(lambda m: m / correction(m.dtype), mean)


def squared(tree: PyTree) -> PyTree:
    """``|x|^2`` of each leaf, real, in float32 or wider: in float16, 1e-4 squared is 0."""
    return jax.tree.map(lambda x: abs_sq(_wide(x)), tree)


def divide_by_root(
    numerator: PyTree, squares: PyTree, eps: ScalarLike, eps_root: ScalarLike
) -> PyTree:
    """``numerator / (sqrt(squares + eps_root) + eps)``, and 0 where the denominator is 0.

    Returned in the dtypes of ``numerator``; finite slopes also where ``squares`` is 0.
    """
    outside, inside = _in_dtype(eps), _in_dtype(eps_root)

    def divided(n: Any, s: Any) -> Array:
        n, wide = jnp.asarray(n), _wide(n)
        denominator = safe_sqrt(s + inside(s.dtype)) + outside(s.dtype)
        return safe_divide(wide, denominator.astype(wide.dtype)).astype(n.dtype)

    return jax.tree.map(divided, numerator, squares)


def scale_tree(tree: PyTree, factor: ScalarLike) -> PyTree:
    """``factor * tree``, returned in the leaves' own dtypes."""
    factors = _in_dtype(factor)

    def scaled(x: Any) -> Array:
        wide = _wide(x)
        return (factors(wide.dtype) * wide).astype(jnp.result_type(x))

    return jax.tree.map(scaled, tree)


def global_norm(tree: PyTree) -> Float[Array, ""]:
    """The L2 norm of all entries of ``tree`` taken together, in float32 or wider.

    In float16 the squares of 1e5 ones would sum to infinity. The slope at a zero tree is 0.
    """
    leaves = [jnp.asarray(x) for x in jax.tree.leaves(tree)]
    dtype = functools.reduce(np.promote_types, (x.real.dtype for x in leaves), jnp.float32)
    squares = (jnp.sum(abs_sq(x.astype(wide_dtype(x.dtype)))).astype(dtype) for x in leaves)
    return safe_sqrt(sum(squares, start=jnp.zeros((), dtype)))


def _wide(x: Any) -> Array:
    return jnp.asarray(x, wide_dtype(jnp.result_type(x)))


def _in_dtype(value: ScalarLike) -> Callable[[Any], Array]:
    """``value`` in whatever dtype is asked for, converted once per dtype and not per leaf."""
    return functools.cache(lambda dtype: jnp.asarray(value, dtype))
