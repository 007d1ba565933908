"""Multiplication by a number: fixed, scheduled, or the learning rate."""

import contextvars
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, ScalarLike

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    Params,
    ScalarOrSchedule,
    Schedule,
    State,
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


# The rates of the transformations whose `init` is called, while `learning_rates` calls it.
_noted: contextvars.ContextVar[list[Any] | None] = contextvars.ContextVar("noted", default=None)


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
        if (noted := _noted.get()) is not None:  # learning_rates asks
            noted.append(learning_rate)
            return ScaleByLearningRateState(step=jnp.zeros(len(noted), jnp.int32))
        return ScaleByLearningRateState(step=jnp.zeros((), jnp.int32))

    def update(updates, state, params=None, **extra_args):
        checks.state("scale_by_learning_rate", state, ScaleByLearningRateState)
        like = updates if params is None else params
        checks.like("scale_by_learning_rate", "gradient", updates, like)
        rate = numerics.at_count(learning_rate, state.step)
        updates = tree.scale(updates, -rate if flip_sign else rate)
        return updates, ScaleByLearningRateState(step=numerics.safe_increment(state.step))

    return GradientTransformationExtraArgs(init, update)


def learning_rates(
    optimizer: optax.GradientTransformation, params: Params
) -> Callable[[State], list[Float[Array, ""]]]:
    """The function from a state of ``optimizer`` to the learning rates of its last update.

    They are the numbers or schedules that :func:`scale_by_learning_rate` was given, in the
    optimizers of this library, and the hyperparameters ``learning_rate`` of ``inject_hyperparams``.
    A rate that several groups of parameters share is given once. Factors of other transformations,
    such as ``reduce_on_plateau``, are not included. Before the first update the rates are those of
    the first.

    Args:
        optimizer: any gradient transformation.
        params: the parameters, or their shapes and dtypes.

    Examples:
        >>> tx = scale_by_learning_rate(lambda step: 1 / (1 + step))
        >>> state = tx.init(jnp.array(0.0))
        >>> for _ in range(2):
        ...     _, state = tx.update(jnp.array(1.0), state)
        >>> [float(rate) for rate in learning_rates(tx, jnp.array(0.0))(state)]
        [0.5]
    """
    noted: list[Any] = []
    token = _noted.set(noted)
    try:
        like = jax.eval_shape(lambda params: optimizer.init(params), params)  # never a cached trace
    finally:
        _noted.reset(token)
    # The shape of its step says which of the noted rates belongs to a state, whatever the order.
    own = [part for part in _with_rates(like) if isinstance(part, ScaleByLearningRateState)]
    given = [noted[part.step.shape[0] - 1] for part in own]

    def rates(state: State) -> list[Float[Array, ""]]:
        found: list[Any] = []
        seen: list[Any] = []
        remaining = iter(given)
        for part in _with_rates(state):
            if not isinstance(part, ScaleByLearningRateState):
                found.append(part.hyperparams["learning_rate"])
                continue
            rate = next(remaining)
            if not any(rate is other for other in seen):
                seen.append(rate)
                found.append(numerics.at_count(rate, jnp.maximum(part.step - 1, 0)))
        return [numerics.as_float(rate) for rate in found]

    return rates


def _with_rates(state: State) -> list[Any]:
    """The outermost parts of ``state`` that have a learning rate."""

    def has_rate(part: Any) -> bool:
        if isinstance(part, ScaleByLearningRateState):
            return True
        return "learning_rate" in (getattr(part, "hyperparams", None) or ())

    return [part for part in jax.tree.leaves(state, is_leaf=has_rate) if has_rate(part)]
