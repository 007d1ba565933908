"""Multiplication by a number: fixed, scheduled, or the learning rate."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Int, ScalarLike

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    ScalarOrSchedule,
    Schedule,
    checks,
    numerics,
    tree,
)

from ._stateless import of_floats


def scale(step_size: ScalarLike) -> GradientTransformationExtraArgs:
    """Multiply updates by ``step_size``, a finite number of either sign."""
    checks.number("scale", "step_size", step_size)
    return of_floats(lambda updates, params: tree.scale(updates, step_size))


class ScaleByScheduleState(NamedTuple):
    """State of :func:`scale_by_schedule`. ``count``: number of updates, int32[]."""

    count: Int[Array, ""]


def scale_by_schedule(step_size_fn: Schedule) -> GradientTransformationExtraArgs:
    """Multiply the update of step t by ``step_size_fn(t)``, where t counts from 0.

    Args:
        step_size_fn: step count int32[] -> factor float[], of either sign.
    """
    checks.schedule("scale_by_schedule", "step_size_fn", step_size_fn)

    def init(params):
        return ScaleByScheduleState(count=jnp.zeros((), jnp.int32))

    def update(updates, state, params=None, **extra_args):
        checks.state("scale_by_schedule", state, ScaleByScheduleState)
        checks.floats("scale_by_schedule", "update", updates)
        updates = tree.scale(updates, step_size_fn(state.count))
        return updates, ScaleByScheduleState(count=numerics.safe_increment(state.count))

    return GradientTransformationExtraArgs(init, update)


class ScaleByLearningRateState(NamedTuple):
    """State of the learning rate. ``step``: number of updates, int32[].

    A constant rate keeps it too, so that a training can resume from its checkpoint with a schedule.
    """

    step: Int[Array, ""]


def scale_by_learning_rate(
    learning_rate: ScalarOrSchedule, *, flip_sign: bool = True
) -> GradientTransformationExtraArgs:
    """Multiply updates by minus the learning rate: u_t = -a_t g_t, the end of most chains.

    Args:
        learning_rate: a_t, a number in [0, inf), or a schedule of the step count (from 0).
        flip_sign: whether to descend. Without it the factor is plus the rate.

    Examples:
        >>> tx = scale_by_learning_rate(0.1)
        >>> updates, state = tx.update(jnp.array(2.0), tx.init(jnp.array(0.0)))
        >>> round(float(updates), 3), int(state.step)
        (-0.2, 1)
    """
    checks.flag("scale_by_learning_rate", "flip_sign", flip_sign)
    hint = "To multiply by a number of either sign, use `scale`."
    checks.learning_rate("scale_by_learning_rate", learning_rate, hint=hint)

    def init(params):
        return ScaleByLearningRateState(step=jnp.zeros((), jnp.int32))

    def update(updates, state, params=None, **extra_args):
        checks.state("scale_by_learning_rate", state, ScaleByLearningRateState)
        like = updates if params is None else params
        checks.like("scale_by_learning_rate", "gradient", updates, like)
        rate = numerics.at_count(learning_rate, state.step)
        updates = tree.scale(updates, -rate if flip_sign else rate)
        return updates, ScaleByLearningRateState(step=numerics.safe_increment(state.step))

    return GradientTransformationExtraArgs(init, update)
