"""A linear warmup, followed by another schedule.

The warmup goes from ``init_value`` to ``peak_value`` in ``warmup_steps`` steps and is omitted if
that number is 0. The schedule that follows counts from the end of the warmup.

References: Goyal et al., "Accurate, Large Minibatch SGD", 2017, section 2.2,
https://arxiv.org/abs/1706.02677; Hu et al., "MiniCPM", 2024, section 4 (warmup, stable, decay),
https://arxiv.org/abs/2404.06395; Hagele et al., "Scaling Laws and Compute-Optimal Training Beyond
Fixed Training Durations", 2024, section 3, https://arxiv.org/abs/2405.18392 (shapes of the decay).
"""

from collections.abc import Callable
from typing import Literal

from jaxtyping import Array, ArrayLike, Float, ScalarLike

from jaxopt_course.core import Schedule, checks, numerics

from ._decays import exponential
from ._piecewise import join_schedules
from ._progress import half_cosine, remaining, safe_power
from ._transitions import linear_schedule


Cooldown = Literal["linear", "1-sqrt", "1-square", "cosine"]

# The share of the peak, given the share r of the decay's steps that remains. 1 - sqrt(1 - r) and
# 1 - (1 - r)^2 are written so that no digits are lost where r is small.
COOLDOWNS: dict[str, Callable[[Float[Array, "*counts"]], Float[Array, "*counts"]]] = {
    "linear": lambda r: r,
    "1-sqrt": lambda r: r / (1 + numerics.safe_sqrt(1 - r)),
    "1-square": lambda r: r * (2 - r),
    "cosine": half_cosine,
}


def warmup_constant_schedule(
    init_value: ScalarLike, peak_value: ScalarLike, warmup_steps: ScalarLike
) -> Schedule:
    """A warmup, then a constant.

    Args:
        init_value: value at count 0.
        peak_value: value after the warmup.
        warmup_steps: length of the warmup in steps, in [0, inf).

    Examples:
        >>> schedule = warmup_constant_schedule(0.0, 1.0, warmup_steps=4)
        >>> [float(schedule(count)) for count in (0, 1, 4, 9)]
        [0.0, 0.25, 1.0, 1.0]
    """
    owner = "warmup_constant_schedule"
    checks.numbers(owner, "(-inf, inf)", init_value=init_value, peak_value=peak_value)
    checks.number(owner, "warmup_steps", warmup_steps, "[0, inf)")
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

    After the warmup of W steps the value is E + (P - E) c^exponent, with the cosine c of
    :func:`cosine_decay_schedule` over the remaining ``decay_steps - W`` steps. ``end_value`` is
    reached for every peak P, 0 included.

    Args:
        init_value: value at count 0.
        peak_value: value P after the warmup.
        warmup_steps: length W of the warmup in steps, in [0, inf).
        decay_steps: length of the whole schedule, warmup included, in [warmup_steps, inf). If both
            lengths are equal, or a traced one is less, the value is ``end_value`` from W on.
        end_value: value E after the decay.
        exponent: exponent of the cosine, in [0, inf).

    Examples:
        >>> schedule = warmup_cosine_decay_schedule(0.0, 1.0, warmup_steps=10, decay_steps=30)
        >>> [round(float(schedule(count)), 4) for count in (0, 5, 10, 20, 30)]
        [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    owner = "warmup_cosine_decay_schedule"
    checks.numbers(
        owner, "(-inf, inf)", init_value=init_value, peak_value=peak_value, end_value=end_value
    )
    checks.numbers(owner, "[0, inf)", warmup_steps=warmup_steps, exponent=exponent)
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
    """A warmup, then :func:`exponential_decay`, whose arguments are the last five.

    ``transition_begin`` is the number of steps between the warmup and the decay. The first three
    arguments are those of :func:`warmup_constant_schedule`.

    Examples:
        >>> schedule = warmup_exponential_decay_schedule(0.0, 1.0, 2, 10, 0.25)
        >>> [float(schedule(count)) for count in (0, 1, 2, 7, 12)]
        [0.0, 0.5, 1.0, 0.5, 0.25]
    """
    owner = "warmup_exponential_decay_schedule"
    checks.numbers(owner, "(-inf, inf)", init_value=init_value, peak_value=peak_value)
    checks.number(owner, "warmup_steps", warmup_steps, "[0, inf)")
    args = (peak_value, transition_steps, decay_rate, transition_begin, staircase, end_value)
    decay = exponential(owner, *args)
    warmup = linear_schedule(init_value, peak_value, warmup_steps)
    return join_schedules([warmup, decay], [warmup_steps])


def warmup_stable_decay(
    init_value: ScalarLike,
    peak_value: ScalarLike,
    warmup_steps: ScalarLike,
    stable_steps: ScalarLike,
    decay_steps: ScalarLike,
    end_value: ScalarLike = 0.0,
    power: ScalarLike = 1.0,
    *,
    shape: Cooldown = "linear",
) -> Schedule:
    """A warmup, a plateau, and a short decay. A run can be continued from any step of the plateau.

    In the decay, of whose steps the share r remains, the value is E + (P - E) s^power with the
    peak P, the end value E, and s by ``shape``: r, 1 - sqrt(1 - r), 1 - (1 - r)^2, or
    (1 + cos(pi (1 - r))) / 2.

    Args:
        init_value: as in :func:`warmup_constant_schedule`.
        peak_value: value of the plateau.
        warmup_steps: as in :func:`warmup_constant_schedule`.
        stable_steps: length of the plateau in steps, in [0, inf).
        decay_steps: length of the decay in steps, in [0, inf). With 0 the value is ``end_value``
            after the plateau.
        end_value: value after the decay.
        power: exponent of the decay, in [0, inf); 1 by default.
        shape: ``"linear"``, ``"1-sqrt"``, ``"1-square"`` or ``"cosine"``, static. Hagele et al.
            find that 1-sqrt reaches a lower loss than a linear decay of the same length.

    Examples:
        >>> schedule = warmup_stable_decay(0.0, 1.0, 2, 10, 4)
        >>> [float(schedule(count)) for count in (0, 1, 2, 12, 14, 16)]
        [0.0, 0.5, 1.0, 1.0, 0.5, 0.0]
        >>> schedule = warmup_stable_decay(0.0, 1.0, 0, 0, 4, shape="1-sqrt")
        >>> [round(float(schedule(count)), 3) for count in range(5)]
        [1.0, 0.5, 0.293, 0.134, 0.0]
    """
    owner = "warmup_stable_decay"
    checks.numbers(
        owner, "(-inf, inf)", init_value=init_value, peak_value=peak_value, end_value=end_value
    )
    lengths = {"warmup_steps": warmup_steps, "stable_steps": stable_steps}
    checks.numbers(owner, "[0, inf)", decay_steps=decay_steps, power=power, **lengths)
    checks.choice(owner, "shape", shape, COOLDOWNS)

    def decay(count: ArrayLike) -> Float[Array, "*counts"]:
        peak, end = numerics.as_float(peak_value), numerics.as_float(end_value)
        share = COOLDOWNS[shape](remaining(count, stable_steps, decay_steps))
        return end + (peak - end) * safe_power(share, power)

    warmup = linear_schedule(init_value, peak_value, warmup_steps)
    return join_schedules([warmup, decay], [warmup_steps])
