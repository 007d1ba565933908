"""One cycle: up to a high peak, and down again to far below the start.

With peak P, the curve runs through the points

    linear: (0, P / d), (floor(s T), P), (floor(f T), P / d), (T, P / (d d_final))
    cosine: (0, P / d), (floor(s T), P),                      (T, P / (d d_final))

Reference: Smith & Topin, "Super-Convergence: Very Fast Training of Neural Networks Using Large
Learning Rates", 2017, https://arxiv.org/abs/1708.07120.
"""

import math

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, ScalarLike

from jaxopt_course.core import Schedule, checks, numerics

from ._piecewise import interpolated
from ._progress import check_numbers


def linear_onecycle_schedule(
    transition_steps: ScalarLike,
    peak_value: ScalarLike,
    pct_start: ScalarLike = 0.3,
    pct_final: ScalarLike = 0.85,
    div_factor: ScalarLike = 25.0,
    final_div_factor: ScalarLike = 1e4,
) -> Schedule:
    """Three straight lines: up to the peak, back to the start, and further down.

    Args:
        transition_steps: the length T of the whole cycle in steps, in [0, inf). With 0 the
            value is the last one.
        peak_value: the largest value.
        pct_start: the fraction s of the cycle that goes up, in [0, 1]. Boundaries are rounded
            down to whole steps, so the slope of a value with respect to it is 0.
        pct_final: the fraction f at which the start value is reached again, in
            [pct_start, 1].
        div_factor: ``peak_value`` over the first value, in (0, inf).
        final_div_factor: the first value over the last, in (0, inf).

    Returns:
        A function from a count to a value.

    Raises:
        ValueError: if a number lies outside its interval.

    Examples:
        >>> schedule = linear_onecycle_schedule(20, 1.0, pct_start=0.5, div_factor=4.0)
        >>> [round(float(schedule(count)), 4) for count in (0, 10, 17, 20)]
        [0.25, 1.0, 0.25, 0.0]
    """
    owner = "linear_onecycle_schedule"
    _check(owner, transition_steps, peak_value, pct_start, div_factor, final_div_factor)
    lowest = 0 if checks.is_traced(pct_start) else pct_start
    checks.number(owner, "pct_final", pct_final, f"[{lowest}, 1]")

    def schedule(count: ArrayLike) -> Float[Array, "*counts"]:
        peak = numerics.as_float(peak_value)
        start = peak / numerics.as_float(div_factor)
        joints = (_whole_steps(share, transition_steps) for share in (pct_start, pct_final))
        times = jnp.stack(numerics.alike(0, *joints, transition_steps))
        values = jnp.stack([start, peak, start, start / numerics.as_float(final_div_factor)])
        return interpolated("linear", count, times, values)

    return schedule


def cosine_onecycle_schedule(
    transition_steps: ScalarLike,
    peak_value: ScalarLike,
    pct_start: ScalarLike = 0.3,
    div_factor: ScalarLike = 25.0,
    final_div_factor: ScalarLike = 1e4,
) -> Schedule:
    """Two halves of a cosine: up to the peak, and down to the last value.

    Args:
        transition_steps: the length T of the whole cycle in steps, in [0, inf). With 0 the
            value is the last one.
        peak_value: the largest value.
        pct_start: the fraction s of the cycle that goes up, in [0, 1]. The boundary is rounded
            down to a whole step, so the slope of a value with respect to it is 0.
        div_factor: ``peak_value`` over the first value, in (0, inf).
        final_div_factor: the first value over the last, in (0, inf).

    Returns:
        A function from a count to a value.

    Raises:
        ValueError: if a number lies outside its interval.

    Examples:
        >>> schedule = cosine_onecycle_schedule(20, 1.0, pct_start=0.5, div_factor=4.0)
        >>> [round(float(schedule(count)), 4) for count in (0, 5, 10, 20)]
        [0.25, 0.625, 1.0, 0.0]
    """
    owner = "cosine_onecycle_schedule"
    _check(owner, transition_steps, peak_value, pct_start, div_factor, final_div_factor)

    def schedule(count: ArrayLike) -> Float[Array, "*counts"]:
        peak = numerics.as_float(peak_value)
        start = peak / numerics.as_float(div_factor)
        joint = _whole_steps(pct_start, transition_steps)
        times = jnp.stack(numerics.alike(0, joint, transition_steps))
        values = jnp.stack([start, peak, start / numerics.as_float(final_div_factor)])
        return interpolated("cosine", count, times, values)

    return schedule


def _whole_steps(share: ScalarLike, steps: ScalarLike) -> ScalarLike:
    """``share * steps`` rounded down, in double precision where both are Python numbers."""
    if isinstance(share, int | float) and isinstance(steps, int | float):
        return math.floor(share * steps)
    return jnp.floor(numerics.as_float(share) * numerics.as_float(steps))


def _check(
    owner: str,
    transition_steps: ScalarLike,
    peak_value: ScalarLike,
    pct_start: ScalarLike,
    div_factor: ScalarLike,
    final_div_factor: ScalarLike,
) -> None:
    check_numbers(owner, "[0, inf)", transition_steps=transition_steps)
    check_numbers(owner, "(-inf, inf)", peak_value=peak_value)
    check_numbers(owner, "[0, 1]", pct_start=pct_start)
    check_numbers(owner, "(0, inf)", div_factor=div_factor, final_div_factor=final_div_factor)
