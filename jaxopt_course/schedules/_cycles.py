"""Cycles: triangles, cosine decays with warm restarts, and one cycle for a whole training.

A triangular cycle goes from I to P in u steps and back in d steps. In cycle k = floor(t / (u + d)),
at phase h = t mod (u + d),

    a = h / u              for h < u
    a = 1 - (h - u) / d    for h >= u
    value = I + (P - I) a rate^k

A one-cycle curve with peak P and length T goes through the points

    linear: (0, P / d), (floor(s T), P), (floor(f T), P / d), (T, P / (d d_final))
    cosine: (0, P / d), (floor(s T), P),                      (T, P / (d d_final))

References: Smith, "Cyclical Learning Rates for Training Neural Networks", 2017,
https://arxiv.org/abs/1506.01186; Loshchilov & Hutter, "SGDR: Stochastic Gradient Descent with Warm
Restarts", 2017, https://arxiv.org/abs/1608.03983; Smith & Topin, "Super-Convergence: Very Fast
Training of Neural Networks Using Large Learning Rates", 2017, https://arxiv.org/abs/1708.07120.
"""

import math
from collections.abc import Iterable, Mapping
from itertools import accumulate

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, ScalarLike

from jaxopt_course.core import Schedule, checks, numerics

from ._piecewise import interpolated, join_schedules
from ._progress import after, geometric, periods, remaining
from ._warmup import warmup_cosine_decay_schedule


def cyclic_schedule(
    init_value: ScalarLike,
    peak_value: ScalarLike,
    up_steps: ScalarLike,
    down_steps: ScalarLike,
    decay_rate: ScalarLike = 1.0,
    staircase: bool = True,
) -> Schedule:
    """Triangles between ``init_value`` and a peak, whose height may change from cycle to cycle.

    Smith's policies are ``triangular``, the default; ``triangular2``, with ``decay_rate=0.5``; and
    ``exp_range`` with a factor g for each step, with ``decay_rate=g ** (up_steps + down_steps)``
    and ``staircase=False``.

    Args:
        init_value: value at the ends of a cycle.
        peak_value: value at the top of the first cycle.
        up_steps: number of steps from an end to the top, in [0, inf). With 0 a cycle begins at its
            top.
        down_steps: number of steps from the top to an end, in [0, inf). With 0 the value drops at
            once. If both numbers are 0 the value is ``init_value``.
        decay_rate: factor of the height from one cycle to the next, in (0, inf).
        staircase: whether the factor changes once in a cycle, not continuously.

    Examples:
        >>> schedule = cyclic_schedule(0.0, 1.0, up_steps=2, down_steps=2, decay_rate=0.5)
        >>> [float(schedule(count)) for count in (0, 1, 2, 3, 4, 6)]
        [0.0, 0.5, 1.0, 0.5, 0.0, 0.5]
    """
    owner = "cyclic_schedule"
    checks.flag(owner, "staircase", staircase)
    checks.numbers(owner, "(-inf, inf)", init_value=init_value, peak_value=peak_value)
    checks.numbers(owner, "[0, inf)", up_steps=up_steps, down_steps=down_steps)
    checks.number(owner, "decay_rate", decay_rate, "(0, inf)")

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
    """A sequence of cosine decays, each with its own warmup.

    Args:
        cosine_kwargs: for each cycle, the keyword arguments of
            :func:`warmup_cosine_decay_schedule`. ``decay_steps`` is the length of the cycle, and
            cycles of length 0 are skipped.

    Examples:
        >>> cycle = dict(init_value=0.0, peak_value=1.0, warmup_steps=2, decay_steps=6)
        >>> [round(float(sgdr_schedule([cycle, cycle])(count)), 4) for count in (0, 2, 4, 6, 8, 12)]
        [0.0, 1.0, 0.5, 0.0, 1.0, 0.0]
    """
    cycles = list(cosine_kwargs)
    if not cycles:
        raise ValueError("sgdr_schedule: `cosine_kwargs` must hold at least one cycle, got none.")
    schedules = [warmup_cosine_decay_schedule(**kwargs) for kwargs in cycles]
    lengths = [kwargs["decay_steps"] for kwargs in cycles[:-1]]
    return join_schedules(schedules, list(accumulate(lengths, after)))


