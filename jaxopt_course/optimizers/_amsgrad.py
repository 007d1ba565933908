"""AMSGrad: Adam whose denominator never shrinks.

With the running means m_t and v_t of Adam, learning rate a_t,

    w <- w - a_t m_hat / (sqrt(v_max_t + eps_root) + eps),   v_max_t = max(v_max_{t-1}, v_hat_t)

The maximum is over the bias-corrected means, as in optax. The paper corrects nothing
(``bias_correction_mu=False, bias_correction_nu=False``); torch divides the maximum of the
uncorrected means by 1 - b2^t.

Reference: Reddi, Kale & Kumar, "On the Convergence of Adam and Beyond", 2018, algorithm 2,
https://openreview.net/forum?id=ryQu7f-RZ.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Int, ScalarLike

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    Params,
    ScalarOrSchedule,
    checks,
    numerics,
    tree,
)
from jaxopt_course.transforms import chain, scale_by_learning_rate

from ._adam import check_moments


class ScaleByAmsgradState(NamedTuple):
    """What the next step needs from the past.

    count: how many updates have been made, int32[].
    mu: running mean of gradients, shaped like the params, float32 or wider.
    nu: running mean of squared gradients, likewise.
    nu_max: the largest value so far of each entry's mean of squares, likewise.
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
    """Rescale each gradient entry by the largest mean of squares that it has had.

    Args:
        b1: decay of the running mean, in [0, 1).
        b2: decay of the running mean of squares, in [0, 1).
        eps: added to the root, in [0, inf).
        eps_root: added to the squares inside the root, in [0, inf).
        mu_dtype: dtype in which the running mean is kept; float32 or wider by default.
        bias_correction_mu: divide the mean by 1 - b1^t.
        bias_correction_nu: divide the mean of squares by 1 - b2^t before the maximum.

    Returns:
        A transformation whose updates point uphill.

    Raises:
        ValueError: if a number lies outside its range.
    """
    checks.flag("scale_by_amsgrad", "bias_correction_nu", bias_correction_nu)
    checks.flag("scale_by_amsgrad", "bias_correction_mu", bias_correction_mu)
    checks.dtype("scale_by_amsgrad", "mu_dtype", mu_dtype)
    check_moments("scale_by_amsgrad", b1, b2, eps, eps_root)

    def init(params):
        mu = tree.accumulator_like(params, mu_dtype)
        nu, nu_max = (tree.real_accumulator_like(params) for _ in range(2))
        return ScaleByAmsgradState(jnp.zeros((), jnp.int32), mu, nu, nu_max)

    def update(updates, state, params=None, **extra_args):
        checks.state("scale_by_amsgrad", state, ScaleByAmsgradState)
        checks.like("scale_by_amsgrad", "gradient", updates, state.nu)
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
) -> GradientTransformationExtraArgs:
    """AMSGrad, as a chain of :func:`scale_by_amsgrad` and the learning rate.

    Args:
        learning_rate: a_t, in [0, inf), or a schedule of the step count. 1e-3 is usual.
        b1: decay of the running mean, in [0, 1).
        b2: decay of the running mean of squares, in [0, 1).
        eps: added to the root, in [0, inf).
        eps_root: added to the squares inside the root, in [0, inf).
        mu_dtype: dtype in which the running mean is kept; float32 or wider by default.
        bias_correction_mu: divide the mean by 1 - b1^t.
        bias_correction_nu: divide the mean of squares by 1 - b2^t before the maximum.

    Returns:
        A transformation whose updates are to be added to the params.

    Raises:
        ValueError: if a number lies outside its range.

    Examples:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> params, tx = jnp.array([3.0, -2.0]), amsgrad(0.1)
        >>> state, update = tx.init(params), jax.jit(tx.update)
        >>> for _ in range(300):
        ...     updates, state = update(2 * params, state)  # gradient of |params|^2
        ...     params = params + updates
        >>> bool(jnp.linalg.norm(params) < 1e-2)
        True
    """
    return chain(
        scale_by_amsgrad(b1, b2, eps, eps_root, mu_dtype, bias_correction_mu, bias_correction_nu),
        scale_by_learning_rate(learning_rate),
    )
