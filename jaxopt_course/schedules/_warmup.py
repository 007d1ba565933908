"""A linear warmup, and what follows it.

The warmup goes from ``init_value`` to ``peak_value`` in ``warmup_steps`` steps; a warmup of 0
steps is left out. What follows counts from the end of the warmup.

References: Goyal et al., "Accurate, Large Minibatch SGD", 2017, section 2.2,
https://arxiv.org/abs/1706.02677; Hu et al., "MiniCPM", 2024, section 4 (warmup, stable, decay),
https://arxiv.org/abs/2404.06395.
"""

from jaxtyping import Array, ArrayLike, Float, ScalarLike

from jaxopt_course.core import Schedule, checks, numerics

from ._cosine import half_cosine
from ._exponential import exponential_decay
from ._join import join_schedules
from ._polynomial import linear_schedule, polynomial_schedule
from ._progress import check_numbers, remaining, safe_power


def warmup_constant_schedule(
    init_value: ScalarLike, peak_value: ScalarLike, warmup_steps: ScalarLike
) -> Schedule:
    """A warmup, then ``peak_value`` for ever.

    Args:
        init_value: the value at count 0.
        peak_value: the value after the warmup.
        warmup_steps: the length of the warmup in steps, in [0, inf).

    Returns:
        A function from a count to a value.

    Raises:
        ValueError: if ``warmup_steps`` is negative, or a number is not finite.

    Examples:
        >>> schedule = warmup_constant_schedule(0.0, 1.0, warmup_steps=4)
        >>> [float(schedule(count)) for count in (0, 1, 4, 9)]
        [0.0, 0.25, 1.0, 1.0]
    """
    owner = "warmup_constant_schedule"
    check_numbers(owner, "(-inf, inf)", init_value=init_value, peak_value=peak_value)
    check_numbers(owner, "[0, inf)", warmup_steps=warmup_steps)
    return linear_schedule(init_value, peak_value, warmup_steps)


