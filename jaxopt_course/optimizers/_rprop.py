"""Rprop and delta-bar-delta: step lengths for each entry, adapted to the signs of its gradients.

Rprop, with s_t the sign of g_t times the sign of the previous gradient:

    step_t = clip(eta_plus step_{t-1})    where s_t > 0
             clip(eta_minus step_{t-1})   where s_t < 0; then g_t counts as 0
             step_{t-1}                   where s_t = 0
    w <- w - step_t sign(g_t)

It is meant for full-batch gradients: the signs of mini-batch gradients are mostly noise.
Delta-bar-delta, with b_t = theta b_{t-1} + (1 - theta) g_t, learning rate a_t, gain_0 = 1, b_0 = 0:

    gain_t = gain_{t-1} + kappa          where b_{t-1} g_t > 0
             gain_{t-1} (1 - phi)        where b_{t-1} g_t < 0
             gain_{t-1}                  where the product is 0
    w <- w - a_t gain_t g_t

References: Riedmiller & Braun, "A direct adaptive method for faster backpropagation learning:
the RPROP algorithm", 1993; Igel & Huesken, "Improving the Rprop Learning Algorithm", 2000, for the
variant without weight-backtracking, iRprop-; Jacobs, "Increased rates of convergence through
learning rate adaptation", Neural Networks 1(4), 1988, equations 4 and 5.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ScalarLike

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    Params,
    ScalarOrSchedule,
    checks,
    numerics,
    tree,
)
from jaxopt_course.transforms import chain, scale_by_learning_rate


class ScaleByRpropState(NamedTuple):
    """State of the Rprop transformation.

    step_sizes: step length of each entry, shaped like the params, float32 or wider.
    prev_updates: sign of the last gradient, likewise; 0 after the sign has flipped.
    """

    step_sizes: Params
    prev_updates: Params


def scale_by_rprop(
    learning_rate: ScalarLike,
    eta_minus: ScalarLike = 0.5,
    eta_plus: ScalarLike = 1.2,
    min_step_size: ScalarLike = 1e-6,
    max_step_size: ScalarLike = 50.0,
) -> GradientTransformationExtraArgs:
    """Replace each entry by its sign times its step length.

    Arguments are those of :func:`rprop`; ``learning_rate`` cannot be a schedule.
    """
    checks.numbers(
        "scale_by_rprop",
        "[0, inf)",
        learning_rate=learning_rate,
        min_step_size=min_step_size,
        max_step_size=max_step_size,
    )
    checks.number("scale_by_rprop", "eta_minus", eta_minus, "(0, 1)")
    checks.number("scale_by_rprop", "eta_plus", eta_plus, "(1, inf)")

    def init(params):
        sizes = tree.accumulator_like(params, fill=learning_rate)
        return ScaleByRpropState(sizes, tree.accumulator_like(params))

    def step_size(agreement: Array, size: Array) -> Array:
        low, high, up, down = (
            jnp.asarray(x, size.dtype) for x in (min_step_size, max_step_size, eta_plus, eta_minus)
        )
        changed = jnp.clip(size * jnp.where(agreement > 0, up, down), low, high)
        return jnp.where(agreement == 0, size, changed)

    def update(updates, state, params=None, **extra_args):
        checks.step("scale_by_rprop", updates, state, ScaleByRpropState, "step_sizes")
        signs = jax.tree.map(jnp.sign, tree.cast_like(updates, state.prev_updates))
        agreement = jax.tree.map(jnp.multiply, signs, state.prev_updates)
        sizes = jax.tree.map(step_size, agreement, state.step_sizes)
        kept = jax.tree.map(lambda a, s: jnp.where(a < 0, 0, s), agreement, signs)
        steps = jax.tree.map(jnp.multiply, sizes, kept)
        return tree.cast_like(steps, updates), ScaleByRpropState(sizes, kept)

    return GradientTransformationExtraArgs(init, update)


def rprop(
    learning_rate: ScalarOrSchedule,
    eta_minus: ScalarLike = 0.5,
    eta_plus: ScalarLike = 1.2,
    min_step_size: ScalarLike = 1e-6,
    max_step_size: ScalarLike = 50.0,
) -> GradientTransformationExtraArgs:
    """Rprop without weight-backtracking, which reads only the signs of full-batch gradients.

    Args:
        learning_rate: initial length of every step, in [0, inf), or a schedule of the step count.
            The first value of a schedule, in (0, inf), is the initial length, and each step is
            multiplied by the current value over the first.
        eta_minus: factor of the length where the sign flips, in (0, 1).
        eta_plus: factor of the length where the sign persists, in (1, inf).
        min_step_size: smallest length, in [0, inf).
        max_step_size: largest length, in [0, inf).

    Examples:
        >>> tx = rprop(0.1)
    """
    checks.learning_rate("rprop", learning_rate)
    first, share = learning_rate, 1.0
    if callable(learning_rate):
        first = numerics.as_float(learning_rate(jnp.zeros((), jnp.int32)))
        checks.number("rprop", "learning_rate(0)", first, "(0, inf)")
        share = lambda count: numerics.safe_divide(numerics.as_float(learning_rate(count)), first)
    return chain(
        scale_by_rprop(first, eta_minus, eta_plus, min_step_size, max_step_size),
        scale_by_learning_rate(share),
    )


class ScaleByDeltaBarDeltaState(NamedTuple):
    """State of the delta-bar-delta transformation.

    gains: factor of each entry, shaped like the params, float32 or wider.
    mu: running mean of gradients, likewise.
    """

    gains: Params
    mu: Params


def scale_by_delta_bar_delta(
    kappa: ScalarLike = 0.05, phi: ScalarLike = 0.2, theta: ScalarLike = 0.7
) -> GradientTransformationExtraArgs:
    """Multiply each entry by its gain. Arguments are those of :func:`delta_bar_delta`."""
    checks.number("scale_by_delta_bar_delta", "kappa", kappa, "[0, inf)")
    checks.number("scale_by_delta_bar_delta", "phi", phi, "[0, 1]")
    checks.number("scale_by_delta_bar_delta", "theta", theta, "[0, 1)")

    def init(params):
        gains, mu = tree.accumulator_like(params, fill=1.0), tree.accumulator_like(params)
        return ScaleByDeltaBarDeltaState(gains, mu)

    def gain(old: Array, mean: Array, grad: Array) -> Array:
        agreement = jnp.sign(mean) * jnp.sign(grad)
        grown = old + jnp.asarray(kappa, old.dtype)
        shrunk = old * (1 - jnp.asarray(phi, old.dtype))
        return jnp.where(agreement > 0, grown, jnp.where(agreement < 0, shrunk, old))

    def update(updates, state, params=None, **extra_args):
        checks.step("scale_by_delta_bar_delta", updates, state, ScaleByDeltaBarDeltaState, "gains")
        grads = tree.cast_like(updates, state.mu)
        gains = jax.tree.map(gain, state.gains, state.mu, grads)
        scaled = tree.cast_like(jax.tree.map(jnp.multiply, gains, grads), updates)
        mu = tree.update_moment(grads, state.mu, theta, 1)
        return scaled, ScaleByDeltaBarDeltaState(gains, mu)

    return GradientTransformationExtraArgs(init, update)


def delta_bar_delta(
    learning_rate: ScalarOrSchedule,
    kappa: ScalarLike = 0.05,
    phi: ScalarLike = 0.2,
    theta: ScalarLike = 0.7,
) -> GradientTransformationExtraArgs:
    """Gradient descent with a gain for each entry, adapted to the signs of its gradients.

    Args:
        learning_rate: the learning rate, in [0, inf), or a schedule of the step count.
        kappa: added to the gain where the sign persists, in [0, inf).
        phi: share of the gain that is lost where the sign flips, in [0, 1].
        theta: decay rate of the running mean of gradients, in [0, 1).

    Examples:
        >>> tx = delta_bar_delta(0.01)
    """
    return chain(scale_by_delta_bar_delta(kappa, phi, theta), scale_by_learning_rate(learning_rate))
