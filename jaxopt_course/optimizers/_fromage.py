"""Fromage: each leaf moves by a fixed share of its own norm, and is shrunk to keep that norm.

With gradients g_t of a leaf w and learning rate a_t,

    w <- (w - a_t g_t |w| / |g_t|) / sqrt(1 + a_t^2)

Reference: Bernstein, Vahdat, Yue & Liu, "On the distance between two neural networks and the
stability of learning", 2020, https://arxiv.org/abs/2002.03432, algorithm 1.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float, ScalarLike

from jaxopt_course.core import GradientTransformationExtraArgs, ScalarOrSchedule, checks, numerics
from jaxopt_course.transforms import (
    add_decayed_weights,
    chain,
    scale,
    scale_by_learning_rate,
    scale_by_trust_ratio,
)


def fromage(
    learning_rate: ScalarOrSchedule, min_norm: ScalarLike = 1e-6
) -> GradientTransformationExtraArgs:
    """Fromage: one learning rate for all leaves, each in units of its own norm.

    Args:
        learning_rate: a_t, in [0, inf), or a schedule of the step count. 0.01 is usual.
        min_norm: the least value of either norm, in [0, inf).

    Returns:
        A transformation whose updates are to be added to the params; ``update`` needs them.

    Raises:
        ValueError: if a number lies outside its range.

    Examples:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> params, tx = jnp.array([3.0, -2.0]), fromage(0.1)
        >>> state, update = tx.init(params), jax.jit(tx.update)
        >>> for _ in range(200):
        ...     updates, state = update(2 * params, state, params)  # gradient of |params|^2
        ...     params = params + updates
        >>> bool(jnp.linalg.norm(params) < 1e-3)
        True
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
    """``1 - 1 / sqrt(1 + a^2)``, without the cancellation that leaves no digits at small a."""
    rate = numerics.as_float(rate)
    root = jnp.sqrt(1 + rate**2)
    return rate**2 / (root * (1 + root))
