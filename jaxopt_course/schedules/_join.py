"""Schedules one after another, each counting from its own beginning."""

from collections.abc import Iterable, Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, ScalarLike, Shaped

from jaxopt_course.core import Schedule, checks, numerics

from ._progress import elapsed


def join_schedules(
    schedules: Sequence[Schedule],
    boundaries: Sequence[ScalarLike] | Shaped[Array | np.ndarray, "joints"],
) -> Schedule:
    """Hand over from one schedule to the next at each boundary.

    Args:
        schedules: one or more. Each receives the count since its boundary, never a negative one.
        boundaries: the counts at which the second, third, ... schedule takes over, in [0, inf)
            and in ascending order: a sequence of numbers or an array, traced or not. Between
            two equal ones a schedule is skipped.

    Returns:
        A function from a count to a value.

    Raises:
        ValueError: if the numbers of schedules and boundaries do not fit, or a boundary is
            negative or less than the one before.

    Examples:
        >>> from jaxopt_course.schedules import constant_schedule, linear_schedule
        >>> parts = [linear_schedule(0.0, 1.0, 2), constant_schedule(0.5)]
        >>> schedule = join_schedules(parts, [3])
        >>> [float(schedule(count)) for count in (0, 1, 2, 3)]
        [0.0, 0.5, 1.0, 0.5]
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
