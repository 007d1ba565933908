"""AMSGrad: Adam whose denominator never decreases.

With the moments m_t and v_t of Adam and learning rate a_t,

    w <- w - a_t m_hat / (sqrt(v_max_t + eps_root) + eps),   v_max_t = max(v_max_{t-1}, v_hat_t)

The maximum is taken over bias-corrected moments, as in optax. The paper corrects nothing
(``bias_correction_mu=False, bias_correction_nu=False``); torch divides the maximum of the
uncorrected moments by 1 - b2^t.

Reference: Reddi, Kale & Kumar, "On the Convergence of Adam and Beyond", 2018, algorithm 2,
https://openreview.net/forum?id=ryQu7f-RZ.
"""

from typing import NamedTuple

import jax
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
from jaxopt_course.transforms import chain, scale_by_learning_rate

from ._adam import check_moments
from ._decay import decayed


class ScaleByAmsgradState(NamedTuple):
    """State of the AMSGrad transformation.

    count: number of updates so far, int32[].
    mu: running mean of gradients, shaped like the params, float32 or wider.
    nu: running mean of squared gradients, likewise.
    nu_max: largest second moment of each entry so far, likewise.
    """

    count: Int[Array, ""]
    mu: Params
    nu: Params
    nu_max: Params


def scale_by_amsgrad(
    b1: ScalarLike = 0.9,
    b2: ScalarLike = 0.999,
    eps: ScalarLike = 1e-8,
    eps_root: ScalarLike = 0.0,
    mu_dtype: DTypeLike | None = None,
    bias_correction_mu: bool = True,
    bias_correction_nu: bool = True,
) -> GradientTransformationExtraArgs:
    """Divide by the root of the largest second moment. Arguments are those of :func:`amsgrad`."""
    checks.flags(
        "scale_by_amsgrad",
        bias_correction_mu=bias_correction_mu,
        bias_correction_nu=bias_correction_nu,
    )
    check_moments("scale_by_amsgrad", b1, b2, eps, eps_root, mu_dtype)

    def init(params):
        mu = tree.accumulator_like(params, mu_dtype)
        nu, nu_max = (tree.real_accumulator_like(params) for _ in range(2))
        return ScaleByAmsgradState(jnp.zeros((), jnp.int32), mu, nu, nu_max)

    def update(updates, state, params=None, **extra_args):
        checks.step("scale_by_amsgrad", updates, state, ScaleByAmsgradState, "nu")
        count = numerics.safe_increment(state.count)
        mu = tree.update_moment(updates, state.mu, b1, 1)
        nu = tree.update_moment(updates, state.nu, b2, 2)
        m = tree.bias_correction(mu, b1, count) if bias_correction_mu else mu
        v = tree.bias_correction(nu, b2, count) if bias_correction_nu else nu
        nu_max = jax.tree.map(jnp.maximum, state.nu_max, v)
        scaled = tree.cast_like(tree.divide_by_root(m, nu_max, eps, eps_root), updates)
        return scaled, ScaleByAmsgradState(count, tree.cast_like(mu, state.mu), nu, nu_max)

    return GradientTransformationExtraArgs(init, update)


def amsgrad(
    learning_rate: ScalarOrSchedule,
    b1: ScalarLike = 0.9,
    b2: ScalarLike = 0.999,
    eps: ScalarLike = 1e-8,
    eps_root: ScalarLike = 0.0,
    mu_dtype: DTypeLike | None = None,
    bias_correction_mu: bool = True,
    bias_correction_nu: bool = True,
    *,
    weight_decay: ScalarOrSchedule | None = None,
    mask: Mask | None = None,
) -> GradientTransformationExtraArgs:
    """AMSGrad, Adam whose denominator never decreases.

    Args:
        learning_rate: the learning rate, in [0, inf), or a schedule of the step count; often 1e-3.
        b1: decay rate of the first moment, in [0, 1).
        b2: decay rate of the second moment, in [0, 1).
        eps: added to the square root in the denominator, in [0, inf).
        eps_root: added to the second moment inside the square root, in [0, inf).
        mu_dtype: dtype of the first moment; float32 or wider by default.
        bias_correction_mu: whether to divide the first moment by 1 - b1^t.
        bias_correction_nu: whether to divide the second moment by 1 - b2^t before the maximum.
        weight_decay: decoupled weight decay, in [0, inf), or a schedule; times the learning rate.
            None: no decay.
        mask: leaves that decay, as for :func:`adamw`; all by default.

    Examples:
        >>> tx = amsgrad(1e-3)
    """
    return chain(
        scale_by_amsgrad(b1, b2, eps, eps_root, mu_dtype, bias_correction_mu, bias_correction_nu),
        *decayed("amsgrad", weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )
