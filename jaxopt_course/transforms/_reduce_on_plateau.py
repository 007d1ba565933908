"""Smaller steps once the loss stops improving.

With the mean m of the last values and the best mean b so far, m is an improvement if

    m < b - rtol |b| - atol

which holds for values of either sign. After ``patience`` consecutive means without improvement the
scale is multiplied by ``factor``. Then ``cooldown`` means pass before counting resumes.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, ScalarLike

from jaxopt_course.core import GradientTransformationExtraArgs, checks, numerics, tree


class ReduceLROnPlateauState(NamedTuple):
    """State of :func:`reduce_on_plateau`.

    scale: the current factor of the updates, float[].
    best_value: the best mean of values so far, float[]; infinity before the first.
    plateau_count: consecutive means without improvement, int32[].
    cooldown_count: means until the cooldown ends, int32[].
    count: values in the current mean, int32[].
    avg_value: the current mean, float[].
    avg_weight: the total weight of its values, float[].
    """

    scale: Float[Array, ""]
    best_value: Float[Array, ""]
    plateau_count: Int[Array, ""]
    cooldown_count: Int[Array, ""]
    count: Int[Array, ""]
    avg_value: Float[Array, ""]
    avg_weight: Float[Array, ""] = 0.0


def reduce_on_plateau(
    factor: ScalarLike = 0.1,
    patience: ScalarLike = 10,
    rtol: ScalarLike = 1e-4,
    atol: ScalarLike = 0.0,
    cooldown: ScalarLike = 0,
    accumulation_size: ScalarLike = 1,
    min_scale: ScalarLike = 0.0,
) -> GradientTransformationExtraArgs:
    """Scale updates down when ``value``, an extra argument of ``update``, stops improving.

    It belongs to the end of a chain and needs ``update(..., value=loss)``.

    Args:
        factor: factor of a reduction, in (0, 1).
        patience: consecutive means without improvement that cause a reduction, in [1, inf).
        rtol: the relative improvement that counts, in [0, 1].
        atol: the absolute improvement that counts, in [0, inf).
        cooldown: means to wait after a reduction, in [0, inf).
        accumulation_size: number of values in a mean, in [1, inf): 1 for a validation loss, more
            for losses of mini-batches, such as the number of updates in an epoch. Values are
            weighted by the extra argument ``weight`` of ``update``, the total weight of the batch
            (default 1); a mean of total weight 0 is ignored.
        min_scale: the smallest scale, in [0, 1].

    Examples:
        >>> tx = reduce_on_plateau(factor=0.5, patience=1)
        >>> _, state = tx.update(jnp.array(1.0), tx.init(jnp.array(0.0)), value=-2.0)
        >>> float(tx.update(jnp.array(1.0), state, value=-2.0)[0])
        0.5
    """
    owner = "reduce_on_plateau"
    checks.number(owner, "factor", factor, "(0, 1)")
    checks.numbers(owner, "[1, inf)", patience=patience, accumulation_size=accumulation_size)
    checks.numbers(owner, "[0, inf)", atol=atol, cooldown=cooldown)
    checks.numbers(owner, "[0, 1]", rtol=rtol, min_scale=min_scale)

    def init(params):
        bad, pause, count = (jnp.zeros((), jnp.int32) for _ in range(3))
        scale, best, mean, weight = map(numerics.as_float, (1.0, jnp.inf, 0.0, 0.0))
        return ReduceLROnPlateauState(scale, best, bad, pause, count, mean, weight)

    def judged(state: ReduceLROnPlateauState) -> ReduceLROnPlateauState:
        """The state after a complete mean."""
        improved = _improves(state.avg_value, state.best_value, rtol, atol)
        waiting = state.cooldown_count > 0
        bad = jnp.where(improved, 0, numerics.safe_increment(state.plateau_count))
        reduce = ~waiting & numerics.has_reached(bad, patience)
        smaller = state.scale * numerics.as_float(factor)
        smaller = jnp.maximum(smaller, numerics.as_float(min_scale))
        pause = jnp.where(reduce, jnp.ceil(numerics.alike(cooldown)[0]).astype(jnp.int32), 0)
        return state._replace(
            scale=jnp.where(reduce, smaller, state.scale),
            best_value=jnp.where(improved, state.avg_value, state.best_value),
            plateau_count=jnp.where(waiting | reduce, 0, bad),
            cooldown_count=jnp.where(waiting, state.cooldown_count - 1, pause),
        )

    def update(updates, state, params=None, *, value=None, weight=1.0, **extra_args):
        checks.state(owner, state, ReduceLROnPlateauState)
        if value is None:
            raise ValueError(
                f"{owner} reads the loss: call `update(updates, state, params, value=loss)`."
            )
        state = _with_value(state, numerics.as_float(value), numerics.as_float(weight))
        full = numerics.has_reached(state.count, accumulation_size)
        after = _where(state.avg_weight > 0, judged(state), state)
        new_state = _where(full, _emptied(after), state)
        return tree.scale(updates, new_state.scale), new_state

    return GradientTransformationExtraArgs(init, update)


def _improves(mean: Array, best: Array, rtol: ScalarLike, atol: ScalarLike) -> Array:
    tolerance = numerics.as_float(rtol) * jnp.abs(best) + numerics.as_float(atol)
    return mean < jnp.where(jnp.isfinite(best), best - tolerance, best)


def _with_value(state: ReduceLROnPlateauState, value: Array, weight: Array) -> Any:
    """``state`` with one more value in its mean; a value of weight 0 does not change it."""
    total = numerics.as_float(state.avg_weight) + weight
    mean = state.avg_value + numerics.safe_divide(weight, total) * (value - state.avg_value)
    return state._replace(
        count=numerics.safe_increment(state.count),
        avg_value=jnp.where(weight > 0, mean, state.avg_value),
        avg_weight=total,
    )


def _emptied(state: ReduceLROnPlateauState) -> ReduceLROnPlateauState:
    """``state`` at the start of a mean."""
    zero = jnp.zeros_like
    return state._replace(
        count=zero(state.count), avg_value=zero(state.avg_value), avg_weight=zero(state.avg_weight)
    )


def _where(condition: Array, new: Any, old: Any) -> Any:
    return jax.tree.map(functools.partial(jnp.where, condition), new, old)
