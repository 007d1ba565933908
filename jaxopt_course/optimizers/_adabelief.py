"""AdaBelief and ACProp: divide by the spread of gradients around their running mean.

With gradients g_t, learning rate a_t and weight decay d,

    m_t = b1 m_{t-1} + (1 - b1) g_t
    s_t = b2 s_{t-1} + (1 - b2) (g_t - m_t)^2 + eps_root

    AdaBelief   w <- w - a_t m_hat / (sqrt(s_hat) + eps)
    ACProp      w <- w - a_t (g_t / (sqrt(s_hat_{t-1}) + eps) + d w),   s_hat_0 = 1

where m_hat = m_t / (1 - b1^t) and s_hat = s_t / (1 - b2^t). ACProp takes the spread around m_{t-1}
instead of m_t, as in optax. ``eps_root`` is added in every step and accumulates to
eps_root / (1 - b2).

References: Zhuang et al., "AdaBelief Optimizer: Adapting Stepsizes by the Belief in Observed
Gradients", 2020, algorithm 2, https://arxiv.org/abs/2010.07468; Zhuang et al., "Momentum Centering
and Asynchronous Update for Adaptive Gradient Methods", 2021, algorithm 2,
https://arxiv.org/abs/2110.05454.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, ScalarLike

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
from jaxopt_course.transforms import add_decayed_weights, chain, scale_by_learning_rate

from ._adam import check_moments, mean_of_step, zero_moments
from ._decay import decayed


class ScaleByBeliefState(NamedTuple):
    """State of the AdaBelief and ACProp transformations.

    count: number of updates so far, int32[].
    mu: running mean of gradients, shaped like the params, float32 or wider.
    nu: running mean of squared distances from that mean, likewise.
    """

    count: Int[Array, ""]
    mu: Params
    nu: Params


def scale_by_belief(
    b1: ScalarLike = 0.9,
    b2: ScalarLike = 0.999,
    eps: ScalarLike = 1e-16,
    eps_root: ScalarLike = 1e-16,
    *,
    nesterov: bool = False,
) -> GradientTransformationExtraArgs:
    """Divide the first moment by the spread's root. Arguments are those of :func:`adabelief`."""
    checks.flag("scale_by_belief", "nesterov", nesterov)
    check_moments("scale_by_belief", b1, b2, eps, eps_root)

    def update(updates, state, params=None, **extra_args):
        checks.step("scale_by_belief", updates, state, ScaleByBeliefState, "nu")
        count = numerics.safe_increment(state.count)
        mu = tree.update_moment(updates, state.mu, b1, 1)
        nu = updated_spread(state.nu, updates, mu, b2, eps_root)
        m, v = mean_of_step(mu, updates, b1, count, nesterov), tree.bias_correction(nu, b2, count)
        scaled = tree.cast_like(tree.divide_by_root(m, v, eps, 0.0), updates)
        return scaled, ScaleByBeliefState(count, mu, nu)

    return GradientTransformationExtraArgs(init_belief, update)


def init_belief(params: Params) -> ScaleByBeliefState:
    """The initial state, both means at 0."""
    return ScaleByBeliefState(*zero_moments(params))


def updated_spread(
    nu: Params, updates: Updates, around: Params, b2: ScalarLike, eps_root: ScalarLike
) -> Params:
    """b2 nu + (1 - b2) |updates - around|^2 + eps_root."""
    distance = jax.tree.map(lambda g, m: jnp.asarray(g, m.dtype) - m, updates, around)
    eps = numerics.in_dtype(eps_root)
    return jax.tree.map(lambda s: s + eps(s.dtype), tree.update_moment(distance, nu, b2, 2))


def adabelief(
    learning_rate: ScalarOrSchedule,
    b1: ScalarLike = 0.9,
    b2: ScalarLike = 0.999,
    eps: ScalarLike = 1e-16,
    eps_root: ScalarLike = 1e-16,
    *,
    nesterov: bool = False,
    weight_decay: ScalarOrSchedule | None = None,
    mask: Mask | None = None,
) -> GradientTransformationExtraArgs:
    """AdaBelief, Adam with the spread of gradients as its second moment.

    Args:
        learning_rate: the learning rate, in [0, inf), or a schedule of the step count; often 1e-3.
        b1: decay rate of the first moment, in [0, 1).
        b2: decay rate of the spread, in [0, 1).
        eps: added to the square root in the denominator, in [0, inf).
        eps_root: added to the spread in every step, in [0, inf).
        nesterov: whether to use Nesterov momentum, as NAdam does.
        weight_decay: decoupled weight decay, in [0, inf), or a schedule; times the learning rate.
            None: no decay.
        mask: leaves that decay, as for :func:`adamw`; all by default.

    Examples:
        >>> tx = adabelief(1e-3)
    """
    return chain(
        scale_by_belief(b1, b2, eps, eps_root, nesterov=nesterov),
        *decayed("adabelief", weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )


def scale_by_acprop(
    b1: ScalarLike = 0.9,
    b2: ScalarLike = 0.999,
    eps: ScalarLike = 1e-16,
    eps_root: ScalarLike = 1e-16,
) -> GradientTransformationExtraArgs:
    """Divide gradients by the root of their past spread. Arguments are those of :func:`acprop`."""
    check_moments("scale_by_acprop", b1, b2, eps, eps_root)

    def update(updates, state, params=None, **extra_args):
        checks.step("scale_by_acprop", updates, state, ScaleByBeliefState, "nu")
        first, age = state.count == 0, jnp.maximum(state.count, 1)
        mu = tree.update_moment(updates, state.mu, b1, 1)
        nu = updated_spread(state.nu, updates, state.mu, b2, eps_root)
        nu_hat = tree.bias_correction(state.nu, b2, age)
        nu_hat = jax.tree.map(lambda s: jnp.where(first, 1, s), nu_hat)
        scaled = tree.divide_by_root(updates, nu_hat, eps, 0.0)
        return scaled, ScaleByBeliefState(numerics.safe_increment(state.count), mu, nu)

    return GradientTransformationExtraArgs(init_belief, update)


def acprop(
    learning_rate: ScalarOrSchedule,
    b1: ScalarLike = 0.9,
    b2: ScalarLike = 0.999,
    eps: ScalarLike = 1e-16,
    eps_root: ScalarLike = 1e-16,
    weight_decay: ScalarOrSchedule = 0.0,
    mask: Mask | None = None,
) -> GradientTransformationExtraArgs:
    """ACProp, gradients over the root of their previous spread, with decoupled weight decay.

    Args:
        learning_rate: the learning rate, in [0, inf), or a schedule of the step count.
        b1: decay rate of the mean around which the spread is taken, in [0, 1).
        b2: decay rate of the spread, in [0, 1).
        eps: added to the square root in the denominator, in [0, inf).
        eps_root: added to the spread in every step, in [0, inf).
        weight_decay: decoupled weight decay, in [0, inf), or a schedule; times the learning rate.
        mask: leaves that decay, as for :func:`adamw`; all by default.

    Examples:
        >>> tx = acprop(1e-3, weight_decay=0.01)
    """
    return chain(
        scale_by_acprop(b1, b2, eps, eps_root),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )
