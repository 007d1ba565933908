"""D-Adaptation: AdamW whose learning rate is an estimate of the distance to the solution.

With gradients g_t, A_t = sqrt(v_t) + eps, decays b1, b2, q = sqrt(b2), and a lower bound d_t of
the distance from the first params to the solution, in the infinity norm,

    l_t = d_t a_t sqrt(1 - b2^t) / (1 - b1^t)                the step length
    r_t = q r_{t-1} + (1 - q) l_t <g_t, s_{t-1} / A_{t-1}>
    m_t = b1 m_{t-1} + (1 - b1) l_t g_t
    v_t = b2 v_{t-1} + (1 - b2) g_t^2
    s_t = q s_{t-1} + (1 - q) l_t g_t
    d_{t+1} = max(d_t, r_t / ((1 - q) |s_t|_1))
    w  <- w - m_t / A_t - l_t c w                            with weight decay c

The rate a_t stays near 1; a schedule of it is one relative to what was found. As in optax, the
step length has Adam's bias corrections and the inner product is weighted by A_{t-1}; the
paper's algorithm has neither correction and takes A_t.

Reference: Defazio & Mishchenko, "Learning-Rate-Free Learning by D-Adaptation", 2023,
algorithm 5, https://arxiv.org/abs/2301.07733.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree, ScalarLike

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    Params,
    ScalarOrSchedule,
    checks,
    numerics,
    tree,
)


class DAdaptAdamWState(NamedTuple):
    """What the next step needs from the past.

    exp_avg: m, shaped like the params, float32 or wider.
    exp_avg_sq: v, likewise.
    grad_sum: s, likewise.
    estim_lr: d, the estimate of the distance, float[], float32 or wider.
    numerator_weighted: r, float[].
    count: how many updates have been made, int32[].
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
    """AdamW that finds its own learning rate.

    Args:
        learning_rate: a_t, in [0, inf), or a schedule of the step count: a factor.
        betas: decays of the running means of gradients and of their squares, in [0, 1).
        eps: added to the root, in [0, inf).
        estim_lr0: the first estimate, in (0, inf): below the distance to the solution.
        weight_decay: c, in [0, inf), decoupled.

    Returns:
        A transformation whose updates are to be added to the params; ``update`` needs them.

    Raises:
        ValueError: if a number lies outside its range.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> params, tx = jnp.array([3.0, -2.0]), dadapt_adamw()
        >>> state, update = tx.init(params), jax.jit(tx.update)
        >>> for _ in range(500):
        ...     updates, state = update(2 * params, state, params)
        ...     params = params + updates
        >>> bool(jnp.linalg.norm(params) < 1e-2)
        True
    """
    checks.learning_rate("dadapt_adamw", learning_rate)
    b1, b2 = check_betas("dadapt_adamw", betas)
    checks.number("dadapt_adamw", "eps", eps, "[0, inf)")
    checks.number("dadapt_adamw", "estim_lr0", estim_lr0, "(0, inf)")
    checks.number("dadapt_adamw", "weight_decay", weight_decay, "[0, inf)")
    root_b2 = root_of(b2)

    def init(params):
        dtype = tree.scalar_dtype(params)
        return DAdaptAdamWState(
            exp_avg=tree.accumulator_like(params),
            exp_avg_sq=tree.real_accumulator_like(params),
            grad_sum=tree.accumulator_like(params),
            estim_lr=jnp.asarray(estim_lr0, dtype),
            numerator_weighted=jnp.zeros((), dtype),
            count=jnp.zeros((), jnp.int32),
        )

    def update(updates, state, params=None, **extra_args):
        checks.state("dadapt_adamw", state, DAdaptAdamWState)
        checks.params("dadapt_adamw", params)
        checks.like("dadapt_adamw", "gradient", updates, state.exp_avg)
        distance, dtype = state.estim_lr, state.estim_lr.dtype
        count = numerics.safe_increment(state.count)
        rate = numerics.at_count(learning_rate, state.count)
        length = distance * jnp.asarray(rate, dtype) * adam_correction(b1, b2, count, dtype)

        grads = tree.cast_like(updates, state.exp_avg)
        weighted = tree.divide_by_root(state.grad_sum, state.exp_avg_sq, eps, 0.0)
        progress = length * tree.vdot(grads, weighted).astype(dtype)
        numerator = tree.update_moment(progress, state.numerator_weighted, root_b2, 1)

        steps = tree.scale(grads, length)
        exp_avg = tree.update_moment(steps, state.exp_avg, b1, 1)
        exp_avg_sq = tree.update_moment(grads, state.exp_avg_sq, b2, 2)
        grad_sum = tree.update_moment(steps, state.grad_sum, root_b2, 1)
        norm = numerics.complement(root_b2, dtype) * l1_norm(grad_sum).astype(dtype)
        estimate = jnp.maximum(distance, numerics.safe_divide(numerator, norm))

        scaled = tree.divide_by_root(exp_avg, exp_avg_sq, eps, 0.0)
        uphill = tree.running_sum(params, scaled, jnp.asarray(weight_decay, dtype) * length)
        return tree.cast_like(tree.scale(uphill, -1.0), updates), DAdaptAdamWState(
            exp_avg, exp_avg_sq, grad_sum, estimate, numerator, count
        )

    return GradientTransformationExtraArgs(init, update)


def check_betas(owner: str, betas: tuple[ScalarLike, ScalarLike]) -> tuple[ScalarLike, ScalarLike]:
    """The two decays, checked."""
    for place, decay in enumerate(betas):
        checks.number(owner, f"betas[{place}]", decay, "[0, 1)")
    b1, b2 = betas
    return b1, b2


def adam_correction(
    b1: ScalarLike, b2: ScalarLike, count: Int[Array, ""], dtype: Any
) -> Float[Array, ""]:
    """Adam's two bias corrections as one factor of the step: sqrt(1 - b2^t) / (1 - b1^t)."""
    return numerics.safe_sqrt(
        numerics.one_minus_power(b2, count, dtype)
    ) / numerics.one_minus_power(b1, count, dtype)


def root_of(decay: ScalarLike) -> ScalarLike:
    """The square root of a decay, of which ``1 - root`` is still exact for Python numbers."""
    return (
        decay**0.5
        if isinstance(decay, int | float)
        else numerics.safe_sqrt(numerics.as_float(decay))
    )


def l1_norm(updates: PyTree) -> Float[Array, ""]:
    """The sum of the absolute values of all entries."""
    return tree.sum(jax.tree.map(jnp.abs, updates))
