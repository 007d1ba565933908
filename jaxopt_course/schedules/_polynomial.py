"""Polynomial transitions from one value to another.

At count t, with begin B, length T, initial value I and end value E,

    r = 1                   for t < B
    r = 1 - (t - B) / T     for B <= t < B + T
    r = 0                   for t >= B + T
    value = E + (I - E) r^power
"""

from jaxtyping import Array, ArrayLike, Float, ScalarLike

from jaxopt_course.core import Schedule, numerics

from ._progress import check_numbers, remaining, safe_power


def linear_schedule(
    init_value: ScalarLike,
    end_value: ScalarLike,
    transition_steps: ScalarLike,
    transition_begin: ScalarLike = 0,
) -> Schedule:
    """A straight line from ``init_value`` to ``end_value``: the polynomial of power 1.

    Args:
        init_value: the value up to ``transition_begin``.
        end_value: the value after the transition.
        transition_steps: the length of the transition in steps, in [0, inf). With 0 the value
            is ``end_value`` from ``transition_begin`` on.
        transition_begin: the count at which the transition begins, in [0, inf).

    Returns:
        A function from a count to a value.

    Raises:
        ValueError: if a length is negative, or a number is not finite.

    Examples:
        >>> schedule = linear_schedule(1.0, 0.0, transition_steps=4)
        >>> [float(schedule(count)) for count in (0, 1, 4, 9)]
        [1.0, 0.75, 0.0, 0.0]
    """
    owner = "linear_schedule"
    check_numbers(owner, "(-inf, inf)", init_value=init_value, end_value=end_value)
    check_numbers(
        owner, "[0, inf)", transition_steps=transition_steps, transition_begin=transition_begin
    )

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
    """A transition whose distance to ``end_value`` shrinks with a power of the steps left.

    Args:
        init_value: the value up to ``transition_begin``.
        end_value: the value after the transition.
        power: the exponent, in [0, inf). With 0 the value stays ``init_value``.
        transition_steps: the length of the transition in steps, in [0, inf). With 0 the value
            is what it is after the transition, from ``transition_begin`` on.
        transition_begin: the count at which the transition begins, in [0, inf).

    Returns:
        A function from a count to a value.

    Raises:
        ValueError: if a length or ``power`` is negative, or a number is not finite.

    Examples:
        >>> schedule = polynomial_schedule(1.0, 0.0, power=2, transition_steps=4)
        >>> [float(schedule(count)) for count in (0, 2, 4)]
        [1.0, 0.25, 0.0]
    """
    owner = "polynomial_schedule"
    check_numbers(owner, "(-inf, inf)", init_value=init_value, end_value=end_value)
    check_numbers(
        owner,
        "[0, inf)",
        power=power,
        transition_steps=transition_steps,
        transition_begin=transition_begin,
    )

    def schedule(count: ArrayLike) -> Float[Array, "*counts"]:
        start, end = numerics.as_float(init_value), numerics.as_float(end_value)
        left = remaining(count, transition_begin, transition_steps)
        return end + (start - end) * safe_power(left, power)

    return schedule
