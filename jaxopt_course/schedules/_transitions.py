"""The constant schedule, and transitions of a fixed length: linear, polynomial and cosine.

At count t, with begin B, length T, initial value I and end value E, the remaining share is

    r = 1                   for t < B
    r = 1 - (t - B) / T     for B <= t < B + T
    r = 0                   for t >= B + T

    polynomial   E + (I - E) r^power          linear is power 1
    cosine       I (alpha + (1 - alpha) c^exponent) with c = (1 + cos(pi (1 - r))) / 2 and B = 0

Reference: Loshchilov & Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", 2017,
https://arxiv.org/abs/1608.03983 (cosine).
"""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, ScalarLike

from jaxopt_course.core import Schedule, checks, numerics

from ._progress import half_cosine, remaining, safe_power


def constant_schedule(value: ScalarLike) -> Schedule:
    """The same ``value`` at every count."""
    checks.number("constant_schedule", "value", value)

    def schedule(count: ArrayLike) -> Float[Array, "*counts"]:
        return jnp.broadcast_to(numerics.as_float(value), jnp.shape(count))

    return schedule


def linear_schedule(
    init_value: ScalarLike,
    end_value: ScalarLike,
    transition_steps: ScalarLike,
    transition_begin: ScalarLike = 0,
) -> Schedule:
    """A straight line from ``init_value`` to ``end_value``.

    Args:
        init_value: value up to ``transition_begin``.
        end_value: value after the transition.
        transition_steps: length of the transition in steps, in [0, inf). With 0 the value is
            ``end_value`` from ``transition_begin`` on.
        transition_begin: count at which the transition begins, in [0, inf).

    Examples:
        >>> schedule = linear_schedule(1.0, 0.0, transition_steps=4)
        >>> [float(schedule(count)) for count in (0, 1, 4, 9)]
        [1.0, 0.75, 0.0, 0.0]
    """
    lengths = {"transition_steps": transition_steps, "transition_begin": transition_begin}
    checks.numbers("linear_schedule", "(-inf, inf)", init_value=init_value, end_value=end_value)
    checks.numbers("linear_schedule", "[0, inf)", **lengths)

    def schedule(count: ArrayLike) -> Float[Array, "*counts"]:
        start, end = numerics.as_float(init_value), numerics.as_float(end_value)
        return end + (start - end) * remaining(count, transition_begin, transition_steps)

    return schedule


def polynomial_schedule(
    init_value: ScalarLike,
    end_value: ScalarLike,
    power: ScalarLike,
    transition_steps: ScalarLike,
    transition_begin: ScalarLike = 0,
) -> Schedule:
    """A transition whose distance to ``end_value`` is a power of the remaining share of steps.

    The exponent ``power`` lies in [0, inf); with 0 the value is ``init_value`` at all counts. The
    other arguments are those of :func:`linear_schedule`.

    Examples:
        >>> schedule = polynomial_schedule(1.0, 0.0, power=2, transition_steps=4)
        >>> [float(schedule(count)) for count in (0, 2, 4)]
        [1.0, 0.25, 0.0]
    """
    owner = "polynomial_schedule"
    lengths = {"transition_steps": transition_steps, "transition_begin": transition_begin}
    checks.numbers(owner, "(-inf, inf)", init_value=init_value, end_value=end_value)
    checks.numbers(owner, "[0, inf)", power=power, **lengths)

    def schedule(count: ArrayLike) -> Float[Array, "*counts"]:
        start, end = numerics.as_float(init_value), numerics.as_float(end_value)
        left = remaining(count, transition_begin, transition_steps)
        return end + (start - end) * safe_power(left, power)

    return schedule


def cosine_decay_schedule(
    init_value: ScalarLike,
    decay_steps: ScalarLike,
    alpha: ScalarLike = 0.0,
    exponent: ScalarLike = 1.0,
) -> Schedule:
    """Decay from ``init_value`` to ``alpha * init_value`` along half a cosine.

    Args:
        init_value: value at count 0.
        decay_steps: length of the decay in steps, in [0, inf). With 0 the value is that after the
            decay.
        alpha: end value as a fraction of ``init_value``.
        exponent: exponent of the cosine, in [0, inf). With 0 the value is ``init_value``.

    Examples:
        >>> schedule = cosine_decay_schedule(1.0, decay_steps=10)
        >>> [round(float(schedule(count)), 4) for count in (0, 5, 10)]
        [1.0, 0.5, 0.0]
    """
    checks.numbers("cosine_decay_schedule", "(-inf, inf)", init_value=init_value, alpha=alpha)
    checks.numbers("cosine_decay_schedule", "[0, inf)", decay_steps=decay_steps, exponent=exponent)

    def schedule(count: ArrayLike) -> Float[Array, "*counts"]:
        low = numerics.as_float(alpha)
        shape = safe_power(half_cosine(remaining(count, 0, decay_steps)), exponent)
        return numerics.as_float(init_value) * (low + (1 - low) * shape)

    return schedule
