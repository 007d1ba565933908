"""RAdam: Adam that uses its second moment only once it averages enough gradients.

With the bias-corrected moments m_hat and v_hat of Adam and learning rate a_t,

    rho_inf = 2 / (1 - b2) - 1                               final length of the average
    rho_t   = rho_inf - 2 t b2^t / (1 - b2^t)                its length after t steps
    r_t     = sqrt((rho_t - 4) (rho_t - 2) rho_inf / ((rho_inf - 4) (rho_inf - 2) rho_t))
    w <- w - a_t r_t m_hat / (sqrt(v_hat + eps_root) + eps)  where rho_t >= threshold
    w <- w - a_t m_hat                                       before that

Reference: Liu et al., "On the Variance of the Adaptive Learning Rate and Beyond", 2019,
algorithm 2, https://arxiv.org/abs/1908.03265. Its threshold is 4 (exclusive); 5 is usual.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, ScalarLike

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    Mask,
    ScalarOrSchedule,
    checks,
    numerics,
    tree,
)
from jaxopt_course.transforms import chain, scale_by_learning_rate

from ._adam import ScaleByAdamState, check_moments, mean_of_step, zero_moments
from ._decay import decayed


def scale_by_radam(
    b1: ScalarLike = 0.9,
    b2: ScalarLike = 0.999,
    eps: ScalarLike = 1e-8,
    eps_root: ScalarLike = 0.0,
    threshold: ScalarLike = 5.0,
    *,
    nesterov: bool = False,
) -> GradientTransformationExtraArgs:
    """Rescale gradients by Adam's rectified moments. Arguments are those of :func:`radam`."""
    checks.flag("scale_by_radam", "nesterov", nesterov)
    check_moments("scale_by_radam", b1, b2, eps, eps_root)
    checks.number("scale_by_radam", "threshold", threshold, "[4, inf)")

    def update(updates, state, params=None, **extra_args):
        checks.step("scale_by_radam", updates, state, ScaleByAdamState, "nu")
        count = numerics.safe_increment(state.count)
        mu = tree.update_moment(updates, state.mu, b1, 1)
        nu = tree.update_moment(updates, state.nu, b2, 2)
        m = mean_of_step(mu, updates, b1, count, nesterov)
        v = tree.bias_correction(nu, b2, count)
        trusted, r = _rectifier(b2, count, threshold)
        scaled = tree.scale(tree.divide_by_root(m, v, eps, eps_root), r)
        chosen = jax.tree.map(lambda s, m: jnp.where(trusted, s, m), scaled, m)
        return tree.cast_like(chosen, updates), ScaleByAdamState(count, mu, nu)

    return GradientTransformationExtraArgs(lambda params: zero_moments(params), update)


def _rectifier(
    b2: ScalarLike, count: Int[Array, ""], threshold: ScalarLike
) -> tuple[Bool[Array, ""], Float[Array, ""]]:
    """Whether rho_t has reached the threshold, and r_t if it has."""
    longest, length = numerics.as_float((1 + b2) / (1 - b2)), _length(b2, count)
    trusted = length >= numerics.as_float(threshold)
    # Elsewhere r is not used; any length above 4 gives it a finite derivative.
    longest, length = (jnp.where(trusted, x, 6.0) for x in (longest, length))
    ratio = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
    return trusted, numerics.safe_sqrt(jnp.maximum(ratio, 0))


def _length(b2: ScalarLike, count: Int[Array, ""]) -> Float[Array, ""]:
    """rho_t, accurate also where its formula subtracts two large numbers.

    With L = -log(b2), rho_inf = coth(L/2) and rho_t = rho_inf - t (coth(t L/2) - 1). For small
    t L both are large; coth(y) = 1/y + y/3 - y^3/45 + ... then leaves t (1 - s(t L/2)) + s(L/2),
    where s is the series without 1/y. In float32 with b2 = 0.999 the plain formula has an error of
    1e-4 at t = 6.
    """
    dtype = jnp.result_type(float)
    if isinstance(b2, int | float):
        rate = jnp.asarray(-math.log(max(b2, float(jnp.finfo(dtype).tiny))), dtype)
    else:
        rate = -jnp.log(jnp.maximum(numerics.as_float(b2), jnp.finfo(dtype).tiny))
    t = numerics.as_float(count)
    past = jnp.exp(-t * rate) / -jnp.expm1(-t * rate)
    formula = numerics.as_float((1 + b2) / (1 - b2)) - 2 * t * past
    series = t * (1 - _series(t * rate / 2)) + _series(rate / 2)
    return jnp.where(t * rate < 2 * REACH, series, formula)


REACH = 0.05  # up to here the next term of the series, 2/93555 y^9, is below float64's last bit


def _series(y: Float[Array, ""]) -> Float[Array, ""]:
    """coth(y) - 1/y for 0 <= y <= REACH."""
    y = jnp.minimum(y, REACH)
    return y * (1 / 3 - y**2 * (1 / 45 - y**2 * (2 / 945 - y**2 / 4725)))


def radam(
    learning_rate: ScalarOrSchedule,
    b1: ScalarLike = 0.9,
    b2: ScalarLike = 0.999,
    eps: ScalarLike = 1e-8,
    eps_root: ScalarLike = 0.0,
    threshold: ScalarLike = 5.0,
    *,
    nesterov: bool = False,
    weight_decay: ScalarOrSchedule | None = None,
    mask: Mask | None = None,
) -> GradientTransformationExtraArgs:
    """RAdam, Adam that starts to rescale once its second moment averages enough gradients.

    Args:
        learning_rate: the learning rate, in [0, inf), or a schedule of the step count; often 1e-3.
        b1: decay rate of the first moment, in [0, 1).
        b2: decay rate of the second moment, in [0, 1). Below 1 - 2 / (threshold + 1) the second
            moment is never used.
        eps: added to the square root in the denominator, in [0, inf).
        eps_root: added to the second moment inside the square root, in [0, inf).
        threshold: length rho_t at which rescaling starts, in [4, inf).
        nesterov: whether to use Nesterov momentum, as NAdam does.
        weight_decay: decoupled weight decay, in [0, inf), or a schedule; times the learning rate.
            None: no decay.
        mask: leaves that decay, as for :func:`adamw`; all by default.

    Examples:
        >>> tx = radam(1e-3)
    """
    return chain(
        scale_by_radam(b1, b2, eps, eps_root, threshold, nesterov=nesterov),
        *decayed("radam", weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )
