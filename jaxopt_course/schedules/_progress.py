"""The arithmetic of counts that all schedules share: how far has a transition come?

A transition has a begin B and a length T, both data. A length of 0 (or a traced negative one) is
the limit of short lengths: the transition is over at count B. All is computed in the default
float dtype, and every function is finite in value and slope for every count and length.
"""

import math
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float

from jaxopt_course.core import as_float, check_number


__all__ = [
    "check_numbers",
    "geometric",
    "has_ended",
    "periods",
    "remaining",
    "safe_power",
]


def check_numbers(owner: str, interval: str, **values: Any) -> None:
    """Raise unless each of ``values`` is a number in ``interval``. Traced ones pass."""
    for name, value in values.items():
        check_number(owner, name, value, interval)


def remaining(count: ArrayLike, begin: ArrayLike, length: ArrayLike) -> Float[Array, "*counts"]:
    """The share of the transition still ahead: 1 up to B, 0 from B + T on."""
    since = as_float(count) - as_float(begin)
    length = as_float(length)
    lasts = length > 0
    # Not 1 - since / T: XLA may divide by multiplying with 1 / T, and then T / T is not 1.
    share = jnp.clip(length - since, 0, length) / jnp.where(lasts, length, 1)
    return jnp.where(lasts, share, (since < 0).astype(share.dtype))


def has_ended(count: ArrayLike, begin: ArrayLike, length: ArrayLike) -> Bool[Array, "*counts"]:
    """Whether a decay without end is over nevertheless, for its length is 0."""
    return (as_float(length) <= 0) & (as_float(count) >= as_float(begin))


def periods(
    count: ArrayLike, begin: ArrayLike, length: ArrayLike, staircase: bool
) -> Float[Array, "*counts"]:
    """How many lengths T have passed since B; whole ones if ``staircase``; 0 before B."""
    since = jnp.maximum(as_float(count) - as_float(begin), 0)
    length = as_float(length)
    length = jnp.where(length > 0, length, 1)
    # Not floor(since / T): compiled in float32, floor(41 * (1 / 41)) is 0.
    return jnp.floor_divide(since, length) if staircase else since / length


def safe_power(base: Float[Array, "*shape"], exponent: ArrayLike) -> Float[Array, "*shape"]:
    """``base ** exponent`` for both in [0, inf), with slope 0 at a base of 0.

    The true slope there is infinite for exponents below 1, and 0 * inf is NaN.
    """
    exponent = as_float(exponent)
    positive = base > 0
    at_zero = jnp.where(exponent > 0, jnp.zeros_like(base), 1)
    return jnp.where(positive, jnp.where(positive, base, 1) ** exponent, at_zero)


def geometric(rate: ArrayLike, exponent: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """``rate ** exponent`` for a positive rate and an exponent in [0, inf).

    Growth ends at the root of the largest float: infinity, though clipped by an end value, would
    have the slope 0 * inf.
    """
    rate = as_float(rate)
    limits = jnp.finfo(rate.dtype)
    log_end = 0.5 * math.log(float(limits.max))
    longest = log_end / jnp.log(jnp.maximum(rate, 1 + float(limits.eps)))
    return jnp.maximum(rate, float(limits.tiny)) ** jnp.minimum(exponent, longest)
