"""Weighted mean and biased variance in two passes, and the moments of two samples combined.

    shift = mean(x)                           first pass
    d     = x - shift
    mean  = shift + mean(d)                   second pass: adds what the first one lost to rounding
    var   = mean(d^2) - mean(d)^2             no cancellation, since mean(d) is almost 0

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
    """Mean and variance of a sample.

    mean: the weighted mean; 0 where the weight is 0.
    var: the biased variance; 0 where the weight is 0.
    weight: the sum of the weights, which is the number of entries if all weights are 1.
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
    """The moments of ``x`` over ``axes`` and the mapped ``axis_name``, in float32 or wider.

    ``weights`` are nonnegative, of the rank of ``x``, and broadcast to it; None means 1. Entries of
    weight 0 are ignored, even if they are NaN. The gradient is that of the exact moments.
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

    # In exact arithmetic the result does not depend on the shift, so neither does the gradient.
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
    *,
    epsilon: ScalarLike,
) -> Float[Array, "*shape"]:
    """``scale * (x - mean) / sqrt(var + epsilon) + bias``, in float32 or wider, cast to x's dtype.

    The arrays broadcast to ``x``. A ``scale`` or ``bias`` of None is left out.
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
