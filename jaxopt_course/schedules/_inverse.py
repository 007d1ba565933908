"""Decay by a growing divisor, as the theory of stochastic approximation asks for.

At count t >= B, with begin B, period T, time scale S and initial value I,

    value = I / (1 + rate (t - B) / T)     inverse time
    value = I / sqrt(1 + t / S)            inverse square root

Reference: Robbins & Monro, "A Stochastic Approximation Method", 1951: the sum of the rates has to
be infinite, the sum of their squares finite. Inverse time meets both conditions.
"""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, ScalarLike

from jaxopt_course.core import Schedule, checks, numerics

from ._progress import check_numbers, has_ended, periods


def inverse_time_decay(
    init_value: ScalarLike,
    transition_steps: ScalarLike,
    decay_rate: ScalarLike,
    transition_begin: ScalarLike = 0,
    staircase: bool = False,
) -> Schedule:
    """Divide by a number that grows by ``decay_rate`` every ``transition_steps`` steps.

    Args:
        init_value: the value up to ``transition_begin``.
        transition_steps: the steps in which the divisor grows by ``decay_rate``, in [0, inf).
            With 0 the value is 0 from ``transition_begin`` on.
        decay_rate: the growth of the divisor, in [0, inf).
        transition_begin: the count at which the decay begins, in [0, inf).
        staircase: whether the value changes only at whole multiples of ``transition_steps``.

    Returns:
        A function from a count to a value.

    Raises:
        ValueError: if a length or ``decay_rate`` is negative, or a number is not finite.

    Examples:
        >>> schedule = inverse_time_decay(1.0, transition_steps=10, decay_rate=1.0)
        >>> [float(schedule(count)) for count in (0, 10, 30)]
        [1.0, 0.5, 0.25]
    """
    checks.flag("inverse_time_decay", "staircase", staircase)
    owner = "inverse_time_decay"
    check_numbers(owner, "(-inf, inf)", init_value=init_value)
    check_numbers(
        owner,
        "[0, inf)",
        transition_steps=transition_steps,
        decay_rate=decay_rate,
        transition_begin=transition_begin,
    )

    def schedule(count: ArrayLike) -> Float[Array, "*counts"]:
        passed = periods(count, transition_begin, transition_steps, staircase)
        value = numerics.as_float(init_value) / (1 + numerics.as_float(decay_rate) * passed)
        return jnp.where(has_ended(count, transition_begin, transition_steps), 0, value)

    return schedule


def inverse_sqrt_decay(init_value: ScalarLike, timescale: ScalarLike = 1.0) -> Schedule:
    """Divide by the root of one plus the count in units of ``timescale``.

    The transformer's decay after a warmup of W steps, proportional to 1 / sqrt(t), is this with
    ``timescale=W``, joined at W.

    Args:
        init_value: the value at count 0.
        timescale: the steps after which the divisor is sqrt(2), in [0, inf). The default is the
            course's eta / sqrt(t + 1). With 0 the value is 0.

    Returns:
        A function from a count to a value.

    Raises:
        ValueError: if ``timescale`` is negative, or a number is not finite.

    Examples:
        >>> schedule = inverse_sqrt_decay(1.0)
        >>> [float(schedule(count)) for count in (0, 3, 15)]
        [1.0, 0.5, 0.25]
    """
    check_numbers("inverse_sqrt_decay", "(-inf, inf)", init_value=init_value)
    check_numbers("inverse_sqrt_decay", "[0, inf)", timescale=timescale)

    def schedule(count: ArrayLike) -> Float[Array, "*counts"]:
        scale = jnp.maximum(numerics.as_float(timescale), 0)
        grown = scale + jnp.maximum(numerics.as_float(count), 0)
        ratio = numerics.safe_divide(jnp.broadcast_to(scale, grown.shape), grown)
        return numerics.as_float(init_value) * numerics.safe_sqrt(ratio)

    return schedule
