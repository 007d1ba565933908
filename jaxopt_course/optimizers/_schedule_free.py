"""Schedule-Free: a running average of the iterates replaces a decaying learning rate.

Around a base optimizer with updates u_t, at the learning rate a_t,

    y_t     = (1 - b1) z_t + b1 x_t           the params, at which the gradient is taken
    z_{t+1} = z_t + u_t                       the iterates of the base optimizer
    c_{t+1} = m_t^p / sum_{i <= t} m_i^p      with m_t the largest rate so far
    x_{t+1} = (1 - c_{t+1}) x_t + c_{t+1} z_{t+1}

The averages x are the result of a training: ``schedule_free_eval_params`` recovers them. Only z is
stored, and the params move by

    y_{t+1} - y_t = c_{t+1} (z_{t+1} - y_t) + (1 - c_{t+1}) (1 - b1) (z_{t+1} - z_t).

Schedules count from 0, as everywhere in this library; optax evaluates this one at 1 first, but not
the base optimizer's. The base optimizer should have no momentum of its own: b1 replaces it.

Reference: Defazio et al., "The Road Less Scheduled", 2024, algorithm 1,
https://arxiv.org/abs/2405.15682.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, DTypeLike, Float, Int, ScalarLike

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    Params,
    ScalarOrSchedule,
    State,
    checks,
    if_applied,
    numerics,
    tree,
)
from jaxopt_course.schedules import warmup_constant_schedule
from jaxopt_course.transforms import add_decayed_weights, chain, scale_by_learning_rate

from ._momentum import product, sgd
from ._rmsprop import scale_by_rms


class ScheduleFreeState(NamedTuple):
    """State of a schedule-free optimizer.

    b1: weight of the average in the params, float[].
    weight_sum: sum of the weights m_i^p, float[].
    step_count: number of updates so far, int32[].
    max_lr: largest learning rate so far, float[].
    base_optimizer_state: state of the base optimizer.
    z: its iterates, shaped like the params, float32 or wider.
    """

    b1: Float[Array, ""]
    weight_sum: Float[Array, ""]
    step_count: Int[Array, ""]
    max_lr: Float[Array, ""]
    base_optimizer_state: State
    z: Params

    def evaluation_params(self, params: Params) -> Params:
        """The averages x."""
        return schedule_free_eval_params(self, params)


def schedule_free(
    base_optimizer: optax.GradientTransformation,
    learning_rate: ScalarOrSchedule,
    b1: ScalarLike = 0.9,
    weight_lr_power: ScalarLike = 2.0,
    state_dtype: DTypeLike | None = None,
) -> GradientTransformationExtraArgs:
    """Run ``base_optimizer`` on iterates z, and average them.

    Args:
        base_optimizer: computes the updates of z; it should have no momentum.
        learning_rate: the learning rate of the base optimizer, in [0, inf), or its schedule, such
            as a warmup without decay. Here it only sets the weights of the average.
        b1: weight of the average in the params, in (0, 1].
        weight_lr_power: p, in [0, inf); with 0 all iterates have equal weight.
        state_dtype: dtype of z; float32 or wider by default.

    Examples:
        >>> tx, params = schedule_free(sgd(0.5), 0.5), jnp.ones(3)
        >>> averages = schedule_free_eval_params(tx.init(params), params)
    """
    checks.dtype("schedule_free", "state_dtype", state_dtype)
    checks.learning_rate("schedule_free", learning_rate)
    checks.number("schedule_free", "b1", b1, "(0, 1]")
    checks.number("schedule_free", "weight_lr_power", weight_lr_power, "[0, inf)")
    base_optimizer = checks.transformation("schedule_free", "base_optimizer", base_optimizer)

    def init(params):
        dtype_of = lambda x: state_dtype or numerics.wide_dtype(jnp.result_type(x))
        # A copy, because params may be donated.
        z = jax.tree.map(lambda x: jnp.array(x, dtype_of(x), copy=True), params)
        dtype = tree.scalar_dtype(params)
        return ScheduleFreeState(
            b1=jnp.asarray(b1, dtype),
            weight_sum=jnp.zeros((), dtype),
            step_count=jnp.zeros((), jnp.int32),
            max_lr=jnp.zeros((), dtype),
            base_optimizer_state=base_optimizer.init(params),
            z=z,
        )

    def update(updates, state, params=None, **extra_args):
        checks.step("schedule_free", updates, state, ScheduleFreeState, "z")
        checks.params("schedule_free", params)
        rate = numerics.at_count(learning_rate, state.step_count)
        max_lr = jnp.maximum(state.max_lr, jnp.asarray(rate, state.max_lr.dtype))
        weight = _power(max_lr, jnp.asarray(weight_lr_power, max_lr.dtype))
        weight_sum = state.weight_sum + weight
        share = numerics.safe_divide(weight, weight_sum)

        old_base = state.base_optimizer_state
        steps, new_base = base_optimizer.update(updates, old_base, params, **extra_args)
        z = tree.cast_like(tree.running_sum(state.z, steps, 1.0), state.z)
        moves = tree.cast_like(_moves(params, state.z, z, share, b1), updates)

        new = moves, weight_sum, numerics.safe_increment(state.step_count), max_lr
        stays = jax.tree.map(jnp.zeros_like, moves)
        old = stays, state.weight_sum, state.step_count, state.max_lr
        moves, weight_sum, step_count, max_lr = if_applied(new_base, old_base, new, old)
        return moves, ScheduleFreeState(
            jnp.asarray(b1, state.b1.dtype), weight_sum, step_count, max_lr, new_base, z
        )

    return GradientTransformationExtraArgs(init, update)


def _moves(params: Params, old: Params, new: Params, share: Array, b1: ScalarLike) -> Params:
    """y_{t+1} - y_t, from z_t, z_{t+1} and c_{t+1}."""
    to_z = numerics.in_dtype(share)
    along = numerics.in_dtype((1 - share) * numerics.complement(b1, share.dtype))

    def moved(y: Array, old: Array, new: Array) -> Array:
        old, new = old.astype(y.dtype), new.astype(y.dtype)
        return to_z(y.dtype) * (new - y) + along(y.dtype) * (new - old)

    return jax.tree.map(moved, tree.widened(params), old, new)


def schedule_free_eval_params(state: State, params: Params) -> Params:
    """The averages x = (y - (1 - b1) z) / b1, at which a schedule-free training is evaluated.

    Args:
        state: the state of :func:`schedule_free` itself, not of a chain around it.
        params: the params y.

    Raises:
        TypeError: if the state is that of another optimizer.
    """
    if not (hasattr(state, "b1") and hasattr(state, "z")):
        raise TypeError(
            "schedule_free_eval_params: `state` must be a ScheduleFreeState, "
            f"got {type(state).__name__}."
        )

    def average(z: Any, y: Any) -> Any:
        wide = jnp.asarray(y, numerics.wide_dtype(jnp.result_type(y)))
        b1 = jnp.asarray(state.b1, wide.dtype)
        return ((wide - (1 - b1) * jnp.asarray(z, wide.dtype)) / b1).astype(jnp.result_type(y))

    return tree.map_unmasked(average, state.z, params)


def schedule_free_sgd(
    learning_rate: ScalarOrSchedule = 1.0,
    warmup_steps: ScalarLike | None = None,
    b1: ScalarLike = 0.9,
    weight_decay: ScalarOrSchedule | None = None,
    weight_lr_power: ScalarLike = 2.0,
    state_dtype: DTypeLike | None = None,
) -> GradientTransformationExtraArgs:
    """Schedule-Free gradient descent.

    Args:
        learning_rate: the learning rate, in [0, inf), or a schedule of the step count.
        warmup_steps: number of steps in which the rate grows linearly from 0. None: no warmup.
        b1: weight of the average in the params, in (0, 1].
        weight_decay: coupled weight decay of the params y, in [0, inf), or a schedule.
        weight_lr_power: p, in [0, inf); with 0 all iterates have equal weight.
        state_dtype: dtype of z; float32 or wider by default.

    Examples:
        >>> tx = schedule_free_sgd(0.5, warmup_steps=100)
    """
    learning_rate = _warmed_up("schedule_free_sgd", learning_rate, warmup_steps)
    base = sgd(learning_rate)
    if weight_decay is not None:
        base = chain(add_decayed_weights(weight_decay), base)
    return schedule_free(base, learning_rate, b1, weight_lr_power, state_dtype)


def schedule_free_adamw(
    learning_rate: ScalarOrSchedule = 0.0025,
    warmup_steps: ScalarLike | None = None,
    b1: ScalarLike = 0.9,
    b2: ScalarLike = 0.999,
    eps: ScalarLike = 1e-8,
    weight_decay: ScalarOrSchedule = 0.0,
    weight_lr_power: ScalarLike = 2.0,
    state_dtype: DTypeLike | None = None,
) -> GradientTransformationExtraArgs:
    """Schedule-Free AdamW, without a first moment.

    The weights are powers of the learning rate, as in optax; the paper's also contain the factor
    sqrt(1 - b2^t) of the bias correction.

    Args:
        learning_rate: the learning rate, in [0, inf), or a schedule of the step count.
        warmup_steps: number of steps in which the rate grows linearly from 0. None: no warmup.
        b1: weight of the average in the params, in (0, 1].
        b2: decay rate of the second moment, in [0, 1).
        eps: added to the square root in the denominator, in [0, inf).
        weight_decay: decoupled weight decay of the params y, in [0, inf), or a schedule.
        weight_lr_power: p, in [0, inf); with 0 all iterates have equal weight.
        state_dtype: dtype of z; float32 or wider by default.

    Examples:
        >>> tx = schedule_free_adamw(2.5e-3, warmup_steps=100)
    """
    learning_rate = _warmed_up("schedule_free_adamw", learning_rate, warmup_steps)
    base = chain(
        scale_by_rms(b2, eps, eps_in_sqrt=False, bias_correction=True),
        add_decayed_weights(weight_decay),
        scale_by_learning_rate(learning_rate),
    )
    return schedule_free(base, learning_rate, b1, weight_lr_power, state_dtype)


def _warmed_up(
    owner: str, learning_rate: ScalarOrSchedule, warmup_steps: ScalarLike | None
) -> ScalarOrSchedule:
    checks.learning_rate(owner, learning_rate)
    if warmup_steps is None:
        return learning_rate
    checks.number(owner, "warmup_steps", warmup_steps, "[0, inf)")
    warmup = warmup_constant_schedule(0.0, 1.0, warmup_steps)
    return numerics.of_rates(product, learning_rate, warmup)


def _power(base: Float[Array, ""], exponent: Float[Array, ""]) -> Float[Array, ""]:
    """``base ** exponent`` for numbers in [0, inf), with derivative 0 where the base is 0."""
    positive = base > 0
    power = jnp.where(positive, base, 1) ** exponent
    return jnp.where(positive | (exponent == 0), power, 0)
