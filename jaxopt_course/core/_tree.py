"""Arithmetic on pytrees. What optax's tree utilities already do well is not repeated here.

Arithmetic runs in float32 or wider, whatever the leaves' dtype; who stores a result casts it.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, DTypeLike, Float, PyTree, ScalarLike

from ._numerics import abs_sq, complement, safe_sqrt, wide_dtype


__all__ = ["accumulator_like", "cast_like", "global_norm", "running_mean", "scale_tree"]


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
    """``decay * old + (1 - decay) * new``, leaf by leaf, in the dtype of ``old`` or float32.

    Args:
        old: the mean so far.
        new: what it moves towards, of the same structure and shapes.
        decay: the weight of the past, in [0, 1].
    """
    weights = functools.cache(lambda dtype: (jnp.asarray(decay, dtype), complement(decay, dtype)))

    def mixed(o: Any, n: Any) -> Array:
        dtype = wide_dtype(jnp.result_type(o))
        keep, add = weights(dtype)
        return keep * jnp.asarray(o, dtype) + add * jnp.asarray(n, dtype)

    return jax.tree.map(mixed, old, new)


def scale_tree(tree: PyTree, factor: ScalarLike) -> PyTree:
    """``factor * tree``, computed in float32 or wider and returned in the leaves' own dtypes."""
    factors = functools.cache(lambda dtype: jnp.asarray(factor, dtype))

    def scaled(x: Any) -> Array:
        dtype = jnp.result_type(x)
        wide = wide_dtype(dtype)
        return (factors(wide) * jnp.asarray(x, wide)).astype(dtype)

    return jax.tree.map(scaled, tree)


def global_norm(tree: PyTree) -> Float[Array, ""]:
    """The L2 norm of all entries of ``tree`` taken together, in float32 or wider.

    In float16 the squares of 1e5 ones would sum to infinity. The slope at a zero tree is 0.
    """
    leaves = [jnp.asarray(x) for x in jax.tree.leaves(tree)]
    dtype = functools.reduce(np.promote_types, (x.real.dtype for x in leaves), jnp.float32)
    squares = (jnp.sum(abs_sq(x.astype(wide_dtype(x.dtype)))).astype(dtype) for x in leaves)
    return safe_sqrt(sum(squares, start=jnp.zeros((), dtype)))
