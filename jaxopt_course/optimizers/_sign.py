"""Descent by signs: of the gradient, or of its running mean.

With gradients g_t, learning rate a_t and decay d,

    sign_sgd   w <- w - a_t sign(g_t)
    signum     m_t = d m_{t-1} + (1 - d) g_t,   w <- w - a_t sign(m_t)

References: Bernstein et al., "signSGD: Compressed Optimisation for Non-Convex Problems", 2018,
algorithms 1 and 2, https://arxiv.org/abs/1802.04434.
"""

import jax
import jax.numpy as jnp
from jaxtyping import DTypeLike, ScalarLike

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    Params,
    ScalarOrSchedule,
    Updates,
    checks,
)
from jaxopt_course.transforms import chain, ema, scale_by_learning_rate, stateless


def scale_by_sign() -> GradientTransformationExtraArgs:
    """Replace each entry by its sign; 0 stays 0."""

    def signs(updates: Updates, params: Params | None) -> Updates:
        checks.floats("scale_by_sign", "gradient", updates)
        return jax.tree.map(jnp.sign, updates)

    return stateless(signs)


def sign_sgd(learning_rate: ScalarOrSchedule) -> GradientTransformationExtraArgs:
    """Gradient descent in steps of one length for every entry.

    Args:
        learning_rate: a_t, in [0, inf), or a schedule of the step count: the step's length.

    Returns:
        A transformation whose updates are to be added to the params.

    Raises:
        ValueError: if the rate lies outside its range.

    Examples:
        >>> import jax.numpy as jnp
        >>> tx = sign_sgd(0.5)
        >>> tx.update(jnp.array([3.0, -0.1, 0.0]), tx.init(jnp.zeros(3)))[0].tolist()
        [-0.5, 0.5, -0.0]
    """
    return chain(scale_by_sign(), scale_by_learning_rate(learning_rate))


def signum(
    learning_rate: ScalarOrSchedule,
    beta: ScalarLike = 0.9,
    accumulator_dtype: DTypeLike | None = None,
) -> GradientTransformationExtraArgs:
    """Descent by the signs of a running mean of gradients.

    Args:
        learning_rate: a_t, in [0, inf), or a schedule of the step count: the step's length.
        beta: d, the weight of the past, in [0, 1).
        accumulator_dtype: dtype of the mean; float32 or wider by default.

    Returns:
        A transformation whose updates are to be added to the params.

    Raises:
        ValueError: if a number lies outside its range.

    Examples:
        >>> import jax.numpy as jnp
        >>> tx = signum(0.5)
        >>> tx.update(jnp.array([3.0, -0.1]), tx.init(jnp.zeros(2)))[0].tolist()
        [-0.5, 0.5]
    """
    checks.number("signum", "beta", beta, "[0, 1)")
    return chain(
        ema(beta, debias=False, accumulator_dtype=accumulator_dtype),
        scale_by_sign(),
        scale_by_learning_rate(learning_rate),
    )
