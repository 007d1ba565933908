"""RMSProp: divide each entry by the root of a running mean of its squares.

With gradients g_t, learning rate a_t, decay rate d and nu_0 = ``initial_scale``,

    nu_t = d nu_{t-1} + (1 - d) g_t^2
    mu_t = d mu_{t-1} + (1 - d) g_t                     (centered only)
    u_t  = a_t g_t / sqrt(nu_t - mu_t^2 + eps)          or, eps outside, / (sqrt(...) + eps)
    w   <- w - u_t                                      or, with momentum, w <- w - trace(u)_t

and w <- w - a_t weight_decay w beside it, which does not enter the momentum.

The course also describes a start at nu_0 = g_0^2: ``from_first_gradient``.

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
    Mask,
    Params,
    ScalarOrSchedule,
    checks,
    numerics,
    tree,
)
from jaxopt_course.transforms import chain, identity, scale, scale_by_learning_rate, trace

from ._decay import decayed
from ._momentum import product


class ScaleByRmsState(NamedTuple):
    """State of the RMSProp transformation.

    nu: running mean of squared gradients, shaped like the params, float32 or wider.
    count: number of updates so far, int32[].
    """

    nu: Params
    count: Int[Array, ""] = NO_STEPS


class ScaleByRStdDevState(NamedTuple):
    """State of the centered RMSProp transformation.

    mu: running mean of gradients, shaped like the params, float32 or wider.
    nu: running mean of squared gradients, likewise.
    count: number of updates so far, int32[].
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
    """Divide each entry by its root mean square. Arguments are those of :func:`rmsprop`."""
    checks.flags(
        "scale_by_rms",
        eps_in_sqrt=eps_in_sqrt,
        bias_correction=bias_correction,
        from_first_gradient=from_first_gradient,
    )
    checks.number("scale_by_rms", "decay", decay, "[0, 1)")
    checks.numbers("scale_by_rms", "[0, inf)", eps=eps, initial_scale=initial_scale)
    eps, eps_root = (None, eps) if eps_in_sqrt else (eps, None)

    def init(params):
        nu = tree.real_accumulator_like(params, fill=initial_scale)
        return ScaleByRmsState(nu, jnp.zeros((), jnp.int32))

    def update(updates, state, params=None, **extra_args):
        checks.step("scale_by_rms", updates, state, ScaleByRmsState, "nu")
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
    """Divide each entry by its standard deviation. Arguments are those of :func:`rmsprop`."""
    checks.flags("scale_by_stddev", eps_in_sqrt=eps_in_sqrt, bias_correction=bias_correction)
    checks.number("scale_by_stddev", "decay", decay, "[0, 1)")
    checks.numbers("scale_by_stddev", "[0, inf)", eps=eps, initial_scale=initial_scale)
    eps, eps_root = (None, eps) if eps_in_sqrt else (eps, None)

    def init(params):
        nu = tree.real_accumulator_like(params, fill=initial_scale)
        return ScaleByRStdDevState(tree.accumulator_like(params), nu, jnp.zeros((), jnp.int32))

    def update(updates, state, params=None, **extra_args):
        checks.step("scale_by_stddev", updates, state, ScaleByRStdDevState, "nu")
        count = numerics.safe_increment(state.count)
        mu = tree.update_moment(updates, state.mu, decay, 1)
        nu = tree.update_moment(updates, state.nu, decay, 2)
        mu_hat, nu_hat = mu, nu
        if bias_correction:
            mu_hat, nu_hat = (tree.bias_correction(mean, decay, count) for mean in (mu, nu))
        # By rounding, the variance of a constant gradient may be slightly negative.
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
    weight_decay: ScalarOrSchedule | None = None,
    mask: Mask | None = None,
) -> GradientTransformationExtraArgs:
    """RMSProp; momentum acts after the learning rate, as in optax.

    Args:
        learning_rate: the learning rate, in [0, inf), or a schedule of the step count.
        decay: decay rate d, in [0, 1).
        eps: added to the mean, or to its square root, in [0, inf).
        initial_scale: nu_0, in [0, inf).
        eps_in_sqrt: whether to add ``eps`` inside the square root (torch adds it outside).
        centered: divide by the standard deviation instead of the root mean square.
        momentum: momentum of the scaled steps, in [0, 1). None: no momentum.
        nesterov: whether to use Nesterov momentum; it needs a ``momentum``.
        bias_correction: whether to divide the running means by 1 - d^t.
        from_first_gradient: start nu at the square of the first gradient; not with ``centered``.
        weight_decay: decoupled weight decay, in [0, inf), or a schedule; times the learning rate.
            None: no decay.
        mask: leaves that decay, as for :func:`adamw`; all by default.

    Examples:
        >>> tx = rmsprop(1e-3, decay=0.99, momentum=0.9)
    """
    checks.flags(
        "rmsprop", centered=centered, nesterov=nesterov, from_first_gradient=from_first_gradient
    )
    if nesterov and momentum is None:
        raise ValueError("rmsprop: `nesterov` needs a `momentum` in [0, 1), got None.")
    if centered and from_first_gradient:
        raise ValueError("rmsprop: `from_first_gradient` must be False where `centered` is True.")
    shared = (decay, eps, initial_scale, eps_in_sqrt, bias_correction)
    if centered:
        scaled = scale_by_stddev(*shared)
    else:
        scaled = scale_by_rms(*shared, from_first_gradient=from_first_gradient)
    of_weights = decayed("rmsprop", weight_decay, mask)
    if momentum is None:
        return chain(scaled, *of_weights, scale_by_learning_rate(learning_rate), identity())
    checks.number("rmsprop", "momentum", momentum, "[0, 1)")
    velocity = trace(momentum, nesterov)
    if weight_decay is None:
        return chain(scaled, scale_by_learning_rate(learning_rate), velocity)
    checks.learning_rate("rmsprop", learning_rate)
    return chain(  # the decay is not a part of the velocity
        scaled,
        scale_by_learning_rate(learning_rate, flip_sign=False),
        velocity,
        *decayed("rmsprop", numerics.of_rates(product, learning_rate, weight_decay), mask),
        scale(-1.0),
    )
