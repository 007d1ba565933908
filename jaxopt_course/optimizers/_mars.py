"""MARS: AdamW on gradients with reduced variance.

With gradients g_t (g_0 = g_1), learning rate a_t, weight decay d and b1, b2 of Adam,

    c_t = g_t + gamma b1 / (1 - b1) (g_t - g_{t-1})
    k_t = c_t / max(1, |c_t|)                              with the norm of the whole tree
    w  <- w - a_t (Adam(k)_t + d w)

This is the approximate version, which reuses the gradient of the previous step; the exact one
evaluates the current batch at the previous params. The authors' code clips each leaf separately.

Reference: Yuan et al., "MARS: Unleashing the Power of Variance Reduction for Training Large
Models", 2024, algorithm 2 (MARS-AdamW), https://arxiv.org/abs/2411.10438.
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
    global_norm,
    numerics,
    tree,
)
from jaxopt_course.transforms import add_decayed_weights, chain, scale_by_learning_rate

from ._adam import ScaleByAdamState, check_moments, scale_by_adam


class ScaleByMarsState(NamedTuple):
    """State of the MARS transformation.

    count: number of updates so far, int32[].
    mu: running mean of the corrected gradients, shaped like the params, float32 or wider.
    nu: running mean of their squares, likewise.
    prev_grads: the previous gradient, likewise.
    """

    count: Int[Array, ""]
    mu: Params
    nu: Params
    prev_grads: Params


def scale_by_mars(
    b1: ScalarLike = 0.95,
    b2: ScalarLike = 0.99,
    eps: ScalarLike = 1e-8,
    eps_root: ScalarLike = 0.0,
    gamma: ScalarLike = 0.025,
    mu_dtype: DTypeLike | None = None,
) -> GradientTransformationExtraArgs:
    """Reduce the variance of gradients, then apply Adam. Arguments are those of :func:`mars`."""
    check_moments("scale_by_mars", b1, b2, eps, eps_root, mu_dtype)
    checks.number("scale_by_mars", "gamma", gamma, "[0, inf)")
    moments = scale_by_adam(b1, b2, eps, eps_root, mu_dtype)

    def init(params):
        count, mu, nu = moments.init(params)
        return ScaleByMarsState(count, mu, nu, tree.accumulator_like(params))

    def update(updates, state, params=None, **extra_args):
        checks.step("scale_by_mars", updates, state, ScaleByMarsState, "prev_grads")
        grads = tree.cast_like(updates, state.prev_grads)
        strength = numerics.as_float(gamma) * numerics.as_float(b1)
        strength /= numerics.complement(b1, strength.dtype)
        strength = jnp.where(state.count == 0, 0, strength)
        corrected = tree.running_sum(tree.sub(grads, state.prev_grads), grads, strength)
        clipped = tree.scale(corrected, 1 / jnp.maximum(global_norm(corrected), 1))
        adam = ScaleByAdamState(state.count, state.mu, state.nu)
        scaled, (count, mu, nu) = moments.update(clipped, adam, params)
        return tree.cast_like(scaled, updates), ScaleByMarsState(count, mu, nu, grads)

    return GradientTransformationExtraArgs(init, update)


def mars(
    learning_rate: ScalarOrSchedule,
    b1: ScalarLike = 0.95,
    b2: ScalarLike = 0.99,
    eps: ScalarLike = 1e-8,
    eps_root: ScalarLike = 0.0,
    gamma: ScalarLike = 0.025,
    mu_dtype: DTypeLike | None = None,
    weight_decay: ScalarOrSchedule = 0.0,
    mask: Mask | None = None,
) -> GradientTransformationExtraArgs:
    """MARS-AdamW, the approximate version, with decoupled weight decay.

    Args:
        learning_rate: the learning rate, in [0, inf), or a schedule of the step count; often 3e-3.
        b1: decay rate of the first moment, in [0, 1).
        b2: decay rate of the second moment, in [0, 1).
        eps: added to the square root in the denominator, in [0, inf).
        eps_root: added to the second moment inside the square root, in [0, inf).
        gamma: strength of the correction, in [0, inf). With 0 only the clipping and Adam remain.
        mu_dtype: dtype of the first moment; float32 or wider by default.
        weight_decay: decoupled weight decay, in [0, inf), or a schedule; times the learning rate.
        mask: leaves that decay, as for :func:`adamw`; all by default.

    Examples:
        >>> tx = mars(3e-3, weight_decay=0.01)
    """
    return chain(
        scale_by_mars(b1, b2, eps, eps_root, gamma, mu_dtype),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )
