"""AdEMAMix: Adam with a second, much slower running mean of gradients.

With gradients g_t, learning rate a_t and weight decay d,

    m_t = b1 m_{t-1} + (1 - b1) g_t                 the fast mean
    n_t = b3_t n_{t-1} + (1 - b3_t) g_t             the slow mean
    v_t = b2 v_{t-1} + (1 - b2) g_t^2
    w  <- w - a_t ((m_hat + alpha_t n_t) / (sqrt(v_hat + eps_root) + eps) + d w)

where m_hat and v_hat are bias-corrected and n is not. The paper increases alpha_t and b3_t slowly;
both take schedules. The simplified variant has one momentum and adds the gradient to it:

    m_t = b1 m_{t-1} + g_t                          a sum, not a mean
    w  <- w - a_t ((m_t + alpha_t g_t) / (sqrt(v_hat + eps_root) + eps) + d w)

References: Pagliardini, Ablin & Grangier, "The AdEMAMix Optimizer: Better, Faster, Older", 2024,
algorithm 1, https://arxiv.org/abs/2409.03137; Morwani et al., "Connections between Schedule-Free
Optimizers, AdEMAMix, and Accelerated SGD Variants", 2025, algorithm "Simplified AdEMAMix",
https://arxiv.org/abs/2502.02431.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Int, ScalarLike

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    Mask,
    Params,
    ScalarOrSchedule,
    checks,
    numerics,
    tree,
)
from jaxopt_course.transforms import add_decayed_weights, chain, scale_by_learning_rate

from ._adam import check_moments


class ScaleByAdemamixState(NamedTuple):
    """State of the AdEMAMix transformation.

    count: number of updates so far, int32[].
    count_m2: number of updates of the slow mean, int32[], at which schedules are evaluated.
    m1: fast mean of gradients, shaped like the params, float32 or wider.
    m2: slow mean, likewise.
    nu: running mean of squared gradients, likewise.
    """

    count: Int[Array, ""]
    count_m2: Int[Array, ""]
    m1: Params
    m2: Params
    nu: Params


def scale_by_ademamix(
    b1: ScalarLike = 0.9,
    b2: ScalarLike = 0.999,
    b3: ScalarOrSchedule = 0.9999,
    alpha: ScalarOrSchedule = 6.0,
    eps: ScalarLike = 1e-8,
    eps_root: ScalarLike = 0.0,
    mu_dtype: DTypeLike | None = None,
) -> GradientTransformationExtraArgs:
    """Rescale gradients by AdEMAMix's moments. Arguments are those of :func:`ademamix`."""
    check_moments("scale_by_ademamix", b1, b2, eps, eps_root, mu_dtype)
    checks.learning_rate("scale_by_ademamix", alpha, "alpha")
    if callable(b3):
        checks.schedule("scale_by_ademamix", "b3", b3)
    else:
        checks.number("scale_by_ademamix", "b3", b3, "[0, 1)")

    def init(params):
        count, count_m2 = (jnp.zeros((), jnp.int32) for _ in range(2))
        m1, m2 = (tree.accumulator_like(params, mu_dtype) for _ in range(2))
        return ScaleByAdemamixState(count, count_m2, m1, m2, tree.real_accumulator_like(params))

    def update(updates, state, params=None, **extra_args):
        checks.step("scale_by_ademamix", updates, state, ScaleByAdemamixState, "nu")
        slow_decay = numerics.at_count(b3, state.count_m2)
        weight = numerics.at_count(alpha, state.count_m2)
        count = numerics.safe_increment(state.count)
        m1 = tree.update_moment(updates, state.m1, b1, 1)
        m2 = tree.update_moment(updates, state.m2, slow_decay, 1)
        nu = tree.update_moment(updates, state.nu, b2, 2)
        mixed = tree.running_sum(m2, tree.bias_correction(m1, b1, count), weight)
        scaled = tree.divide_by_root(mixed, tree.bias_correction(nu, b2, count), eps, eps_root)
        m1, m2 = tree.cast_like(m1, state.m1), tree.cast_like(m2, state.m2)
        count_m2 = numerics.safe_increment(state.count_m2)
        return tree.cast_like(scaled, updates), ScaleByAdemamixState(count, count_m2, m1, m2, nu)

    return GradientTransformationExtraArgs(init, update)