def warmup_cosine_decay_schedule(
    init_value: ScalarLike,
    peak_value: ScalarLike,
    warmup_steps: ScalarLike,
    decay_steps: ScalarLike,
    end_value: ScalarLike = 0.0,
    exponent: ScalarLike = 1.0,
) -> Schedule:
    """A warmup, then half a cosine down to ``end_value``.

    After the warmup of W steps the value is E + (P - E) c^exponent with the cosine c of
    :func:`cosine_decay_schedule` over the remaining ``decay_steps - W`` steps. So ``end_value``
    is reached for every peak P, 0 included.

    Args:
        init_value: the value at count 0.
        peak_value: the value P at the end of the warmup.
        warmup_steps: the length W of the warmup in steps, in [0, inf).
        decay_steps: the length of the whole schedule, the warmup included, in
            [warmup_steps, inf). If they are equal, or a traced one is less, the value is
            ``end_value`` from W on.
        end_value: the value E after the decay.
        exponent: the power that the cosine is raised to, in [0, inf).

    Returns:
        A function from a count to a value.

    Raises:
        ValueError: if a number lies outside its interval.

    Examples:
        >>> schedule = warmup_cosine_decay_schedule(0.0, 1.0, warmup_steps=10, decay_steps=30)
        >>> [round(float(schedule(count)), 4) for count in (0, 5, 10, 20, 30)]
        [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    owner = "warmup_cosine_decay_schedule"
    check_numbers(
        owner, "(-inf, inf)", init_value=init_value, peak_value=peak_value, end_value=end_value
    )
    check_numbers(owner, "[0, inf)", warmup_steps=warmup_steps, exponent=exponent)
    shortest = 0 if checks.is_traced(warmup_steps) else warmup_steps
    checks.number(owner, "decay_steps", decay_steps, f"[{shortest}, inf)")

    def decay(count: ArrayLike) -> Float[Array, "*counts"]:
        peak, end = numerics.as_float(peak_value), numerics.as_float(end_value)
        whole, warmup = numerics.alike(decay_steps, warmup_steps)
        left = remaining(count, 0, whole - warmup)
        return end + (peak - end) * safe_power(half_cosine(left), exponent)

    warmup = linear_schedule(init_value, peak_value, warmup_steps)
    return join_schedules([warmup, decay], [warmup_steps])


def warmup_exponential_decay_schedule(
    init_value: ScalarLike,
    peak_value: ScalarLike,
    warmup_steps: ScalarLike,
    transition_steps: ScalarLike,
    decay_rate: ScalarLike,
    transition_begin: ScalarLike = 0,
    staircase: bool = False,
    end_value: ScalarLike | None = None,
) -> Schedule:
    """A warmup, then :func:`exponential_decay`.

    Args:
        init_value: the value at count 0.
        peak_value: the value at the end of the warmup.
        warmup_steps: the length of the warmup in steps, in [0, inf).
        transition_steps: the steps of one factor, in [0, inf); 0 as there.
        decay_rate: the factor, in (0, inf).
        transition_begin: the steps between the warmup and the decay, in [0, inf).
        staircase: whether the value changes only at whole multiples of ``transition_steps``.
        end_value: if given, a lower bound of the decaying value for rates below 1, else an
            upper bound.

    Returns:
        A function from a count to a value.

    Raises:
        ValueError: if a number lies outside its interval.

    Examples:
        >>> schedule = warmup_exponential_decay_schedule(0.0, 1.0, 2, 10, 0.25)
        >>> [float(schedule(count)) for count in (0, 1, 2, 7, 12)]
        [0.0, 0.5, 1.0, 0.5, 0.25]
    """
    owner = "warmup_exponential_decay_schedule"
    check_numbers(owner, "(-inf, inf)", init_value=init_value, peak_value=peak_value)
    check_numbers(
        owner,
        "[0, inf)",
        warmup_steps=warmup_steps,
        transition_steps=transition_steps,
        transition_begin=transition_begin,
    )
    check_numbers(owner, "(0, inf)", decay_rate=decay_rate)
    if end_value is not None:
        check_numbers(owner, "(-inf, inf)", end_value=end_value)
    warmup = linear_schedule(init_value, peak_value, warmup_steps)
    decay = exponential_decay(
        peak_value, transition_steps, decay_rate, transition_begin, staircase, end_value
    )
    return join_schedules([warmup, decay], [warmup_steps])


def warmup_stable_decay(
    init_value: ScalarLike,
    peak_value: ScalarLike,
    warmup_steps: ScalarLike,
    stable_steps: ScalarLike,
    decay_steps: ScalarLike,
    end_value: ScalarLike = 0.0,
    power: ScalarLike = 1.0,
) -> Schedule:
    """A warmup, a plateau, and a short decay: a run can be prolonged from the plateau.

    Args:
        init_value: the value at count 0.
        peak_value: the value of the plateau.
        warmup_steps: the length of the warmup in steps, in [0, inf).
        stable_steps: the length of the plateau in steps, in [0, inf).
        decay_steps: the length of the decay alone in steps, in [0, inf). With 0 the value is
            ``end_value`` after the plateau.
        end_value: the value after the decay.
        power: the power of the decay, :func:`polynomial_schedule`'s, in [0, inf); 1 is a line.

    Returns:
        A function from a count to a value.

    Raises:
        ValueError: if a length or ``power`` is negative, or a number is not finite.

    Examples:
        >>> schedule = warmup_stable_decay(0.0, 1.0, 2, 10, 4)
        >>> [float(schedule(count)) for count in (0, 1, 2, 12, 14, 16)]
        [0.0, 0.5, 1.0, 1.0, 0.5, 0.0]
    """
    owner = "warmup_stable_decay"
    check_numbers(
        owner, "(-inf, inf)", init_value=init_value, peak_value=peak_value, end_value=end_value
    )
    check_numbers(
        owner,
        "[0, inf)",
        warmup_steps=warmup_steps,
        stable_steps=stable_steps,
        decay_steps=decay_steps,
        power=power,
    )
    warmup = linear_schedule(init_value, peak_value, warmup_steps)
    decay = polynomial_schedule(peak_value, end_value, power, decay_steps, stable_steps)
    return join_schedules([warmup, decay], [warmup_steps])
