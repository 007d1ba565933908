"""Schedules that come back: triangular cycles, and cosine decays with warm restarts.

A triangular cycle of u steps up and d steps down, from I to P and back; in cycle
k = floor(t / (u + d)), at phase h = t mod (u + d),

    a = h / u              on the way up
    a = 1 - (h - u) / d    on the way down
    value = I + (P - I) a rate^k

References: Smith, "Cyclical Learning Rates for Training Neural Networks", 2017,
https://arxiv.org/abs/1506.01186; Loshchilov & Hutter, "SGDR: Stochastic Gradient Descent with
Warm Restarts", 2017, https://arxiv.org/abs/1608.03983.
"""

from collections.abc import Iterable, Mapping
from itertools import accumulate

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, ScalarLike

from jaxopt_course.core import Schedule, checks, numerics

from ._join import join_schedules
from ._progress import after, check_numbers, geometric, periods, remaining
from ._warmup import warmup_cosine_decay_schedule


def cyclic_schedule(
    init_value: ScalarLike,
    peak_value: ScalarLike,
    up_steps: ScalarLike,
    down_steps: ScalarLike,
    decay_rate: ScalarLike = 1.0,
    staircase: bool = True,
) -> Schedule:
    """Triangles between ``init_value`` and a peak that may shrink from cycle to cycle.

    Smith's three policies: ``triangular`` is the default; ``triangular2`` is
    ``decay_rate=0.5``; ``exp_range`` with the factor g a step is
    ``decay_rate=g ** (up_steps + down_steps)`` with ``staircase=False``.

    Args:
        init_value: the value at the ends of a cycle.
        peak_value: the value at the top of the first cycle.
        up_steps: the steps from an end to the top, in [0, inf). With 0 a cycle begins at its top.
        down_steps: the steps from the top to an end, in [0, inf). With 0 the value falls at once.
            With both 0 there is no cycle: the value stays ``init_value``.
        decay_rate: the factor of the height from one cycle to the next, in (0, inf).
        staircase: whether the factor applies cycle by cycle, not continuously.

    Returns:
        A function from a count to a value.

    Raises:
        ValueError: if a length is negative, ``decay_rate`` is not positive, or a number is not
            finite.

    Examples:
        >>> schedule = cyclic_schedule(0.0, 1.0, up_steps=2, down_steps=2, decay_rate=0.5)
        >>> [float(schedule(count)) for count in (0, 1, 2, 3, 4, 6)]
        [0.0, 0.5, 1.0, 0.5, 0.0, 0.5]
    """
    checks.flag("cyclic_schedule", "staircase", staircase)
    owner = "cyclic_schedule"
    check_numbers(owner, "(-inf, inf)", init_value=init_value, peak_value=peak_value)
    check_numbers(owner, "[0, inf)", up_steps=up_steps, down_steps=down_steps)
    check_numbers(owner, "(0, inf)", decay_rate=decay_rate)

    def schedule(count: ArrayLike) -> Float[Array, "*counts"]:
        low, high = numerics.as_float(init_value), numerics.as_float(peak_value)
        now, cycle = numerics.alike(count, after(up_steps, down_steps))
        phase, up = numerics.alike(jnp.remainder(now, jnp.where(cycle > 0, cycle, 1)), up_steps)
        rising = 1 - remaining(phase, 0, up)
        height = jnp.where(phase < up, rising, remaining(phase, up, down_steps))
        factor = geometric(1.0, decay_rate, periods(now, 0, cycle, staircase))
        return low + (high - low) * height * factor

    return schedule


def sgdr_schedule(cosine_kwargs: Iterable[Mapping[str, ScalarLike]]) -> Schedule:
    """Cosine decays one after another, each with a warmup of its own.

    Args:
        cosine_kwargs: for each cycle the arguments of :func:`warmup_cosine_decay_schedule`, by
            name. Its ``decay_steps`` is the length of the cycle; one of 0 steps is skipped.

    Returns:
        A function from a count to a value.

    Raises:
        ValueError: if there is no cycle, or a number lies outside its interval.

    Examples:
        >>> cycle = dict(init_value=0.0, peak_value=1.0, warmup_steps=2, decay_steps=6)
        >>> schedule = sgdr_schedule([cycle, cycle])
        >>> [round(float(schedule(count)), 4) for count in (0, 2, 4, 6, 8, 12)]
        [0.0, 1.0, 0.5, 0.0, 1.0, 0.0]
    """
    cycles = list(cosine_kwargs)
    if not cycles:
        raise ValueError("sgdr_schedule: `cosine_kwargs` must hold one cycle or more, got none.")
    schedules = [warmup_cosine_decay_schedule(**kwargs) for kwargs in cycles]
    lengths = [kwargs["decay_steps"] for kwargs in cycles[:-1]]
    return join_schedules(schedules, list(accumulate(lengths, after)))
