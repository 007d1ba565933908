"""Schedules composed of pieces: jumps, interpolation between points, and other schedules.

With boundaries b_1 < b_2 < ... and scales s_1, s_2, ..., the value at count b_i is I s_1 ... s_i. A
table is a dict ``{boundary: scale}``, or a pair ``(boundaries, scales)`` of sequences or arrays,
which may be traced (the keys of a dict cannot). Its order does not matter.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Real, ScalarLike, Shaped

from jaxopt_course.core import Schedule, checks, numerics

from ._progress import elapsed, half_cosine, remaining


Numbers = Sequence[ScalarLike] | Shaped[Array | np.ndarray, "pieces"]
Table = Mapping[int, ScalarLike] | tuple[Numbers, Numbers]


def piecewise_constant_schedule(
    init_value: ScalarLike, boundaries_and_scales: Table | None = None
) -> Schedule:
    """Multiply the value by a scale at each boundary.

    Args:
        init_value: value before the first boundary.
        boundaries_and_scales: a dict ``{boundary: scale}``, or a pair ``(boundaries, scales)``
            that may be traced, both in [0, inf). The boundary itself has the new value.

    Examples:
        >>> schedule = piecewise_constant_schedule(1.0, {10: 0.5, 20: 0.5})
        >>> [float(schedule(count)) for count in (9, 10, 20)]
        [1.0, 0.5, 0.25]
    """
    owner = "piecewise_constant_schedule"
    checks.number(owner, "init_value", init_value)
    boundaries, scales = _columns(owner, boundaries_and_scales)

    def schedule(count: ArrayLike) -> Float[Array, "*counts"]:
        value = jnp.broadcast_to(numerics.as_float(init_value), jnp.shape(count))
        for boundary, scale in zip(boundaries, scales, strict=True):
            now, start = numerics.alike(count, boundary)
            value = jnp.where(now < start, value, numerics.as_float(scale) * value)
        return value

    return schedule


def piecewise_interpolate_schedule(
    interpolate_type: str,
    init_value: ScalarLike,
    boundaries_and_scales: Table | None = None,
) -> Schedule:
    """Interpolate between the values of :func:`piecewise_constant_schedule` at its boundaries.

    Args:
        interpolate_type: ``"linear"``, or ``"cosine"`` for half a cosine between boundaries.
        init_value: value at count 0.
        boundaries_and_scales: as in :func:`piecewise_constant_schedule`. The value at a boundary is
            that at the previous boundary times the scale. It jumps between equal boundaries.

    Examples:
        >>> schedule = piecewise_interpolate_schedule("linear", 1.0, {4: 0.5})
        >>> [float(schedule(count)) for count in (0, 2, 4, 9)]
        [1.0, 0.75, 0.5, 0.5]
    """
    owner = "piecewise_interpolate_schedule"
    checks.choice(owner, "interpolate_type", interpolate_type, SHAPES)
    checks.number(owner, "init_value", init_value)
    boundaries, scales = _columns(owner, boundaries_and_scales)

    def schedule(count: ArrayLike) -> Float[Array, "*counts"]:
        times = jnp.stack(numerics.alike(0, *boundaries))
        factors = jnp.stack([numerics.as_float(x) for x in (1, *scales)])
        order = jnp.argsort(times, stable=True)
        values = numerics.as_float(init_value) * jnp.cumprod(factors[order])
        return interpolated(interpolate_type, count, times[order], values)

    return schedule


def join_schedules(
    schedules: Sequence[Schedule],
    boundaries: Sequence[ScalarLike] | Shaped[Array | np.ndarray, "joints"],
) -> Schedule:
    """Switch from one schedule to the next at each boundary.

    Args:
        schedules: at least one schedule. Each receives the count since its boundary.
        boundaries: the counts at which the second, third, ... schedule begins, in [0, inf) and in
            ascending order: a sequence of numbers or an array, traced or not. A schedule between
            equal boundaries is skipped.

    Examples:
        >>> schedule = join_schedules([lambda count: 0.1 * count, lambda count: 0.5], [3])
        >>> [round(float(schedule(count)), 4) for count in (0, 2, 3, 9)]
        [0.0, 0.2, 0.5, 0.5]
    """
    for name, value in {"schedules": schedules, "boundaries": boundaries}.items():
        if not isinstance(value, Iterable):
            raise TypeError(f"join_schedules: `{name}` must be a list, got {checks.shown(value)}.")
    schedules, joints = list(schedules), list(boundaries)
    for i, part in enumerate(schedules):
        checks.function("join_schedules", f"schedules[{i}]", part)
    if len(schedules) != len(joints) + 1:
        raise ValueError(
            "join_schedules: `boundaries` must hold one number less than `schedules`, "
            f"got {len(joints)} for {len(schedules)}."
        )
    lowest: ScalarLike = 0
    for i, joint in enumerate(joints):
        checks.number("join_schedules", f"boundaries[{i}]", joint, f"[{lowest}, inf)")
        lowest = lowest if checks.is_traced(joint) else joint

    def schedule(count: ArrayLike) -> Float[Array, "*counts"]:
        value = numerics.as_float(schedules[0](count))
        for joint, following in zip(joints, schedules[1:], strict=True):
            now, start = numerics.alike(count, joint)
            later = numerics.as_float(following(elapsed(now, start)))
            value = jnp.where(now < start, value, later)
        return value

    return schedule


SHAPES: dict[str, Callable[[Array], Array]] = {"linear": lambda left: left, "cosine": half_cosine}


def interpolated(
    interpolate_type: str,
    count: ArrayLike,
    times: Real[Array, "points"],
    values: Float[Array, "points"],
) -> Float[Array, "*counts"]:
    """The curve through ``(times, values)`` at ``count``; ``times`` ascend from 0.

    The piece of ``count`` is looked up, since a sum over all pieces would round small values
    relative to the largest.
    """
    now, times = numerics.alike(count, times)
    piece = jnp.searchsorted(times[1:], now, side="right", method="compare_all")
    following = jnp.minimum(piece + 1, times.size - 1)
    left = remaining(now, times[piece], times[following] - times[piece])
    start, end = values[piece], values[following]
    return end + (start - end) * SHAPES[interpolate_type](left)


def _columns(owner: str, table: Table | None) -> tuple[list[ScalarLike], list[ScalarLike]]:
    """The boundaries and the scales of ``table``, checked."""
    is_pair = isinstance(table, tuple | list) and len(table) == 2
    if table is not None and not isinstance(table, Mapping) and not is_pair:
        raise TypeError(
            f"{owner}: `boundaries_and_scales` must be a dictionary, or a pair of lists, "
            f"got {checks.shown(table)}."
        )
    pair = (table.keys(), table.values()) if isinstance(table, Mapping) else table or ((), ())
    boundaries, scales = (list(column) for column in pair)
    if len(boundaries) != len(scales):
        raise ValueError(
            f"{owner}: `boundaries_and_scales` must hold as many boundaries as scales, "
            f"got {len(boundaries)} and {len(scales)}."
        )
    for i, (boundary, scale) in enumerate(zip(boundaries, scales, strict=True)):
        checks.number(owner, f"boundaries[{i}]", boundary, "[0, inf)")
        checks.number(owner, f"scales[{i}]", scale, "[0, inf)")
    return boundaries, scales
