"""The arithmetic of counts that the schedules share: how much of a transition has passed.

A transition has a begin B and a length T, which may both be traced. A length of 0 (or a traced
negative length) is the limit of short lengths: the transition is over at count B. Integer counts
are compared and subtracted as integers; the rest is computed in the default float dtype. Every
function is finite in value and slope for every count and length.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Real, ScalarLike

from jaxopt_course.core import numerics


def remaining(count: ArrayLike, begin: ArrayLike, length: ArrayLike) -> Float[Array, "*counts"]:
    """The share of the transition that remains: 1 up to B, 0 from B + T on."""
    passed, length = numerics.alike(elapsed(count, begin), length)
    lasts = length > 0
    # Not 1 - passed / T: XLA may divide by multiplying with 1 / T, and then T / T is not 1.
    left = numerics.as_float(length - jnp.clip(passed, 0, length))
    share = left / numerics.as_float(jnp.where(lasts, length, 1))
    return jnp.where(lasts, share, numerics.as_float(~_has_begun(count, begin)))


def has_ended(count: ArrayLike, begin: ArrayLike, length: ArrayLike) -> Bool[Array, "*counts"]:
    """Whether a decay without a fixed end is over because its length is 0."""
    return (jnp.asarray(length) <= 0) & _has_begun(count, begin)


def periods(
    count: ArrayLike, begin: ArrayLike, length: ArrayLike, staircase: bool
) -> Float[Array, "*counts"]:
    """The number of lengths T since B, rounded down if ``staircase``; 0 before B."""
    passed, length = numerics.alike(elapsed(count, begin), length)
    length = jnp.where(length > 0, length, 1)
    # Not floor(passed / T): in a compiled float32 program floor(41 * (1 / 41)) is 0.
    if staircase:
        return numerics.as_float(jnp.floor_divide(passed, length))
    return numerics.as_float(passed) / numerics.as_float(length)


def elapsed(count: ArrayLike, begin: ArrayLike) -> Real[Array, "*counts"]:
    """The steps since B, 0 before it. Integers stay integers: float32 counts only up to 2^24."""
    now, start = numerics.alike(count, begin)
    return jnp.maximum(now, start) - start


def after(count: ScalarLike, steps: ScalarLike) -> ScalarLike:
    """``count + steps``, or the largest integer if a traced sum would exceed it."""
    if isinstance(count, int) and isinstance(steps, int):
        return count + steps
    count, steps = numerics.alike(count, steps)
    if not jnp.issubdtype(count.dtype, jnp.integer):
        return count + steps
    return count + jnp.minimum(steps, jnp.iinfo(count.dtype).max - count)


def _has_begun(count: ArrayLike, begin: ArrayLike) -> Bool[Array, "*counts"]:
    now, start = numerics.alike(count, begin)
    return now >= start


def half_cosine(left: Float[Array, "*counts"]) -> Float[Array, "*counts"]:
    """``(1 + cos(pi (1 - left))) / 2``, as sin^2(pi left / 2), which loses no digits if small."""
    return jnp.square(jnp.sin(jnp.pi / 2 * left))


def safe_power(base: Float[Array, "*shape"], exponent: ArrayLike) -> Float[Array, "*shape"]:
    """``base ** exponent`` for both in [0, inf), with slope 0 at a base of 0.

    The true slope there is infinite for exponents below 1, and 0 * inf is NaN.
    """
    exponent = numerics.as_float(exponent)
    positive = base > 0
    at_zero = jnp.where(exponent > 0, jnp.zeros_like(base), 1)
    return jnp.where(positive, jnp.where(positive, base, 1) ** exponent, at_zero)


def geometric(
    first: ArrayLike, rate: ArrayLike, exponent: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """``first * rate ** exponent`` for a positive rate and an exponent in [0, inf).

    The result is at most the largest float: the slope of infinity, clipped by an end value, would
    be 0 * inf.
    """
    first, base = numerics.as_float(first), numerics.as_float(rate)
    limits = jnp.finfo(base.dtype)
    base = jnp.clip(base, float(limits.tiny), float(limits.max))
    log_max, log_base = math.log(float(limits.max)), jnp.log(base)
    room = log_max - jnp.log(jnp.maximum(jnp.abs(first), float(limits.tiny)))
    # The logarithms, and so their product, are exact to a few units in the last place.
    growth = jax.lax.stop_gradient(exponent * log_base)
    too_large = growth > room * (1 - 8 * float(limits.eps))
    exponent = jnp.where(too_large, 0, exponent)
    # As two factors: the power may overflow or underflow where its product with ``first`` does not.
    far = jax.lax.stop_gradient(jnp.abs(exponent * log_base)) > log_max / 2
    one = jnp.where(far, exponent / 2, exponent)
    value = first * base**one * base ** (exponent - one) * _lost_in_rounding(rate, exponent)
    return jnp.where(too_large, jnp.sign(first) * float(limits.max), value)


def _lost_in_rounding(rate: ArrayLike, exponent: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """The power of the factor by which rounding changes a rate that is a Python number.

    In float32 0.9999999 becomes 0.99999988, so its 10^9th power 4e-44 would become 1e-52.
    """
    if not isinstance(rate, int | float):
        return jnp.ones_like(exponent)
    limits = jnp.finfo(exponent.dtype)
    kept = min(max(float(exponent.dtype.type(rate)), float(limits.tiny)), float(limits.max))
    return jnp.exp(exponent * math.log(rate / kept))
