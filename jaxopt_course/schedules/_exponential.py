"""Decay by a factor for every so many steps, smoothly or in stairs.

At count t >= B, with begin B, period T and initial value I,

    value = I rate^((t - B) / T)          smooth
    value = I rate^floor((t - B) / T)     in stairs
"""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, ScalarLike

from jaxopt_course.core import Schedule, checks, numerics

from ._progress import check_numbers, geometric, has_ended, periods


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
        init_value: the value up to ``transition_begin``.
        transition_steps: the steps of one factor, in [0, inf). With 0 the decay is over at
            ``transition_begin``: from there on the value is ``end_value`` or, where there is
            none, 0 for rates below 1 and ``init_value`` for others, whose growth has no end.
        decay_rate: the factor, in (0, inf).
        transition_begin: the count at which the decay begins, in [0, inf).
        staircase: whether the value changes only at whole multiples of ``transition_steps``.
        end_value: if given, a lower bound of the value for rates below 1, else an upper bound.

    Returns:
        A function from a count to a value.

    Raises:
        ValueError: if a length is negative, ``decay_rate`` is not positive, or a number is not
            finite.

    Examples:
        >>> schedule = exponential_decay(1.0, transition_steps=2, decay_rate=0.25)
        >>> [float(schedule(count)) for count in (0, 1, 2)]
        [1.0, 0.5, 0.25]
    """
    checks.flag("exponential_decay", "staircase", staircase)
    owner = "exponential_decay"
    check_numbers(owner, "(-inf, inf)", init_value=init_value)
    check_numbers(
        owner, "[0, inf)", transition_steps=transition_steps, transition_begin=transition_begin
    )
    check_numbers(owner, "(0, inf)", decay_rate=decay_rate)
    if end_value is not None:
        check_numbers(owner, "(-inf, inf)", end_value=end_value)

    def schedule(count: ArrayLike) -> Float[Array, "*counts"]:
        passed = periods(count, transition_begin, transition_steps, staircase)
        ended = has_ended(count, transition_begin, transition_steps)
        falls = numerics.as_float(decay_rate) < 1
        if end_value is None:
            over = jnp.where(falls, 0, numerics.as_float(init_value))
        else:
            over, reached = numerics.as_float(end_value), geometric(init_value, decay_rate, passed)
            ended |= jnp.where(falls, reached < over, reached > over)
        # Past the end the power may have a slope too large for a float: it is not taken there.
        value = geometric(init_value, decay_rate, jnp.where(ended, 0, passed))
        return jnp.where(ended, over, value)

    return schedule


def step_decay(
    init_value: ScalarLike,
    transition_steps: ScalarLike,
    decay_rate: ScalarLike,
    transition_begin: ScalarLike = 0,
) -> Schedule:
    """A factor every few epochs: :func:`exponential_decay` in stairs.

    Args:
        init_value: the value of the first stair.
        transition_steps: the length of a stair in steps, in [0, inf); 0 as there.
        decay_rate: the factor from one stair to the next, in (0, inf).
        transition_begin: the count at which the first stair begins, in [0, inf).

    Returns:
        A function from a count to a value.

    Raises:
        ValueError: if a length is negative, ``decay_rate`` is not positive, or a number is not
            finite.

    Examples:
        >>> schedule = step_decay(1.0, transition_steps=10, decay_rate=0.5)
        >>> [float(schedule(count)) for count in (9, 10, 20)]
        [1.0, 0.5, 0.25]
    """
    owner = "step_decay"
    check_numbers(owner, "(-inf, inf)", init_value=init_value)
    check_numbers(
        owner, "[0, inf)", transition_steps=transition_steps, transition_begin=transition_begin
    )
    check_numbers(owner, "(0, inf)", decay_rate=decay_rate)
    return exponential_decay(
        init_value, transition_steps, decay_rate, transition_begin, staircase=True
    )
