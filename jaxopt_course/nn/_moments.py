"""Weighted mean and biased variance in two passes, and how those of two samples become one.

    shift = mean(x)                           first pass
    d     = x - shift
    mean  = shift + mean(d)                   second pass: what the first one lost to rounding
    var   = mean(d^2) - mean(d)^2             no cancellation, for mean(d) is all but zero

Two samples a and b of weights n_a and n_b, n = n_a + n_b:

    mean  = mean_a + (n_b / n) (mean_b - mean_a)
    var   = (n_a var_a + n_b var_b) / n + (n_a n_b / n^2) (mean_b - mean_a)^2

Reference: Chan, Golub & LeVeque, "Algorithms for Computing the Sample Variance: Analysis and
Recommendations", The American Statistician 1983, equations 1.7 and 2.1.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, ScalarLike

from jaxopt_course.core import numerics


class Moments(NamedTuple):
    """What is known of a sample.

    mean: its weighted mean; 0 where the weight is 0.
    var: its biased variance; 0 where the weight is 0.
    weight: the sum of the weights: the number of entries where all weights are 1.
    """

    mean: Float[Array, "*kept"]
    var: Float[Array, "*kept"]
    weight: Float[Array, "*kept"]


def moments(
    x: Float[Array, "*shape"],
    axes: tuple[int, ...],
    weights: Array | None = None,
    axis_name: str | None = None,
) -> Moments:
    """The moments of ``x`` over ``axes``, in float32 or wider.

    Args:
        x: any shape.
        axes: what to take the mean over; these axes are gone from the result.
        weights: at least 0, broadcastable to ``x`` and of its rank. What entries of weight 0
            contain does not matter, NaN included. None: all 1.
        axis_name: a mapped axis to take the mean over too.

    Returns:
        The moments. Their gradient is that of the exact mean and variance.
    """
    dtype = numerics.wide_dtype(x.dtype)
    x = x.astype(dtype)
    if weights is None:
        weights = jnp.ones_like(x)
    else:
        weights = jnp.broadcast_to(weights.astype(dtype), x.shape)
        x = jnp.where(weights > 0, x, 0)

    def total(values: Array) -> Array:
        over_axes = jnp.sum(values, axes)
        return over_axes if axis_name is None else jax.lax.psum(over_axes, axis_name)

    weight = total(weights)

    def mean_of(values: Array) -> Array:
        return numerics.safe_divide(total(weights * values), weight)

    # Exact arithmetic gives the same for every shift, so the gradient need not pass it.
    shift = jax.lax.stop_gradient(mean_of(x))
    centered = x - jnp.expand_dims(shift, axes)
    rest = mean_of(centered)
    var = jnp.maximum(mean_of(jnp.square(centered)) - jnp.square(rest), 0)
    return Moments(mean=shift + rest, var=var, weight=weight)


def merge_moments(a: Moments, b: Moments) -> Moments:
    """The moments of two samples taken together."""
    weight = a.weight + b.weight
    share = numerics.safe_divide(b.weight, weight)
    step = b.mean - a.mean
    return Moments(
        mean=a.mean + share * step,
        var=a.var + share * (b.var - a.var) + share * (1 - share) * jnp.square(step),
        weight=weight,
    )


def standardize(
    x: Float[Array, "*shape"],
    mean: Array,
    var: Array,
    scale: Array | None,
    bias: Array | None,
    epsilon: ScalarLike,
) -> Float[Array, "*shape"]:
    """``scale * (x - mean) / sqrt(var + epsilon) + bias``, in float32 or wider, cast to x's dtype.

    Args:
        x: any shape.
        mean: broadcastable to ``x``.
        var: like ``mean``.
        scale: broadcastable to ``x``. None: 1.
        bias: broadcastable to ``x``. None: 0.
        epsilon: in (0, inf).
    """
    dtype = numerics.wide_dtype(x.dtype)

    def like_x(values: Array) -> Array:
        return jnp.broadcast_to(values.astype(dtype), x.shape)

    slope = jax.lax.rsqrt(var.astype(dtype) + jnp.asarray(epsilon, dtype))
    y = (x.astype(dtype) - like_x(mean)) * like_x(slope)
    if scale is not None:
        y = y * like_x(scale)
    if bias is not None:
        y = y + like_x(bias)
    return y.astype(x.dtype)
