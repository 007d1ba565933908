"""Yogi: Adam whose mean of squares moves by a step that does not grow with its distance.

With gradients g_t, learning rate a_t, and m_0 = s_0 = ``initial_accumulator_value``,

    m_t = b1 m_{t-1} + (1 - b1) g_t
    s_t = s_{t-1} - (1 - b2) sign(s_{t-1} - g_t^2) g_t^2
    w  <- w - a_t m_hat / (sqrt(s_hat + eps_root) + eps)

where m_hat = m_t / (1 - b1^t) and s_hat = s_t / (1 - b2^t). Where gradients die down, Adam's
mean of squares falls geometrically and its steps blow up; Yogi's falls by g_t^2 at a time. Both
starts and both corrections are optax's; the paper corrects nothing and starts s from a batch.

Reference: Zaheer et al., "Adaptive Methods for Nonconvex Optimization", 2018, algorithm 2,
https://papers.nips.cc/paper/8186-adaptive-methods-for-nonconvex-optimization.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, ScalarLike

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    ScalarOrSchedule,
    checks,
    numerics,
    tree,
)
from jaxopt_course.transforms import chain, scale_by_learning_rate

from ._adam import ScaleByAdamState, check_moments


def scale_by_yogi(
    b1: ScalarLike = 0.9,
    b2: ScalarLike = 0.999,
    eps: ScalarLike = 1e-3,
    eps_root: ScalarLike = 0.0,
    initial_accumulator_value: ScalarLike = 1e-6,
) -> GradientTransformationExtraArgs:
    """Rescale each gradient entry by a mean of squares that moves additively.

    Args:
        b1: decay of the running mean, in [0, 1).
        b2: one minus the step of the mean of squares, in [0, 1).
        eps: added to the root, in [0, inf).
        eps_root: added to the squares inside the root, in [0, inf).
        initial_accumulator_value: where both means start, in [0, inf).

    Returns:
        A transformation whose updates point uphill. Its state is Adam's.

    Raises:
        ValueError: if a number lies outside its range.
    """
    check_moments("scale_by_yogi", b1, b2, eps, eps_root)
    checks.number(
        "scale_by_yogi", "initial_accumulator_value", initial_accumulator_value, "[0, inf)"
    )

    def init(params):
        mu = tree.accumulator_like(params, fill=initial_accumulator_value)
        nu = tree.real_accumulator_like(params, fill=initial_accumulator_value)
        return ScaleByAdamState(jnp.zeros((), jnp.int32), mu, nu)

    def update(updates, state, params=None, **extra_args):
        checks.state("scale_by_yogi", state, ScaleByAdamState)
        checks.like("scale_by_yogi", "gradient", updates, state.nu)
        count = numerics.safe_increment(state.count)
        step = functools.cache(lambda dtype: numerics.complement(b2, dtype))

        def moved(n: Array, square: Array) -> Array:
            square = square.astype(n.dtype)
            return n - step(n.dtype) * jnp.sign(n - square) * square

        mu = tree.update_moment(updates, state.mu, b1, 1)
        nu = jax.tree.map(moved, state.nu, tree.squared(updates))
        m_hat, n_hat = tree.bias_correction(mu, b1, count), tree.bias_correction(nu, b2, count)
        scaled = tree.cast_like(tree.divide_by_root(m_hat, n_hat, eps, eps_root), updates)
        return scaled, ScaleByAdamState(count, mu, nu)

    return GradientTransformationExtraArgs(init, update)


def yogi(
    learning_rate: ScalarOrSchedule,
    b1: ScalarLike = 0.9,
    b2: ScalarLike = 0.999,
    eps: ScalarLike = 1e-3,
) -> GradientTransformationExtraArgs:
    """Yogi, as a chain of :func:`scale_by_yogi` and the learning rate.

    Args:
        learning_rate: a_t, in [0, inf), or a schedule of the step count. 1e-2 is the paper's.
        b1: decay of the running mean, in [0, 1).
        b2: one minus the step of the mean of squares, in [0, 1).
        eps: added to the root, in [0, inf).

    Returns:
        A transformation whose updates are to be added to the params.

    Raises:
        ValueError: if a number lies outside its range.

    Examples:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> params, tx = jnp.array([3.0, -2.0]), yogi(0.1)
        >>> state, update = tx.init(params), jax.jit(tx.update)
        >>> for _ in range(300):
        ...     updates, state = update(2 * params, state)  # gradient of |params|^2
        ...     params = params + updates
        >>> bool(jnp.linalg.norm(params) < 1e-2)
        True
    """
    return chain(scale_by_yogi(b1, b2, eps), scale_by_learning_rate(learning_rate))
