"""Adamax: Adam with a decaying maximum of gradients in place of the root of the second moment.

With gradients g_t and learning rate a_t,

    m_t = b1 m_{t-1} + (1 - b1) g_t
    n_t = max(b2 n_{t-1}, |g_t| + eps)
    w  <- w - a_t m_hat / n_t,   m_hat = m_t / (1 - b1^t)

The maximum needs no bias correction. AdamaxW adds the decoupled weight decay -a_t d w_t.

References: Kingma & Ba, "Adam: A Method for Stochastic Optimization", 2015, algorithm 2,
https://arxiv.org/abs/1412.6980; Loshchilov & Hutter, "Decoupled Weight Decay Regularization",
2019, https://arxiv.org/abs/1711.05101.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ScalarLike

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    Mask,
    ScalarOrSchedule,
    checks,
    numerics,
    tree,
)
from jaxopt_course.transforms import add_decayed_weights, chain, scale_by_learning_rate

from ._adam import ScaleByAdamState, zero_moments


def scale_by_adamax(
    b1: ScalarLike = 0.9, b2: ScalarLike = 0.999, eps: ScalarLike = 1e-8
) -> GradientTransformationExtraArgs:
    """Divide the first moment by the decaying maximum. Arguments are those of :func:`adamax`.

    The state is Adam's, with the maximum as ``nu``.
    """
    checks.numbers("scale_by_adamax", "[0, 1)", b1=b1, b2=b2)
    checks.number("scale_by_adamax", "eps", eps, "[0, inf)")

    def init(params):
        return zero_moments(params)

    def update(updates, state, params=None, **extra_args):
        checks.step("scale_by_adamax", updates, state, ScaleByAdamState, "nu")
        count = numerics.safe_increment(state.count)
        keep, added = numerics.in_dtype(b2), numerics.nonzero_in_dtype(eps)

        def larger(g: Array, n: Array) -> Array:
            return jnp.maximum(jnp.abs(g) + added(n.dtype), keep(n.dtype) * n)

        mu = tree.update_moment(updates, state.mu, b1, 1)
        nu = jax.tree.map(larger, tree.cast_like(updates, mu), state.nu)
        m_hat = tree.bias_correction(mu, b1, count)
        scaled = jax.tree.map(lambda m, n: m / n.astype(m.dtype), m_hat, nu)
        return tree.cast_like(scaled, updates), ScaleByAdamState(count, mu, nu)

    return GradientTransformationExtraArgs(init, update)


def adamax(
    learning_rate: ScalarOrSchedule,
    b1: ScalarLike = 0.9,
    b2: ScalarLike = 0.999,
    eps: ScalarLike = 1e-8,
) -> GradientTransformationExtraArgs:
    """Adamax, Adam with a decaying maximum as its second moment.

    Args:
        learning_rate: the learning rate, in [0, inf), or a schedule of the step count; often 2e-3.
        b1: decay rate of the first moment, in [0, 1).
        b2: decay rate of the maximum, in [0, 1).
        eps: added to the absolute value of each gradient, in [0, inf).

    Examples:
        >>> tx = adamax(2e-3)
    """
    return chain(scale_by_adamax(b1, b2, eps), scale_by_learning_rate(learning_rate))


def adamaxw(
    learning_rate: ScalarOrSchedule,
    b1: ScalarLike = 0.9,
    b2: ScalarLike = 0.999,
    eps: ScalarLike = 1e-8,
    weight_decay: ScalarOrSchedule = 1e-4,
    mask: Mask | None = None,
) -> GradientTransformationExtraArgs:
    """Adamax with decoupled weight decay.

    Args:
        learning_rate: the learning rate, in [0, inf), or a schedule of the step count.
        b1: decay rate of the first moment, in [0, 1).
        b2: decay rate of the maximum, in [0, 1).
        eps: added to the absolute value of each gradient, in [0, inf).
        weight_decay: decoupled weight decay, in [0, inf), or a schedule; times the learning rate.
        mask: leaves that decay, as for :func:`adamw`; all by default.

    Examples:
        >>> tx = adamaxw(2e-3, weight_decay=0.1)
    """
    return chain(
        scale_by_adamax(b1, b2, eps),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )
