"""Decays without a fixed end: exponential, inverse time and inverse square root.

At count t >= B, with begin B, period T, time scale S and initial value I,

    exponential           I rate^((t - B) / T)
    inverse time          I / (1 + rate (t - B) / T)
    inverse square root   I / sqrt(1 + t / S)

With ``staircase`` the quotient (t - B) / T is rounded down.

Reference: Robbins & Monro, "A Stochastic Approximation Method", 1951: the sum of the learning rates
must be infinite and the sum of their squares finite. Inverse time satisfies both conditions.
"""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, ScalarLike

from jaxopt_course.core import Schedule, checks, numerics

from ._progress import geometric, has_ended, periods


def exponential_decay(
    init_value: ScalarLike,
    transition_steps: ScalarLike,
    decay_rate: ScalarLike,
    transition_begin: ScalarLike = 0,
    staircase: bool = False,
    end_value: ScalarLike | None = None,
) -> Schedule:
    """Multiply by ``decay_rate`` every ``transition_steps`` steps.

    Args:
        init_value: value up to ``transition_begin``.
        transition_steps: number of steps for one factor, in [0, inf). With 0 the value from
            ``transition_begin`` on is ``end_value``. Without an ``end_value`` it is 0 for rates
            below 1, and ``init_value`` for other rates, whose growth has no limit.
        decay_rate: the factor, in (0, inf).
        transition_begin: count at which the decay begins, in [0, inf).
        staircase: whether the value changes only at multiples of ``transition_steps``.
        end_value: lower bound of the value for rates below 1, upper bound for other rates.

    Examples:
        >>> schedule = exponential_decay(1.0, transition_steps=2, decay_rate=0.25)
        >>> [float(schedule(count)) for count in (0, 1, 2)]
        [1.0, 0.5, 0.25]
    """
    args = (init_value, transition_steps, decay_rate, transition_begin, staircase, end_value)
    return exponential("exponential_decay", *args)


def exponential(
    owner: str,
    init_value: ScalarLike,
    transition_steps: ScalarLike,
    decay_rate: ScalarLike,
    transition_begin: ScalarLike,
    staircase: bool,
    end_value: ScalarLike | None,
) -> Schedule:
    """:func:`exponential_decay` with the name of the function that error messages should name."""
    checks.flag(owner, "staircase", staircase)
    lengths = {"transition_steps": transition_steps, "transition_begin": transition_begin}
    checks.numbers(owner, "[0, inf)", **lengths)
    checks.number(owner, "decay_rate", decay_rate, "(0, inf)")
    checks.number(owner, "init_value", init_value)
    if end_value is not None:
        checks.number(owner, "end_value", end_value)

    def schedule(count: ArrayLike) -> Float[Array, "*counts"]:
        passed = periods(count, transition_begin, transition_steps, staircase)
        ended = has_ended(count, transition_begin, transition_steps)
        falls = numerics.as_float(decay_rate) < 1
        if end_value is None:
            over = jnp.where(falls, 0, numerics.as_float(init_value))
        else:
            over, reached = numerics.as_float(end_value), geometric(init_value, decay_rate, passed)
            ended |= jnp.where(falls, reached < over, reached > over)
        # Past the end the slope of the power may overflow, so the power is not taken there.
        value = geometric(init_value, decay_rate, jnp.where(ended, 0, passed))
        return jnp.where(ended, over, value)

    return schedule


def step_decay(
    init_value: ScalarLike,
    transition_steps: ScalarLike,
    decay_rate: ScalarLike,
    transition_begin: ScalarLike = 0,
) -> Schedule:
    """Multiply by a factor every few epochs: :func:`exponential_decay` with ``staircase=True``.

    Examples:
        >>> schedule = step_decay(1.0, transition_steps=10, decay_rate=0.5)
        >>> [float(schedule(count)) for count in (9, 10, 20)]
        [1.0, 0.5, 0.25]
    """
    args = (init_value, transition_steps, decay_rate, transition_begin, True, None)
    return exponential("step_decay", *args)


def inverse_time_decay(
    init_value: ScalarLike,
    transition_steps: ScalarLike,
    decay_rate: ScalarLike,
    transition_begin: ScalarLike = 0,
    staircase: bool = False,
) -> Schedule:
    """Divide by a number that grows by ``decay_rate`` every ``transition_steps`` steps.

    Arguments are those of :func:`exponential_decay`, but ``decay_rate`` lies in [0, inf). With
    ``transition_steps=0`` the value is 0 from ``transition_begin`` on.

    Examples:
        >>> schedule = inverse_time_decay(1.0, transition_steps=10, decay_rate=1.0)
        >>> [float(schedule(count)) for count in (0, 10, 30)]
        [1.0, 0.5, 0.25]
    """
    owner = "inverse_time_decay"
    checks.flag(owner, "staircase", staircase)
    lengths = {"transition_steps": transition_steps, "transition_begin": transition_begin}
    checks.number(owner, "init_value", init_value)
    checks.numbers(owner, "[0, inf)", decay_rate=decay_rate, **lengths)

    def schedule(count: ArrayLike) -> Float[Array, "*counts"]:
        passed = periods(count, transition_begin, transition_steps, staircase)
        value = numerics.as_float(init_value) / (1 + numerics.as_float(decay_rate) * passed)
        return jnp.where(has_ended(count, transition_begin, transition_steps), 0, value)

    return schedule


def inverse_sqrt_decay(init_value: ScalarLike, timescale: ScalarLike = 1.0) -> Schedule:
    """Divide by the square root of one plus the count in units of ``timescale``.

    The decay of the transformer after a warmup of W steps, proportional to 1 / sqrt(t), is this
    schedule with ``timescale=W``, joined at W.

    Args:
        init_value: value at count 0.
        timescale: number of steps after which the divisor is sqrt(2), in [0, inf). The default is
            the course's eta / sqrt(t + 1). With 0 the value is 0.

    Examples:
        >>> schedule = inverse_sqrt_decay(1.0)
        >>> [float(schedule(count)) for count in (0, 3, 15)]
        [1.0, 0.5, 0.25]
    """
    checks.number("inverse_sqrt_decay", "init_value", init_value)
    checks.number("inverse_sqrt_decay", "timescale", timescale, "[0, inf)")

    def schedule(count: ArrayLike) -> Float[Array, "*counts"]:
        scale = jnp.maximum(numerics.as_float(timescale), 0)
        grown = scale + jnp.maximum(numerics.as_float(count), 0)
        ratio = numerics.safe_divide(jnp.broadcast_to(scale, grown.shape), grown)
        return numerics.as_float(init_value) * numerics.safe_sqrt(ratio)

    return schedule
