"""RMSProp: divide each entry by the root of a running mean of its squares.

With gradients g_t, learning rate a_t, decay d and nu_0 = ``initial_scale``,

    nu_t = d nu_{t-1} + (1 - d) g_t^2
    mu_t = d mu_{t-1} + (1 - d) g_t                     (centered only)
    u_t  = a_t g_t / sqrt(nu_t - mu_t^2 + eps)          or, eps outside, / (sqrt(...) + eps)
    w   <- w - u_t                                      or, with momentum, w <- w - trace(u)_t

One deck of the course starts nu at g_0^2 (it writes sigma_0 = g_0, with its sign, by which a
negative first gradient would step uphill; the start meant is |g_0|): ``from_first_gradient``.

References: Tieleman & Hinton, "Lecture 6.5: RMSProp", Coursera 2012; Graves, "Generating
Sequences With Recurrent Neural Networks", 2013, https://arxiv.org/abs/1308.0850, equations 38
to 41, for the centered form.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, ScalarLike

from jaxopt_course.core import (
    NO_STEPS,
    GradientTransformationExtraArgs,
    Params,
    ScalarOrSchedule,
    checks,
    numerics,
    tree,
)
from jaxopt_course.transforms import chain, identity, scale_by_learning_rate, trace


class ScaleByRmsState(NamedTuple):
    """What the next step needs from the past.

    nu: running mean of squared gradients, shaped like the params, float32 or wider.
    count: how many updates have been made, int32[].
    """

    nu: Params
    count: Int[Array, ""] = NO_STEPS


class ScaleByRStdDevState(NamedTuple):
    """What the next step needs from the past.

    mu: running mean of gradients, shaped like the params, float32 or wider.
    nu: running mean of squared gradients, likewise.
    count: how many updates have been made, int32[].
    """

    mu: Params
    nu: Params
    count: Int[Array, ""] = NO_STEPS


def scale_by_rms(
    decay: ScalarLike = 0.9,
    eps: ScalarLike = 1e-8,
    initial_scale: ScalarLike = 0.0,
    eps_in_sqrt: bool = True,
    bias_correction: bool = False,
    *,
    from_first_gradient: bool = False,
) -> GradientTransformationExtraArgs:
    """Divide each entry by the root of a running mean of its squares.

    Args:
        decay: d, the weight of the past, in [0, 1).
        eps: added to the mean, or to its root, in [0, inf).
        initial_scale: nu_0, in [0, inf).
        eps_in_sqrt: whether eps stands inside the root.
        bias_correction: divide the mean by 1 - d^t.
        from_first_gradient: start the mean at the square of the first gradient.

    Returns:
        A transformation whose updates point uphill, with entries of magnitude about one.

    Raises:
        ValueError: if a number lies outside its range.
    """
    checks.flag("scale_by_rms", "from_first_gradient", from_first_gradient)
    checks.flag("scale_by_rms", "bias_correction", bias_correction)
    checks.flag("scale_by_rms", "eps_in_sqrt", eps_in_sqrt)
    _check("scale_by_rms", decay, eps, initial_scale)
    eps, eps_root = (None, eps) if eps_in_sqrt else (eps, None)

    def init(params):
        nu = tree.real_accumulator_like(params, fill=initial_scale)
        return ScaleByRmsState(nu, jnp.zeros((), jnp.int32))

    def update(updates, state, params=None, **extra_args):
        checks.state("scale_by_rms", state, ScaleByRmsState)
        checks.like("scale_by_rms", "gradient", updates, state.nu)
        count, squares = numerics.safe_increment(state.count), tree.squared(updates)
        nu = tree.update_moment(squares, state.nu, decay, 1)
        if from_first_gradient:
            first = state.count == 0
            nu = jax.tree.map(lambda s, n: jnp.where(first, s.astype(n.dtype), n), squares, nu)
        nu_hat = tree.bias_correction(nu, decay, count) if bias_correction else nu
        return tree.divide_by_root(updates, nu_hat, eps, eps_root), ScaleByRmsState(nu, count)

    return GradientTransformationExtraArgs(init, update)


def scale_by_stddev(
    decay: ScalarLike = 0.9,
    eps: ScalarLike = 1e-8,
    initial_scale: ScalarLike = 0.0,
    eps_in_sqrt: bool = True,
    bias_correction: bool = False,
) -> GradientTransformationExtraArgs:
    """Divide each entry by a running standard deviation: squares around a running mean.

    Args:
        decay: d, the weight of the past, in [0, 1).
        eps: added to the variance, or to its root, in [0, inf).
        initial_scale: nu_0, in [0, inf).
        eps_in_sqrt: whether eps stands inside the root.
        bias_correction: divide both means by 1 - d^t.

    Returns:
        A transformation whose updates point uphill.

    Raises:
        ValueError: if a number lies outside its range.
    """
    checks.flag("scale_by_stddev", "bias_correction", bias_correction)
    checks.flag("scale_by_stddev", "eps_in_sqrt", eps_in_sqrt)
    _check("scale_by_stddev", decay, eps, initial_scale)
    eps, eps_root = (None, eps) if eps_in_sqrt else (eps, None)

    def init(params):
        nu = tree.real_accumulator_like(params, fill=initial_scale)
        return ScaleByRStdDevState(tree.accumulator_like(params), nu, jnp.zeros((), jnp.int32))

    def update(updates, state, params=None, **extra_args):
        checks.state("scale_by_stddev", state, ScaleByRStdDevState)
        checks.like("scale_by_stddev", "gradient", updates, state.nu)
        count = numerics.safe_increment(state.count)
        mu = tree.update_moment(updates, state.mu, decay, 1)
        nu = tree.update_moment(updates, state.nu, decay, 2)
        if bias_correction:
            mu_hat, nu_hat = (tree.bias_correction(mean, decay, count) for mean in (mu, nu))
        else:
            mu_hat, nu_hat = mu, nu
        # Rounding may leave the difference of a constant gradient's moments just below 0.
        variance = jax.tree.map(lambda n, m: jnp.maximum(n - m, 0), nu_hat, tree.squared(mu_hat))
        scaled = tree.divide_by_root(updates, variance, eps, eps_root)
        return scaled, ScaleByRStdDevState(mu, nu, count)

    return GradientTransformationExtraArgs(init, update)


def rmsprop(
    learning_rate: ScalarOrSchedule,
    decay: ScalarLike = 0.9,
    eps: ScalarLike = 1e-8,
    initial_scale: ScalarLike = 0.0,
    eps_in_sqrt: bool = True,
    centered: bool = False,
    momentum: ScalarLike | None = None,
    nesterov: bool = False,
    bias_correction: bool = False,
    *,
    from_first_gradient: bool = False,
) -> GradientTransformationExtraArgs:
    """RMSProp; momentum, where asked for, acts after the learning rate, as in optax.

    Args:
        learning_rate: a_t, in [0, inf), or a schedule of the step count.
        decay: d, the weight of the past, in [0, 1).
        eps: added to the mean, or to its root, in [0, inf).
        initial_scale: nu_0, in [0, inf).
        eps_in_sqrt: whether eps stands inside the root (torch: outside).
        centered: divide by the standard deviation instead of the root mean square.
        momentum: of the scaled steps, in [0, 1). None for none.
        nesterov: look one step ahead; needs a momentum.
        bias_correction: divide the running means by 1 - d^t.
        from_first_gradient: start nu at the square of the first gradient; not if centered.

    Returns:
        A transformation whose updates are to be added to the params.

    Raises:
        ValueError: if a number lies outside its range, ``nesterov`` lacks a momentum, or
            ``from_first_gradient`` meets ``centered``.

    Examples:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from jaxopt_course.schedules import exponential_decay
        >>> params, tx = jnp.array([3.0, -2.0]), rmsprop(exponential_decay(0.3, 50, 0.5))
        >>> state, update = tx.init(params), jax.jit(tx.update)
        >>> for _ in range(300):
        ...     updates, state = update(2 * params, state)  # gradient of |params|^2
        ...     params = params + updates
        >>> bool(jnp.linalg.norm(params) < 1e-2)
        True
    """
    checks.flag("rmsprop", "from_first_gradient", from_first_gradient)
    checks.flag("rmsprop", "bias_correction", bias_correction)
    checks.flag("rmsprop", "nesterov", nesterov)
    checks.flag("rmsprop", "centered", centered)
    checks.flag("rmsprop", "eps_in_sqrt", eps_in_sqrt)
    if nesterov and momentum is None:
        raise ValueError("rmsprop: `nesterov` needs a `momentum` in [0, 1), got None.")
    if centered and from_first_gradient:
        raise ValueError("rmsprop: `from_first_gradient` must be False where `centered` is True.")
    shared = (decay, eps, initial_scale, eps_in_sqrt, bias_correction)
    if centered:
        scaled = scale_by_stddev(*shared)
    else:
        scaled = scale_by_rms(*shared, from_first_gradient=from_first_gradient)
    if momentum is None:
        return chain(scaled, scale_by_learning_rate(learning_rate), identity())
    checks.number("rmsprop", "momentum", momentum, "[0, 1)")
    return chain(scaled, scale_by_learning_rate(learning_rate), trace(momentum, nesterov))


def _check(owner: str, decay: ScalarLike, eps: ScalarLike, initial_scale: ScalarLike) -> None:
    checks.number(owner, "decay", decay, "[0, 1)")
    checks.number(owner, "eps", eps, "[0, inf)")
    checks.number(owner, "initial_scale", initial_scale, "[0, inf)")
