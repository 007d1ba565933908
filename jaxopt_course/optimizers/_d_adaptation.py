"""D-Adaptation and Prodigy: AdamW whose learning rate estimates the distance to the solution.

With gradients g_t, first params w_0, learning rate a_t (a factor, usually 1), q = sqrt(b2), weight
decay c, and d_t a lower bound of the distance |w_0 - w*| in the infinity norm, both have the step
length l_t = d_t a_t sqrt(1 - b2^t) / (1 - b1^t). D-Adaptation, with A_t = sqrt(v_t) + eps:

    r_t = q r_{t-1} + (1 - q) l_t <g_t, s_{t-1} / A_{t-1}>
    m_t = b1 m_{t-1} + (1 - b1) l_t g_t
    v_t = b2 v_{t-1} + (1 - b2) g_t^2
    s_t = q s_{t-1} + (1 - q) l_t g_t
    d_{t+1} = max(d_t, r_t / ((1 - q) |s_t|_1))
    w  <- w - m_t / A_t - l_t c w

As in optax, the step length contains Adam's bias corrections and the inner product is weighted by
A_{t-1}; the paper has no correction and weighs by A_t. Prodigy:

    m_t = b1 m_{t-1} + (1 - b1) d_t g_t
    v_t = b2 v_{t-1} + (1 - b2) d_t^2 g_t^2
    r_t = q r_{t-1} + d_t l_t <g_t, w_0 - w_t>
    s_t = q s_{t-1} + d_t l_t g_t                      d_t^2 g_t with ``safeguard_warmup``
    d_{t+1} = max(d_t, e r_t / |s_t|_1)
    w  <- w - l_t m_t / (sqrt(v_t) + d_{t+1} eps) - l_t c w

Its r and s are stored divided by d_0, which leaves their quotient unchanged. As in optax and in the
authors' code, eps is multiplied by the new estimate (in the paper by d_t), and the step length
contains Adam's bias corrections.

References: Defazio & Mishchenko, "Learning-Rate-Free Learning by D-Adaptation", 2023, algorithm 5,
https://arxiv.org/abs/2301.07733; Mishchenko & Defazio, "Prodigy: An Expeditiously Adaptive
Parameter-Free Learner", 2023, algorithm 4, https://arxiv.org/abs/2306.06101.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree, ScalarLike

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    Mask,
    Params,
    ScalarOrSchedule,
    checks,
    numerics,
    tree,
)
from jaxopt_course.transforms import add_decayed_weights


class DAdaptAdamWState(NamedTuple):
    """State of the DAdaptAdamW transformation.

    exp_avg: m, shaped like the params, float32 or wider.
    exp_avg_sq: v, likewise.
    grad_sum: s, likewise.
    estim_lr: d, the estimate of the distance, float[], float32 or wider.
    numerator_weighted: r, float[].
    count: number of updates so far, int32[].
    """

    exp_avg: Params
    exp_avg_sq: Params
    grad_sum: Params
    estim_lr: Float[Array, ""]
    numerator_weighted: Float[Array, ""]
    count: Int[Array, ""]


def dadapt_adamw(
    learning_rate: ScalarOrSchedule = 1.0,
    betas: tuple[ScalarLike, ScalarLike] = (0.9, 0.999),
    eps: ScalarLike = 1e-8,
    estim_lr0: ScalarLike = 1e-6,
    weight_decay: ScalarLike = 0.0,
) -> GradientTransformationExtraArgs:
    """AdamW that estimates its own learning rate by D-Adaptation.

    Args:
        learning_rate: factor of the estimated rate, in [0, inf), or a schedule of the step count.
        betas: decay rates of both moments, in [0, 1).
        eps: added to the square root in the denominator, in [0, inf).
        estim_lr0: initial estimate, in (0, inf), below the distance to the solution.
        weight_decay: decoupled weight decay, in [0, inf).

    Examples:
        >>> tx = dadapt_adamw()
    """
    _check("dadapt_adamw", learning_rate, betas, estim_lr0, eps=eps, weight_decay=weight_decay)
    b1, b2 = betas
    root_b2 = _root_of(b2)

    def init(params):
        return DAdaptAdamWState(**_start(params, estim_lr0))

    def update(updates, state, params=None, **extra_args):
        checks.step("dadapt_adamw", updates, state, DAdaptAdamWState, "exp_avg")
        checks.params("dadapt_adamw", params)
        distance, dtype = state.estim_lr, state.estim_lr.dtype
        count, length = _count_and_length(state, learning_rate, b1, b2)

        grads = tree.cast_like(updates, state.exp_avg)
        weighted = tree.divide_by_root(state.grad_sum, state.exp_avg_sq, eps, 0.0)
        progress = length * tree.vdot(grads, weighted).astype(dtype)
        numerator = tree.update_moment(progress, state.numerator_weighted, root_b2, 1)

        steps = tree.scale(grads, length)
        exp_avg = tree.update_moment(steps, state.exp_avg, b1, 1)
        exp_avg_sq = tree.update_moment(grads, state.exp_avg_sq, b2, 2)
        grad_sum = tree.update_moment(steps, state.grad_sum, root_b2, 1)
        norm = numerics.complement(root_b2, dtype) * _l1_norm(grad_sum).astype(dtype)
        estimate = jnp.maximum(distance, numerics.safe_divide(numerator, norm))

        scaled = tree.divide_by_root(exp_avg, exp_avg_sq, eps, 0.0)
        total = tree.running_sum(params, scaled, jnp.asarray(weight_decay, dtype) * length)
        moves = tree.cast_like(tree.scale(total, -1.0), updates)
        return moves, DAdaptAdamWState(exp_avg, exp_avg_sq, grad_sum, estimate, numerator, count)

    return GradientTransformationExtraArgs(init, update)


class ProdigyState(NamedTuple):
    """State of the Prodigy transformation.

    exp_avg: m, shaped like the params, float32 or wider.
    exp_avg_sq: v, likewise.
    grad_sum: s / d_0, likewise.
    params0: w_0, the first params.
    estim_lr: d, the estimate of the distance, float[], float32 or wider.
    numerator_weighted: r / d_0, float[].
    count: number of updates so far, int32[].
    """

    exp_avg: Params
    exp_avg_sq: Params
    grad_sum: Params
    params0: Params
    estim_lr: Float[Array, ""]
    numerator_weighted: Float[Array, ""]
    count: Int[Array, ""]


def prodigy(
    learning_rate: ScalarOrSchedule = 1.0,
    betas: tuple[ScalarLike, ScalarLike] = (0.9, 0.999),
    beta3: ScalarLike | None = None,
    eps: ScalarLike = 1e-8,
    estim_lr0: ScalarLike = 1e-6,
    estim_lr_coef: ScalarLike = 1.0,
    weight_decay: ScalarLike = 0.0,
    safeguard_warmup: bool = False,
    *,
    mask: Mask | None = None,
) -> GradientTransformationExtraArgs:
    """AdamW that estimates its own learning rate by Prodigy.

    Args:
        learning_rate: factor of the estimated rate, in [0, inf), or a schedule of the step count.
        betas: decay rates of both moments, in [0, 1).
        beta3: q, decay rate of the sums in the estimate, in [0, 1]; sqrt(b2) by default.
        eps: added to the square root, times the estimate, in [0, inf).
        estim_lr0: initial estimate, in (0, inf), below the distance to the solution.
        estim_lr_coef: e, a factor of the estimate, in (0, inf).
        weight_decay: decoupled weight decay, in [0, inf).
        safeguard_warmup: whether to leave the learning rate out of s, for long warmups.
        mask: leaves that decay, as for :func:`adamw`; all by default.

    Examples:
        >>> tx = prodigy()
    """
    checks.flag("prodigy", "safeguard_warmup", safeguard_warmup)
    _check("prodigy", learning_rate, betas, estim_lr0, eps=eps, weight_decay=weight_decay)
    b1, b2 = betas
    decay = _root_of(b2) if beta3 is None else beta3
    checks.number("prodigy", "beta3", decay, "[0, 1]")
    checks.number("prodigy", "estim_lr_coef", estim_lr_coef, "(0, inf)")
    decay_of_weights = add_decayed_weights(weight_decay, mask)

    def init(params):
        first = jax.tree.map(jnp.copy, params)  # a copy, because params may be donated
        return ProdigyState(params0=first, **_start(params, estim_lr0))

    def update(updates, state, params=None, **extra_args):
        checks.step("prodigy", updates, state, ProdigyState, "params0")
        checks.params("prodigy", params)
        distance, dtype = state.estim_lr, state.estim_lr.dtype
        count, length = _count_and_length(state, learning_rate, b1, b2)
        growth = distance / jnp.asarray(estim_lr0, dtype)

        grads = tree.cast_like(updates, state.exp_avg)
        scaled = tree.scale(grads, distance)
        exp_avg = tree.update_moment(scaled, state.exp_avg, b1, 1)
        exp_avg_sq = tree.update_moment(scaled, state.exp_avg_sq, b2, 2)
        weight = growth * (distance if safeguard_warmup else length)
        grad_sum = tree.running_sum(state.grad_sum, tree.scale(grads, weight), decay)

        progress = tree.vdot(grads, tree.sub(state.params0, params)).astype(dtype)
        numerator = tree.running_sum(state.numerator_weighted, growth * length * progress, decay)
        found = numerics.safe_divide(numerator, _l1_norm(grad_sum).astype(dtype))
        estimate = jnp.maximum(distance, jnp.asarray(estim_lr_coef, dtype) * found)

        ratio = tree.divide_by_root(exp_avg, exp_avg_sq, estimate * jnp.asarray(eps, dtype), 0.0)
        total, _ = decay_of_weights.update(ratio, decay_of_weights.init(params), params)
        moves = tree.cast_like(tree.scale(total, -length), updates)
        return moves, ProdigyState(
            exp_avg, exp_avg_sq, grad_sum, state.params0, estimate, numerator, count
        )

    return GradientTransformationExtraArgs(init, update)


def _check(
    owner: str, learning_rate: ScalarOrSchedule, betas: Any, estim_lr0: Any, **others: Any
) -> None:
    """Raise unless the arguments that both optimizers have lie in their ranges."""
    checks.learning_rate(owner, learning_rate)
    for place, decay in enumerate(betas):
        checks.number(owner, f"betas[{place}]", decay, "[0, 1)")
    checks.numbers(owner, "[0, inf)", **others)
    checks.number(owner, "estim_lr0", estim_lr0, "(0, inf)")


def _start(params: Params, estim_lr0: ScalarLike) -> dict[str, Any]:
    """The fields that both states have, before the first update."""
    dtype = tree.scalar_dtype(params)
    return {
        "exp_avg": tree.accumulator_like(params),
        "exp_avg_sq": tree.real_accumulator_like(params),
        "grad_sum": tree.accumulator_like(params),
        "estim_lr": jnp.asarray(estim_lr0, dtype),
        "numerator_weighted": jnp.zeros((), dtype),
        "count": jnp.zeros((), jnp.int32),
    }


def _count_and_length(
    state: Any, learning_rate: ScalarOrSchedule, b1: ScalarLike, b2: ScalarLike
) -> tuple[Int[Array, ""], Float[Array, ""]]:
    """The number of this update, from 1, and its step length l_t."""
    dtype, count = state.estim_lr.dtype, numerics.safe_increment(state.count)
    rate = jnp.asarray(numerics.at_count(learning_rate, state.count), dtype)
    first, second = (numerics.one_minus_power(b, count, dtype) for b in (b1, b2))
    return count, state.estim_lr * rate * (numerics.safe_sqrt(second) / first)


def _root_of(decay: ScalarLike) -> ScalarLike:
    """The square root of a decay rate, exact enough for ``1 - root`` if it is a Python number."""
    if isinstance(decay, int | float):
        return decay**0.5
    return numerics.safe_sqrt(numerics.as_float(decay))


def _l1_norm(updates: PyTree) -> Float[Array, ""]:
    """The sum of the absolute values of all entries."""
    return tree.sum(jax.tree.map(jnp.abs, updates))
