"""Multiplication by a number: fixed, scheduled, or the learning rate that ends most chains."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Int, ScalarLike

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    Params,
    ScalarOrSchedule,
    Schedule,
    Updates,
    at_count,
    check_flag,
    check_floats,
    check_learning_rate,
    check_like,
    check_number,
    check_schedule,
    check_state,
    increment,
    scale_tree,
)

from ._stateless import of_floats


__all__ = [
    "ScaleByLearningRateState",
    "ScaleByScheduleState",
    "scale",
    "scale_by_learning_rate",
    "scale_by_schedule",
]


def scale(step_size: ScalarLike) -> GradientTransformationExtraArgs:
    """Multiply updates by ``step_size``, a number of either sign.

    Raises:
        TypeError, ValueError: if ``step_size`` is not one finite real number.
    """
    check_number("scale", "step_size", step_size)
    return of_floats(lambda updates, params: scale_tree(updates, step_size))


class ScaleByScheduleState(NamedTuple):
    """``count``: how many updates have been made, int32[]."""

    count: Int[Array, ""]


def scale_by_schedule(step_size_fn: Schedule) -> GradientTransformationExtraArgs:
    """Multiply the update of step t by ``step_size_fn(t)``, where t counts from 0.

    Args:
        step_size_fn: step count int32[] -> factor float[], of either sign.

    Raises:
        TypeError: if ``step_size_fn`` is not callable.
    """
    check_schedule("scale_by_schedule", "step_size_fn", step_size_fn)

    def init(params: Params) -> ScaleByScheduleState:
        return ScaleByScheduleState(count=jnp.zeros((), jnp.int32))

    def update(
        updates: Updates,
        state: ScaleByScheduleState,
        params: Params | None = None,
        **extra_args: Any,
    ) -> tuple[Updates, ScaleByScheduleState]:
        check_state("scale_by_schedule", state, ScaleByScheduleState)
        check_floats("scale_by_schedule", "update", updates)
        updates = scale_tree(updates, step_size_fn(state.count))
        return updates, ScaleByScheduleState(count=increment(state.count))

    return GradientTransformationExtraArgs(init, update)


class ScaleByLearningRateState(NamedTuple):
    """``step``: how many updates have been made, int32[].

    It is kept where the rate is constant too, so that a checkpoint can go on with a schedule.
    """

    step: Int[Array, ""]


def scale_by_learning_rate(
    learning_rate: ScalarOrSchedule, *, flip_sign: bool = True
) -> GradientTransformationExtraArgs:
    """Multiply updates by minus the learning rate: u_t = -a_t g_t.

    Args:
        learning_rate: a_t, a number in [0, inf), or a schedule of the step count (from 0).
        flip_sign: whether to go downhill. Without it the factor is plus the rate.

    Returns:
        The last link of a descent method.

    Raises:
        TypeError: if the rate is neither a number nor a schedule.
        ValueError: if it is negative, infinite or NaN.

    Examples:
        >>> import jax.numpy as jnp
        >>> tx = scale_by_learning_rate(0.1)
        >>> updates, state = tx.update(jnp.array(2.0), tx.init(jnp.array(0.0)))
        >>> round(float(updates), 3), int(state.step)
        (-0.2, 1)
    """
    check_flag("scale_by_learning_rate", "flip_sign", flip_sign)
    hint = "To multiply by a number of either sign, use `scale`."
    check_learning_rate("scale_by_learning_rate", learning_rate, hint=hint)

    def init(params: Params) -> ScaleByLearningRateState:
        return ScaleByLearningRateState(step=jnp.zeros((), jnp.int32))

    def update(
        updates: Updates,
        state: ScaleByLearningRateState,
        params: Params | None = None,
        **extra_args: Any,
    ) -> tuple[Updates, ScaleByLearningRateState]:
        check_state("scale_by_learning_rate", state, ScaleByLearningRateState)
        check_floats("scale_by_learning_rate", "gradient", updates)
        if params is not None:
            check_like("scale_by_learning_rate", "gradient", updates, params)
        rate = at_count(learning_rate, state.step)
        updates = scale_tree(updates, -rate if flip_sign else rate)
        return updates, ScaleByLearningRateState(step=increment(state.step))

    return GradientTransformationExtraArgs(init, update)
