"""Delta-bar-delta: a gain for each entry, grown by sums and shrunk by factors.

With gradients g_t and their running mean b_t = theta b_{t-1} + (1 - theta) g_t,

    gain_t = gain_{t-1} + kappa          where b_{t-1} g_t > 0: the sign persists
             gain_{t-1} (1 - phi)        where b_{t-1} g_t < 0: it has flipped
             gain_{t-1}                  where the product is 0
    w <- w - a_t gain_t g_t,             gain_0 = 1, b_0 = 0

At a constant rate a the product a gain_t is the rate of each entry, which grows by a kappa.

Reference: Jacobs, "Increased rates of convergence through learning rate adaptation", Neural
Networks 1(4), 1988, equations 4 and 5.
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
    tree,
)
from jaxopt_course.transforms import chain, scale_by_learning_rate


class ScaleByDeltaBarDeltaState(NamedTuple):
    """What the next step needs from the past.

    gains: the factor of each entry, shaped like the params, float32 or wider.
    mu: running mean of gradients, likewise.
    """

    gains: Params
    mu: Params


def scale_by_delta_bar_delta(
    kappa: ScalarLike = 0.05, phi: ScalarLike = 0.2, theta: ScalarLike = 0.7
) -> GradientTransformationExtraArgs:
    """Multiply each gradient entry by a gain that its signs have earned.

    Args:
        kappa: what is added to the gain where the sign persists, in [0, inf).
        phi: the share of the gain that is lost where the sign flips, in [0, 1].
        theta: decay of the running mean of gradients, in [0, 1).

    Returns:
        A transformation whose updates point uphill.

    Raises:
        ValueError: if a number lies outside its range.
    """
    checks.number("scale_by_delta_bar_delta", "kappa", kappa, "[0, inf)")
    checks.number("scale_by_delta_bar_delta", "phi", phi, "[0, 1]")
    checks.number("scale_by_delta_bar_delta", "theta", theta, "[0, 1)")

    def init(params):
        return ScaleByDeltaBarDeltaState(
            gains=tree.accumulator_like(params, fill=1.0), mu=tree.accumulator_like(params)
        )

    def gain(old: Array, mean: Array, grad: Array) -> Array:
        agreement = jnp.sign(mean) * jnp.sign(grad)
        grown = old + jnp.asarray(kappa, old.dtype)
        shrunk = old * (1 - jnp.asarray(phi, old.dtype))
        return jnp.where(agreement > 0, grown, jnp.where(agreement < 0, shrunk, old))

    def update(updates, state, params=None, **extra_args):
        checks.state("scale_by_delta_bar_delta", state, ScaleByDeltaBarDeltaState)
        checks.like("scale_by_delta_bar_delta", "gradient", updates, state.gains)
        grads = tree.cast_like(updates, state.mu)
        gains = jax.tree.map(gain, state.gains, state.mu, grads)
        scaled = tree.cast_like(jax.tree.map(jnp.multiply, gains, grads), updates)
        return scaled, ScaleByDeltaBarDeltaState(
            gains, tree.update_moment(grads, state.mu, theta, 1)
        )

    return GradientTransformationExtraArgs(init, update)


def delta_bar_delta(
    learning_rate: ScalarOrSchedule,
    kappa: ScalarLike = 0.05,
    phi: ScalarLike = 0.2,
    theta: ScalarLike = 0.7,
) -> GradientTransformationExtraArgs:
    """Gradient descent with a rate for each entry, adapted by the signs of its gradients.

    Args:
        learning_rate: a_t, in [0, inf), or a schedule of the step count.
        kappa: what is added to the gain where the sign persists, in [0, inf).
        phi: the share of the gain that is lost where the sign flips, in [0, 1].
        theta: decay of the running mean of gradients, in [0, 1).

    Returns:
        A transformation whose updates are to be added to the params.

    Raises:
        ValueError: if a number lies outside its range.

    Examples:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> params, tx = jnp.array([3.0, -2.0]), delta_bar_delta(0.01)
        >>> state, update = tx.init(params), jax.jit(tx.update)
        >>> for _ in range(200):
        ...     updates, state = update(2 * params, state)  # gradient of |params|^2
        ...     params = params + updates
        >>> bool(jnp.linalg.norm(params) < 1e-4)
        True
    """
    return chain(scale_by_delta_bar_delta(kappa, phi, theta), scale_by_learning_rate(learning_rate))
