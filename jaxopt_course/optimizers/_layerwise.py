"""LAMB, LARS and Fromage: each leaf moves relative to its own norm.

For a leaf w with gradients g_t, Adam's update u_t, learning rate a_t and weight decay d,

    LAMB      w <- w - a_t |w| / |u_t + d w| (u_t + d w)
    LARS      v_t = b v_{t-1} - a_t c |w| / (|g_t + d w| + eps) (g_t + d w),   w <- w + v_t
    Fromage   w <- (w - a_t g_t |w| / |g_t|) / sqrt(1 + a_t^2)

LAMB and LARS omit the ratio where one of the norms is 0. In the paper LARS divides by
|g_t| + d |w|.

References: You et al., "Large Batch Optimization for Deep Learning: Training BERT in 76 minutes",
2020, algorithm 2, https://arxiv.org/abs/1904.00962; You, Gitman & Ginsburg, "Large Batch Training
of Convolutional Networks", 2017, algorithm 1, https://arxiv.org/abs/1708.03888; Bernstein, Vahdat,
Yue & Liu, "On the distance between two neural networks and the stability of learning", 2020,
algorithm 1, https://arxiv.org/abs/2002.03432.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float, ScalarLike

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    Mask,
    ScalarOrSchedule,
    checks,
    numerics,
)
from jaxopt_course.transforms import (
    add_decayed_weights,
    chain,
    masked,
    scale,
    scale_by_learning_rate,
    scale_by_trust_ratio,
    trace,
)

from ._adam import scale_by_adam


def lamb(
    learning_rate: ScalarOrSchedule,
    b1: ScalarLike = 0.9,
    b2: ScalarLike = 0.999,
    eps: ScalarLike = 1e-6,
    eps_root: ScalarLike = 0.0,
    weight_decay: ScalarOrSchedule = 0.0,
    mask: Mask | None = None,
) -> GradientTransformationExtraArgs:
    """LAMB, Adam relative to the norm of each leaf, for large batches.

    Args:
        learning_rate: the learning rate, in [0, inf), or a schedule of the step count.
        b1: decay rate of the first moment, in [0, 1).
        b2: decay rate of the second moment, in [0, 1).
        eps: added to the square root in the denominator, in [0, inf).
        eps_root: added to the second moment inside the square root, in [0, inf).
        weight_decay: weight decay d, in [0, inf), or a schedule.
        mask: leaves that decay, as for :func:`adamw`; all by default.

    Examples:
        >>> tx = lamb(1e-3, weight_decay=0.01)
    """
    return chain(
        scale_by_adam(b1, b2, eps, eps_root),
        add_decayed_weights(weight_decay, mask),
        scale_by_trust_ratio(),
        scale_by_learning_rate(learning_rate),
    )


def lars(
    learning_rate: ScalarOrSchedule,
    weight_decay: ScalarOrSchedule = 0.0,
    weight_decay_mask: Mask = True,
    trust_coefficient: ScalarLike = 0.001,
    eps: ScalarLike = 0.0,
    trust_ratio_mask: Mask = True,
    momentum: ScalarLike = 0.9,
    nesterov: bool = False,
) -> GradientTransformationExtraArgs:
    """LARS, momentum relative to the norm of each leaf, for large batches.

    Args:
        learning_rate: the learning rate, in [0, inf), or a schedule of the step count.
        weight_decay: weight decay d, in [0, inf), or a schedule.
        weight_decay_mask: leaves that decay, as for :func:`adamw`; all by default.
        trust_coefficient: c, in [0, inf).
        eps: added to the norm of the update, in [0, inf).
        trust_ratio_mask: leaves that are scaled by the ratio; often not biases and normalizations.
        momentum: b, in [0, 1).
        nesterov: whether to use Nesterov momentum.

    Examples:
        >>> tx = lars(1.0, weight_decay=1e-4)
    """
    checks.number("lars", "momentum", momentum, "[0, 1)")
    scaled = scale_by_trust_ratio(trust_coefficient=trust_coefficient, eps=eps)
    return chain(
        add_decayed_weights(weight_decay, weight_decay_mask),
        masked(scaled, trust_ratio_mask),
        scale_by_learning_rate(learning_rate),
        trace(momentum, nesterov),
    )


def fromage(
    learning_rate: ScalarOrSchedule, min_norm: ScalarLike = 1e-6
) -> GradientTransformationExtraArgs:
    """Fromage, gradient descent relative to the norm of each leaf.

    Args:
        learning_rate: the learning rate, in [0, inf), or a schedule of the step count; often 0.01.
        min_norm: smallest value of either norm, in [0, inf).

    Examples:
        >>> tx = fromage(0.01)
    """
    checks.learning_rate("fromage", learning_rate)
    checks.number("fromage", "min_norm", min_norm, "[0, inf)")
    return chain(
        scale_by_trust_ratio(min_norm),
        scale_by_learning_rate(numerics.of_rates(_shrunk, learning_rate), flip_sign=False),
        add_decayed_weights(numerics.of_rates(_shrinkage, learning_rate)),
        scale(-1.0),
    )


def _shrunk(rate: ScalarLike) -> Float[Array, ""]:
    """``a / sqrt(1 + a^2)``."""
    rate = numerics.as_float(rate)
    return rate / jnp.sqrt(1 + rate**2)


def _shrinkage(rate: ScalarLike) -> Float[Array, ""]:
    """``1 - 1 / sqrt(1 + a^2)``, without cancellation at small a."""
    rate = numerics.as_float(rate)
    root = jnp.sqrt(1 + rate**2)
    return rate**2 / (root * (1 + root))
