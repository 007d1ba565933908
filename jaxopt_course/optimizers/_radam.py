"""RAdam: Adam that waits until its mean of squares rests on enough gradients.

With the bias-corrected means m_hat and v_hat of Adam, learning rate a_t,

    rho_inf = 2 / (1 - b2) - 1                               length of the mean in the long run
    rho_t   = rho_inf - 2 t b2^t / (1 - b2^t)                after t steps
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
    ScalarOrSchedule,
    checks,
    numerics,
    tree,
)
from jaxopt_course.transforms import chain, scale_by_learning_rate

from ._adam import ScaleByAdamState, check_moments, mean_of_step, zero_moments


def scale_by_radam(
    b1: ScalarLike = 0.9,
    b2: ScalarLike = 0.999,
    eps: ScalarLike = 1e-8,
    eps_root: ScalarLike = 0.0,
    threshold: ScalarLike = 5.0,
    *,
    nesterov: bool = False,
) -> GradientTransformationExtraArgs:
    """Rescale gradients as Adam does, once the scale is known well enough.

    Args:
        b1: decay of the running mean, in [0, 1).
        b2: decay of the running mean of squares, in [0, 1). Below 1 - 2 / (threshold + 1)
            the scale is never trusted.
        eps: added to the root, in [0, inf).
        eps_root: added to the squares inside the root, in [0, inf).
        threshold: the length rho_t from which on to rescale, in [4, inf).
        nesterov: the mean one step ahead, as in NAdam.

    Returns:
        A transformation whose updates point uphill. Its state is Adam's.

    Raises:
        ValueError: if a number lies outside its range.
    """
    checks.flag("scale_by_radam", "nesterov", nesterov)
    check_moments("scale_by_radam", b1, b2, eps, eps_root)
    checks.number("scale_by_radam", "threshold", threshold, "[4, inf)")

    def init(params):
        return zero_moments(params)

    def update(updates, state, params=None, **extra_args):
        checks.state("scale_by_radam", state, ScaleByAdamState)
        checks.like("scale_by_radam", "gradient", updates, state.nu)
        count = numerics.safe_increment(state.count)
        mu = tree.update_moment(updates, state.mu, b1, 1)
        nu = tree.update_moment(updates, state.nu, b2, 2)
        m = mean_of_step(mu, updates, b1, count, nesterov)
        trusted, r = _rectifier(b2, count, threshold)
        scaled = tree.scale(
            tree.divide_by_root(m, tree.bias_correction(nu, b2, count), eps, eps_root), r
        )
        chosen = jax.tree.map(lambda s, m: jnp.where(trusted, s, m), scaled, m)
        return tree.cast_like(chosen, updates), ScaleByAdamState(count, mu, nu)

    return GradientTransformationExtraArgs(init, update)


def _rectifier(
    b2: ScalarLike, count: Int[Array, ""], threshold: ScalarLike
) -> tuple[Bool[Array, ""], Float[Array, ""]]:
    """Whether rho_t has reached the threshold, and r_t (where it has)."""
    longest, length = numerics.as_float((1 + b2) / (1 - b2)), _length(b2, count)
    trusted = length >= numerics.as_float(threshold)
    # Elsewhere any length above 4 does: it is not used, and its root has a slope.
    longest, length = (jnp.where(trusted, x, 6.0) for x in (longest, length))
    ratio = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
    return trusted, numerics.safe_sqrt(jnp.maximum(ratio, 0))


def _length(b2: ScalarLike, count: Int[Array, ""]) -> Float[Array, ""]:
    """rho_t, also where its formula subtracts two large numbers.

    With L = -log(b2), rho_inf = coth(L/2) and rho_t = rho_inf - t (coth(t L/2) - 1). For small
    t L both coth are long; coth(y) = 1/y + y/3 - y^3/45 + ... then leaves t (1 - s(t L/2)) +
    s(L/2), where s is the series without 1/y. In float32, with b2 = 0.999, the formula as it
    stands has an error of 1e-4 at t = 6.
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
) -> GradientTransformationExtraArgs:
    """RAdam, as a chain of :func:`scale_by_radam` and the learning rate.

    Args:
        learning_rate: a_t, in [0, inf), or a schedule of the step count. 1e-3 is usual.
        b1: decay of the running mean, in [0, 1).
        b2: decay of the running mean of squares, in [0, 1).
        eps: added to the root, in [0, inf).
        eps_root: added to the squares inside the root, in [0, inf).
        threshold: the length rho_t from which on to rescale, in [4, inf).
        nesterov: the mean one step ahead, as in NAdam.

    Returns:
        A transformation whose updates are to be added to the params.

    Raises:
        ValueError: if a number lies outside its range.

    Examples:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> params, tx = jnp.array([3.0, -2.0]), radam(0.1)
        >>> state, update = tx.init(params), jax.jit(tx.update)
        >>> for _ in range(300):
        ...     updates, state = update(2 * params, state)  # gradient of |params|^2
        ...     params = params + updates
        >>> bool(jnp.linalg.norm(params) < 1e-2)
        True
    """
    return chain(
        scale_by_radam(b1, b2, eps, eps_root, threshold, nesterov=nesterov),
        scale_by_learning_rate(learning_rate),
    )
