"""Gradient descent with noise that fades: it may leave narrow minima, and explores early on.

With gradients g_t, learning rate a_t, t from 1, and independent normal numbers e_t,

    w <- w - a_t (g_t + sqrt(eta / t^gamma) e_t)

Reference: Neelakantan et al., "Adding Gradient Noise Improves Learning for Very Deep Networks",
2015, https://arxiv.org/abs/1511.06807, equations 1 and 2.
"""

import jax
from jaxtyping import ScalarLike

from jaxopt_course.core import GradientTransformationExtraArgs, ScalarOrSchedule
from jaxopt_course.transforms import add_noise, chain, scale_by_learning_rate


def noisy_sgd(
    learning_rate: ScalarOrSchedule,
    eta: ScalarLike = 0.01,
    gamma: ScalarLike = 0.55,
    key: jax.Array | int | None = None,
    *,
    seed: int | None = None,
) -> GradientTransformationExtraArgs:
    """Gradient descent with normal noise, as a chain of ``add_noise`` and the learning rate.

    Args:
        learning_rate: a_t, in [0, inf), or a schedule of the step count.
        eta: variance of the first noise, in [0, inf).
        gamma: how fast the variance falls, as t^(-gamma), in [0, inf).
        key: of the random numbers, or an integer to make one from. Should be given.
        seed: the old name of an integer ``key``.

    Returns:
        A transformation whose updates are to be added to the params.

    Raises:
        ValueError: if a number lies outside its range, or both ``key`` and ``seed`` are given.

    Examples:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> params, tx = jnp.array([3.0, -2.0]), noisy_sgd(0.1, key=jax.random.key(0))
        >>> state, update = tx.init(params), jax.jit(tx.update)
        >>> for _ in range(200):
        ...     updates, state = update(2 * params, state)  # gradient of |params|^2
        ...     params = params + updates
        >>> bool(jnp.linalg.norm(params) < 0.1)
        True
    """
    return chain(add_noise(eta, gamma, key, seed=seed), scale_by_learning_rate(learning_rate))
