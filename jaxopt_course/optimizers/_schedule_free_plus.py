"""ScheduleFree+: Schedule-Free AdamC whose learning rate is a Polyak step.

At the params y_t, with the loss f_t, the gradient g_t, t from 1, and a factor a_t, usually 1,

    b_t = 1 - (1 - b)^(1 - p) (1 - b_max)^p               p = min((t - 1) / anneal_steps, 1)
    n_t = q n_{t-1} + (1 - q) sqrt(pi / 2) |g_t|_1        over all leaves; n_hat = n_t / (1 - q^t)
    l_t = a_t max(0, f_t - f_min + b_t <g_t, z_t - x_t>) / n_hat
    z_{t+1} = z_t - l_t Adam(g)_t - l_t^2 d y_t           Adam's step with both moments
    c_t     = t^r m_t^p / sum_{i <= t} i^r m_i^p          with m_t the largest rate l_i so far
    x_{t+1} = (1 - c_t) x_t + c_t z_{t+1}
    y_{t+1} = (1 - b_t) z_{t+1} + b_t x_{t+1}

The averages x are the result of a training; only z is stored. In the first ``average_after`` steps
c_t is 1, and they do not count in the sum. With ``polyak=False`` l_t is a_t, and without annealing,
decay and r this is Schedule-Free around Adam.

Reference: Defazio, "ScheduleFree+: Scaling Learning-Rate-Free & Schedule-Free Learning to Large
Language Models", 2026, https://arxiv.org/abs/2605.19095, as in its author's code,
``adamc_schedulefree_plus_paper.py`` of https://github.com/facebookresearch/schedule_free, where
f_min is 0 and l_t has no largest value.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, ScalarLike

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    Mask,
    Params,
    ScalarOrSchedule,
    Updates,
    checks,
    numerics,
    tree,
)
from jaxopt_course.transforms import add_decayed_weights

from ._adam import ScaleByAdamState, scale_by_adam
from ._schedule_free import _power, schedule_free_eval_params


class ScheduleFreePlusState(NamedTuple):
    """State of ScheduleFree+.

    b1: weight b_t of the average in the params, float[].
    weight_sum: sum of the weights i^r m_i^p, divided by m_t^p, float[].
    step_count: number of updates so far, int32[].
    max_lr: largest learning rate so far, float[].
    norm: running mean of the gradients' norms n_t, float[].
    moments: state of Adam.
    z: its iterates, shaped like the params, float32 or wider.
    """

    b1: Float[Array, ""]
    weight_sum: Float[Array, ""]
    step_count: Int[Array, ""]
    max_lr: Float[Array, ""]
    norm: Float[Array, ""]
    moments: ScaleByAdamState
    z: Params

    def evaluation_params(self, params: Params) -> Params:
        """The averages x."""
        return schedule_free_eval_params(self, params)


def schedule_free_plus(
    learning_rate: ScalarOrSchedule = 1.0,
    b1: ScalarLike = 0.9,
    b2: ScalarLike = 0.95,
    eps: ScalarLike = 1e-8,
    weight_decay: ScalarLike = 0.0,
    mask: Mask | None = None,
    *,
    sf_b1: ScalarLike = 0.9,
    sf_b1_max: ScalarLike = 0.965,
    anneal_steps: ScalarLike = 0,
    average_after: ScalarLike = 0,
    weight_power: ScalarLike = 0.0,
    weight_lr_power: ScalarLike = 2.0,
    polyak: bool = True,
    polyak_decay: ScalarLike = 0.0,
    f_min: ScalarLike = 0.0,
    max_learning_rate: ScalarLike = math.inf,
) -> GradientTransformationExtraArgs:
    """ScheduleFree+, Schedule-Free AdamC with a Polyak step; ``update`` needs ``value``, the loss.

    Args:
        learning_rate: factor a_t of the Polyak step, in [0, inf), or a schedule of the step count,
            such as a warmup. Without ``polyak`` it is the learning rate.
        b1: Adam's decay rate of the first moment, in [0, 1).
        b2: Adam's decay rate of the second moment, in [0, 1).
        eps: added to the square root in Adam's denominator, in [0, inf).
        weight_decay: d, in [0, inf), times the squared learning rate; often 5 to 50.
        mask: leaves that decay, as for :func:`adamw`; all by default.
        sf_b1: b, the weight of the average in the params, in (0, 1).
        sf_b1_max: b_max, that weight after ``anneal_steps``, in (0, 1).
        anneal_steps: number of steps from ``sf_b1`` to ``sf_b1_max``, in [0, inf); with 0 the
            weight stays ``sf_b1``.
        average_after: number of steps in which x is z, in [0, inf).
        weight_power: r, in [0, inf); 2 weighs late iterates of long trainings more.
        weight_lr_power: p of the weights, in [0, inf).
        polyak: whether the learning rate is the Polyak step.
        polyak_decay: q, in [0, 1).
        f_min: minimum of the loss, or a lower bound.
        max_learning_rate: largest l_t, in (0, inf].

    Examples:
        >>> tx, params = schedule_free_plus(), jnp.array([3.0, -2.0])
        >>> updates, state = tx.update(2 * params, tx.init(params), params, value=jnp.float32(13))
        >>> averages = schedule_free_eval_params(state, params + updates)
    """
    owner = "schedule_free_plus"
    checks.learning_rate(owner, learning_rate)
    checks.numbers(owner, "(0, 1)", sf_b1=sf_b1, sf_b1_max=sf_b1_max)
    checks.numbers(
        owner,
        "[0, inf)",
        weight_decay=weight_decay,
        anneal_steps=anneal_steps,
        average_after=average_after,
        weight_power=weight_power,
        weight_lr_power=weight_lr_power,
    )
    checks.flag(owner, "polyak", polyak)
    checks.number(owner, "polyak_decay", polyak_decay, "[0, 1)")
    checks.number(owner, "f_min", f_min)
    checks.number(owner, "max_learning_rate", max_learning_rate, "(0, inf]")
    adam = scale_by_adam(b1, b2, eps)

    def init(params):
        dtype = tree.scalar_dtype(params)
        # A copy, because params may be donated.
        wide = lambda x: jnp.array(x, numerics.wide_dtype(jnp.result_type(x)), copy=True)
        return ScheduleFreePlusState(
            b1=jnp.asarray(sf_b1, dtype),
            weight_sum=jnp.zeros((), dtype),
            step_count=jnp.zeros((), jnp.int32),
            max_lr=jnp.zeros((), dtype),
            norm=jnp.zeros((), dtype),
            moments=adam.init(params),
            z=jax.tree.map(wide, params),
        )

    def update(updates, state, params=None, *, value=None, **extra_args):
        checks.step(owner, updates, state, ScheduleFreePlusState, "z")
        checks.params(owner, params)
        if value is None and polyak:
            raise TypeError(
                f"{owner} reads the loss: call `update(updates, state, params, value=loss)`."
            )
        grads, y = tree.cast_like(updates, state.z), tree.widened(params)
        x, weight = schedule_free_eval_params(state, y), _annealed(state)
        rate = jnp.asarray(numerics.at_count(learning_rate, state.step_count), state.norm.dtype)
        norm = state.norm
        if polyak:
            length, norm = _polyak(grads, x, state, weight, value)
            rate = rate * length
        rate = jnp.minimum(rate, jnp.asarray(max_learning_rate, rate.dtype))
        steps, moments = adam.update(grads, state.moments)
        decay = add_decayed_weights(rate * jnp.asarray(weight_decay, rate.dtype), mask)
        steps = decay.update(steps, decay.init(params), y)[0]
        z = tree.cast_like(tree.running_sum(tree.scale(steps, -rate), state.z, 1.0), state.z)
        share, weight_sum, max_lr = _share(rate, state)
        x = _between(x, z, share)
        moves = tree.cast_like(tree.sub(_between(z, x, weight), y), updates)
        count = numerics.safe_increment(state.step_count)
        return moves, ScheduleFreePlusState(weight, weight_sum, count, max_lr, norm, moments, z)

    def _annealed(state: ScheduleFreePlusState) -> Array:
        """b_t, with the logarithm of 1 - b_t changing linearly."""
        dtype = state.b1.dtype
        count, steps = state.step_count.astype(dtype), jnp.asarray(anneal_steps, dtype)
        progress = jnp.minimum(numerics.safe_divide(count, steps), 1)
        first, last = (jnp.log(numerics.complement(b, dtype)) for b in (sf_b1, sf_b1_max))
        return -jnp.expm1((1 - progress) * first + progress * last)

    def _polyak(
        grads: Updates, x: Params, state: ScheduleFreePlusState, weight: Array, value: ScalarLike
    ) -> tuple[Array, Array]:
        """The Polyak step, and the running mean of the gradients' norms."""
        dtype, count = state.norm.dtype, numerics.safe_increment(state.step_count)
        size = tree.sum(jax.tree.map(numerics.magnitude, grads)) * math.sqrt(math.pi / 2)
        norm = tree.update_moment(size, state.norm, polyak_decay, 1)
        gap = jnp.asarray(value, dtype) - jnp.asarray(f_min, dtype)
        gap = gap + weight * tree.vdot(grads, tree.sub(state.z, x))
        mean = norm / numerics.one_minus_power(polyak_decay, count, dtype)
        return numerics.safe_divide(jnp.maximum(gap, 0), mean), norm

    def _share(rate: Array, state: ScheduleFreePlusState) -> tuple[Array, Array, Array]:
        """c_t, the sum of the weights over m_t^p, whose quotients do not overflow, and m_t."""
        power, exponent = (jnp.asarray(n, rate.dtype) for n in (weight_lr_power, weight_power))
        largest = jnp.maximum(state.max_lr, rate)
        old = state.weight_sum * _power(numerics.safe_divide(state.max_lr, largest), power)
        own = (state.step_count.astype(rate.dtype) + 1) ** exponent
        own = jnp.where((largest > 0) | (power == 0), own, 0)
        counts = numerics.has_reached(state.step_count, average_after)
        weight_sum = old + jnp.where(counts, own, 0)
        return jnp.where(counts, numerics.safe_divide(own, weight_sum), 1), weight_sum, largest

    return GradientTransformationExtraArgs(init, update)


def _between(start: Params, end: Params, share: Array) -> Params:
    """``(1 - share) start + share end``."""
    moved = lambda a, b: a + share.astype(a.dtype) * (b - a)
    return jax.tree.map(moved, tree.widened(start), tree.widened(end))