def linear_onecycle_schedule(
    transition_steps: ScalarLike,
    peak_value: ScalarLike,
    pct_start: ScalarLike = 0.3,
    pct_final: ScalarLike = 0.85,
    div_factor: ScalarLike = 25.0,
    final_div_factor: ScalarLike = 1e4,
) -> Schedule:
    """Three straight lines: up to the peak, back to the first value, and down to the last value.

    Args:
        transition_steps: length T of the cycle in steps, in [0, inf). With 0 the value is the last
            one.
        peak_value: the peak P.
        pct_start: share s of the cycle before the peak, in [0, 1]. Boundaries are rounded down to
            whole steps, so the slope of a value with respect to it is 0.
        pct_final: share f of the cycle before the return to the first value, in
            [pct_start, 1].
        div_factor: ratio d of ``peak_value`` to the first value, in (0, inf).
        final_div_factor: ratio of the first value to the last value, in (0, inf).

    Examples:
        >>> schedule = linear_onecycle_schedule(20, 1.0, pct_start=0.5, div_factor=4.0)
        >>> [round(float(schedule(count)), 4) for count in (0, 10, 17, 20)]
        [0.25, 1.0, 0.25, 0.0]
    """
    shares = {"pct_start": pct_start, "pct_final": pct_final}
    args = (shares, transition_steps, peak_value, div_factor, final_div_factor)
    return _onecycle("linear_onecycle_schedule", "linear", *args)


def cosine_onecycle_schedule(
    transition_steps: ScalarLike,
    peak_value: ScalarLike,
    pct_start: ScalarLike = 0.3,
    div_factor: ScalarLike = 25.0,
    final_div_factor: ScalarLike = 1e4,
) -> Schedule:
    """Two halves of a cosine: up to the peak, and down to the last value.

    Arguments are those of :func:`linear_onecycle_schedule`.

    Examples:
        >>> schedule = cosine_onecycle_schedule(20, 1.0, pct_start=0.5, div_factor=4.0)
        >>> [round(float(schedule(count)), 4) for count in (0, 5, 10, 20)]
        [0.25, 0.625, 1.0, 0.0]
    """
    args = (transition_steps, peak_value, div_factor, final_div_factor)
    return _onecycle("cosine_onecycle_schedule", "cosine", {"pct_start": pct_start}, *args)


def _onecycle(
    owner: str,
    shape: str,
    shares: Mapping[str, ScalarLike],
    transition_steps: ScalarLike,
    peak_value: ScalarLike,
    div_factor: ScalarLike,
    final_div_factor: ScalarLike,
) -> Schedule:
    """One cycle with pieces of this ``shape``, which join at ``shares`` of its length."""
    checks.number(owner, "transition_steps", transition_steps, "[0, inf)")
    checks.number(owner, "peak_value", peak_value)
    lowest: ScalarLike = 0
    for name, share in shares.items():
        checks.number(owner, name, share, f"[{lowest}, 1]")
        lowest = lowest if checks.is_traced(share) else share
    factors = {"div_factor": div_factor, "final_div_factor": final_div_factor}
    checks.numbers(owner, "(0, inf)", **factors)

    def schedule(count: ArrayLike) -> Float[Array, "*counts"]:
        peak = numerics.as_float(peak_value)
        start = peak / numerics.as_float(div_factor)
        joints = [_whole_steps(share, transition_steps) for share in shares.values()]
        times = jnp.stack(numerics.alike(0, *joints, transition_steps))
        back = [start] * (len(joints) - 1)
        end = start / numerics.as_float(final_div_factor)
        return interpolated(shape, count, times, jnp.stack([start, peak, *back, end]))

    return schedule


def _whole_steps(share: ScalarLike, steps: ScalarLike) -> ScalarLike:
    """``share * steps`` rounded down, in double precision where both are Python numbers."""
    if isinstance(share, int | float) and isinstance(steps, int | float):
        return math.floor(share * steps)
    return jnp.floor(numerics.as_float(share) * numerics.as_float(steps))
