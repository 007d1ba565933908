"""Prodigy: D-Adaptation that weighs late gradients more, and so finds its rate sooner.

With gradients g_t, first params w_0, decays b1, b2, q = sqrt(b2), and a lower bound d_t of the
distance |w_0 - w*| in the infinity norm,

    l_t = d_t a_t sqrt(1 - b2^t) / (1 - b1^t)          the step length
    m_t = b1 m_{t-1} + (1 - b1) d_t g_t
    v_t = b2 v_{t-1} + (1 - b2) d_t^2 g_t^2
    r_t = q r_{t-1} + d_t l_t <g_t, w_0 - w_t>
    s_t = q s_{t-1} + d_t l_t g_t                      d_t^2 g_t with ``safeguard_warmup``
    d_{t+1} = max(d_t, e r_t / |s_t|_1)
    w  <- w - l_t m_t / (sqrt(v_t) + d_{t+1} eps) - l_t c w       with weight decay c

The rate a_t stays near 1; a schedule of it is one relative to what was found. Both r and s are
kept divided by d_0, which leaves their quotient alone. As in optax and in the authors' code, eps
is multiplied by the new estimate (the paper: by d_t), and the step has Adam's bias corrections.

Reference: Mishchenko & Defazio, "Prodigy: An Expeditiously Adaptive Parameter-Free Learner",
2023, algorithm 4, https://arxiv.org/abs/2306.06101.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, ScalarLike

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    Params,
    ScalarOrSchedule,
    checks,
    numerics,
    tree,
)

from ._dadapt_adamw import adam_correction, check_betas, l1_norm, root_of


class ProdigyState(NamedTuple):
    """What the next step needs from the past.

    exp_avg: m, shaped like the params, float32 or wider.
    exp_avg_sq: v, likewise.
    grad_sum: s / d_0, likewise.
    params0: w_0, the first params.
    estim_lr: d, the estimate of the distance, float[], float32 or wider.
    numerator_weighted: r / d_0, float[].
    count: how many updates have been made, int32[].
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
) -> GradientTransformationExtraArgs:
    """AdamW that finds its own learning rate.

    Args:
        learning_rate: a_t, in [0, inf), or a schedule of the step count: a factor.
        betas: decays of the running means of gradients and of their squares, in [0, 1).
        beta3: q, decay of the estimate's two sums, in [0, 1]; the root of b2 by default.
        eps: added to the root, times the estimate, in [0, inf).
        estim_lr0: the first estimate, in (0, inf): below the distance to the solution.
        estim_lr_coef: e, factor of the estimate, in (0, inf).
        weight_decay: c, in [0, inf), decoupled.
        safeguard_warmup: leave the rate out of s, for long warmups.

    Returns:
        A transformation whose updates are to be added to the params; ``update`` needs them.

    Raises:
        ValueError: if a number lies outside its range.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> params, tx = jnp.array([3.0, -2.0]), prodigy()
        >>> state, update = tx.init(params), jax.jit(tx.update)
        >>> for _ in range(500):
        ...     updates, state = update(2 * params, state, params)
        ...     params = params + updates
        >>> bool(jnp.linalg.norm(params) < 1e-2)
        True
    """
    checks.flag("prodigy", "safeguard_warmup", safeguard_warmup)
    checks.learning_rate("prodigy", learning_rate)
    b1, b2 = check_betas("prodigy", betas)
    decay = root_of(b2) if beta3 is None else beta3
    checks.number("prodigy", "beta3", decay, "[0, 1]")
    checks.number("prodigy", "eps", eps, "[0, inf)")
    checks.number("prodigy", "estim_lr0", estim_lr0, "(0, inf)")
    checks.number("prodigy", "estim_lr_coef", estim_lr_coef, "(0, inf)")
    checks.number("prodigy", "weight_decay", weight_decay, "[0, inf)")

    def init(params):
        dtype = tree.scalar_dtype(params)
        return ProdigyState(
            exp_avg=tree.accumulator_like(params),
            exp_avg_sq=tree.real_accumulator_like(params),
            grad_sum=tree.accumulator_like(params),
            params0=jax.tree.map(jnp.copy, params),  # so that the params may be donated
            estim_lr=jnp.asarray(estim_lr0, dtype),
            numerator_weighted=jnp.zeros((), dtype),
            count=jnp.zeros((), jnp.int32),
        )

    def update(updates, state, params=None, **extra_args):
        checks.state("prodigy", state, ProdigyState)
        checks.params("prodigy", params)
        checks.like("prodigy", "gradient", updates, state.params0)
        distance, dtype = state.estim_lr, state.estim_lr.dtype
        count = numerics.safe_increment(state.count)
        rate = numerics.at_count(learning_rate, state.count)
        length = distance * jnp.asarray(rate, dtype) * adam_correction(b1, b2, count, dtype)
        growth = distance / jnp.asarray(estim_lr0, dtype)

        grads = tree.cast_like(updates, state.exp_avg)
        scaled = tree.scale(grads, distance)
        exp_avg = tree.update_moment(scaled, state.exp_avg, b1, 1)
        exp_avg_sq = tree.update_moment(scaled, state.exp_avg_sq, b2, 2)
        weight = growth * (distance if safeguard_warmup else length)
        grad_sum = tree.running_sum(state.grad_sum, tree.scale(grads, weight), decay)

        progress = tree.vdot(grads, tree.sub(state.params0, params)).astype(dtype)
        numerator = tree.running_sum(state.numerator_weighted, growth * length * progress, decay)
        found = numerics.safe_divide(numerator, l1_norm(grad_sum).astype(dtype))
        estimate = jnp.maximum(distance, jnp.asarray(estim_lr_coef, dtype) * found)

        ratio = tree.divide_by_root(exp_avg, exp_avg_sq, estimate * jnp.asarray(eps, dtype), 0.0)
        uphill = tree.running_sum(params, ratio, weight_decay)
        return tree.cast_like(tree.scale(uphill, -length), updates), ProdigyState(
            exp_avg, exp_avg_sq, grad_sum, state.params0, estimate, numerator, count
        )

    return GradientTransformationExtraArgs(init, update)