def ademamix(
    learning_rate: ScalarOrSchedule,
    b1: ScalarLike = 0.9,
    b2: ScalarLike = 0.999,
    b3: ScalarOrSchedule = 0.9999,
    alpha: ScalarOrSchedule = 5.0,
    eps: ScalarLike = 1e-8,
    eps_root: ScalarLike = 0.0,
    mu_dtype: DTypeLike | None = None,
    weight_decay: ScalarOrSchedule = 0.0,
    mask: Mask | None = None,
) -> GradientTransformationExtraArgs:
    """AdEMAMix, Adam with an additional slow mean, and decoupled weight decay.

    Args:
        learning_rate: the learning rate, in [0, inf), or a schedule of the step count.
        b1: decay rate of the fast mean, in [0, 1).
        b2: decay rate of the second moment, in [0, 1).
        b3: decay rate of the slow mean, in [0, 1), or a schedule. 0.999 suits a few thousand steps.
        alpha: weight of the slow mean, in [0, inf), or a schedule.
        eps: added to the square root in the denominator, in [0, inf).
        eps_root: added to the second moment inside the square root, in [0, inf).
        mu_dtype: dtype of both means; float32 or wider by default.
        weight_decay: decoupled weight decay, in [0, inf), or a schedule; times the learning rate.
        mask: leaves that decay, as for :func:`adamw`; all by default.

    Examples:
        >>> tx = ademamix(1e-3, b3=0.999)
    """
    return chain(
        scale_by_ademamix(b1, b2, b3, alpha, eps, eps_root, mu_dtype),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )


class ScaleBySimplifiedAdEMAMixState(NamedTuple):
    """State of the simplified AdEMAMix transformation.

    t: number of updates so far, int32[].
    m: decaying sum of gradients, shaped like the params, float32 or wider.
    n: running mean of squared gradients, likewise.
    """

    t: Int[Array, ""]
    m: Params
    n: Params


def scale_by_simplified_ademamix(
    b1: ScalarLike = 0.99,
    b2: ScalarLike = 0.95,
    alpha: ScalarOrSchedule = 0.0,
    eps: ScalarLike = 1e-8,
    eps_root: ScalarLike = 0.0,
) -> GradientTransformationExtraArgs:
    """Rescale gradients by their moments. Arguments are those of :func:`simplified_ademamix`."""
    owner = "scale_by_simplified_ademamix"
    check_moments(owner, b1, b2, eps, eps_root)
    checks.learning_rate(owner, alpha, "alpha")

    def init(params):
        m, n = tree.accumulator_like(params), tree.real_accumulator_like(params)
        return ScaleBySimplifiedAdEMAMixState(jnp.zeros((), jnp.int32), m, n)

    def update(updates, state, params=None, **extra_args):
        checks.step(owner, updates, state, ScaleBySimplifiedAdEMAMixState, "n")
        weight = numerics.at_count(alpha, state.t)
        t = numerics.safe_increment(state.t)
        m = tree.running_sum(state.m, updates, b1)
        n = tree.update_moment(updates, state.n, b2, 2)
        mixed = tree.running_sum(updates, m, weight)
        scaled = tree.divide_by_root(mixed, tree.bias_correction(n, b2, t), eps, eps_root)
        return tree.cast_like(scaled, updates), ScaleBySimplifiedAdEMAMixState(t, m, n)

    return GradientTransformationExtraArgs(init, update)


def simplified_ademamix(
    learning_rate: ScalarOrSchedule,
    b1: ScalarLike = 0.99,
    b2: ScalarLike = 0.95,
    alpha: ScalarOrSchedule = 0.0,
    eps: ScalarLike = 1e-8,
    eps_root: ScalarLike = 0.0,
    weight_decay: ScalarOrSchedule = 0.0,
    mask: Mask | None = None,
) -> GradientTransformationExtraArgs:
    """Simplified AdEMAMix, momentum plus the current gradient, with decoupled weight decay.

    Args:
        learning_rate: the learning rate, in [0, inf), or a schedule; 1 - b1 times Adam's is usual.
        b1: decay rate of the sum of gradients, in [0, 1).
        b2: decay rate of the second moment, in [0, 1).
        alpha: weight of the current gradient, in [0, inf), or a schedule.
        eps: added to the square root in the denominator, in [0, inf).
        eps_root: added to the second moment inside the square root, in [0, inf).
        weight_decay: decoupled weight decay, in [0, inf), or a schedule; times the learning rate.
        mask: leaves that decay, as for :func:`adamw`; all by default.

    Examples:
        >>> tx = simplified_ademamix(1e-5, alpha=100.0)
    """
    return chain(
        scale_by_simplified_ademamix(b1, b2, alpha, eps, eps_root),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )
