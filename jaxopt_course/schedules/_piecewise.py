"""Schedules given by a table of counts and factors, in jumps or interpolated.

With boundaries b_1 < b_2 < ... and scales s_1, s_2, ..., the value reaches I s_1 ... s_i at
count b_i. A table is a dict ``{boundary: scale}``, or a pair ``(boundaries, scales)`` of
sequences or arrays, which may be traced (the keys of a dict cannot). Its order does not matter.
"""

from collections.abc import Callable, Mapping, Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Real, ScalarLike, Shaped

from jaxopt_course.core import Schedule, checks, numerics

from ._cosine import half_cosine
from ._progress import check_numbers, remaining


Numbers = Sequence[ScalarLike] | Shaped[Array | np.ndarray, "pieces"]
Table = Mapping[int, ScalarLike] | tuple[Numbers, Numbers]


def piecewise_constant_schedule(
    init_value: ScalarLike, boundaries_and_scales: Table | None = None
) -> Schedule:
    """Jump at each boundary: the value is multiplied by the scale.

    Args:
        init_value: the value before the first boundary.
        boundaries_and_scales: a dict ``{boundary: scale}``, or a pair ``(boundaries, scales)``
            that may be traced; both in [0, inf). The new value holds at the boundary itself.

    Returns:
        A function from a count to a value.

    Raises:
        ValueError: if a boundary or a scale is negative, or the pair has unequal lengths.

    Examples:
        >>> schedule = piecewise_constant_schedule(1.0, {10: 0.5, 20: 0.5})
        >>> [float(schedule(count)) for count in (9, 10, 20)]
        [1.0, 0.5, 0.25]
    """
    owner = "piecewise_constant_schedule"
    check_numbers(owner, "(-inf, inf)", init_value=init_value)
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
    """Reach the scaled values smoothly: interpolate from each boundary to the next.

    Args:
        interpolate_type: ``"linear"``, or ``"cosine"`` for half a cosine between boundaries.
        init_value: the value at count 0.
        boundaries_and_scales: a dict ``{boundary: scale}``, or a pair ``(boundaries, scales)``
            that may be traced; both in [0, inf). The value reached at a boundary is the one
            before times the scale. Between equal boundaries it jumps.

    Returns:
        A function from a count to a value.

    Raises:
        ValueError: if the type is unknown, a boundary or a scale is negative, or the pair has
            unequal lengths.

    Examples:
        >>> schedule = piecewise_interpolate_schedule("linear", 1.0, {4: 0.5})
        >>> [float(schedule(count)) for count in (0, 2, 4, 9)]
        [1.0, 0.75, 0.5, 0.5]
    """
    owner = "piecewise_interpolate_schedule"
    checks.choice(owner, "interpolate_type", interpolate_type, SHAPES)
    check_numbers(owner, "(-inf, inf)", init_value=init_value)
    boundaries, scales = _columns(owner, boundaries_and_scales)

    def schedule(count: ArrayLike) -> Float[Array, "*counts"]:
        times = jnp.stack(numerics.alike(0, *boundaries))
        factors = jnp.stack([numerics.as_float(x) for x in (1, *scales)])
        order = jnp.argsort(times, stable=True)
        values = numerics.as_float(init_value) * jnp.cumprod(factors[order])
        return interpolated(interpolate_type, count, times[order], values)

    return schedule


SHAPES: dict[str, Callable[[Array], Array]] = {"linear": lambda left: left, "cosine": half_cosine}


def interpolated(
    interpolate_type: str,
    count: ArrayLike,
    times: Real[Array, "points"],
    values: Float[Array, "points"],
) -> Float[Array, "*counts"]:
    """The curve through ``(times, values)`` at ``count``; ``times`` ascend from 0.

    It looks up the piece of ``count``: a sum over the pieces would round small values at the
    scale of the largest.
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
