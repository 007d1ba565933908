"""Adamax: Adam over a decaying maximum of gradients, in place of the root of a mean of squares.

With gradients g_t, learning rate a_t,

    m_t = b1 m_{t-1} + (1 - b1) g_t
    n_t = max(b2 n_{t-1}, |g_t| + eps)
    w  <- w - a_t m_hat / n_t,   m_hat = m_t / (1 - b1^t)

The maximum starts at the first gradient and needs no correction. AdamaxW adds the decay
-a_t d w_t to the update, beside the moments.

References: Kingma & Ba, "Adam: A Method for Stochastic Optimization", 2015, algorithm 2,
https://arxiv.org/abs/1412.6980; Loshchilov & Hutter, "Decoupled Weight Decay Regularization",
2019, https://arxiv.org/abs/1711.05101.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree, ScalarLike

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    Params,
    ScalarOrSchedule,
    checks,
    numerics,
    tree,
)
from jaxopt_course.transforms import add_decayed_weights, chain, scale_by_learning_rate

from ._adam import ScaleByAdamState, zero_moments


def scale_by_adamax(
    b1: ScalarLike = 0.9, b2: ScalarLike = 0.999, eps: ScalarLike = 1e-8
) -> GradientTransformationExtraArgs:
    """Divide the running mean of gradients by their decaying maximum.

    Args:
        b1: decay of the running mean, in [0, 1).
        b2: decay of the maximum, in [0, 1).
        eps: added to each gradient's magnitude, in [0, inf).

    Returns:
        A transformation whose updates point uphill. Its state is Adam's, with the maximum
        as ``nu``.

    Raises:
        ValueError: if a number lies outside its range.
    """
    checks.number("scale_by_adamax", "b1", b1, "[0, 1)")
    checks.number("scale_by_adamax", "b2", b2, "[0, 1)")
    checks.number("scale_by_adamax", "eps", eps, "[0, inf)")

    def init(params):
        return zero_moments(params)

    def update(updates, state, params=None, **extra_args):
        checks.state("scale_by_adamax", state, ScaleByAdamState)
        checks.like("scale_by_adamax", "gradient", updates, state.nu)
        count, keep, added = (
            numerics.safe_increment(state.count),
            numerics.in_dtype(b2),
            numerics.nonzero_in_dtype(eps),
        )

        def larger(g: Array, n: Array) -> Array:
            return jnp.maximum(jnp.abs(g) + added(n.dtype), keep(n.dtype) * n)

        mu = tree.update_moment(updates, state.mu, b1, 1)
        nu = jax.tree.map(larger, tree.cast_like(updates, mu), state.nu)
        m_hat = tree.bias_correction(mu, b1, count)
        scaled = jax.tree.map(lambda m, n: m / n.astype(m.dtype), m_hat, nu)
        return tree.cast_like(scaled, updates), ScaleByAdamState(count, mu, nu)

    return GradientTransformationExtraArgs(init, update)


def adamax(
    learning_rate: ScalarOrSchedule,
    b1: ScalarLike = 0.9,
    b2: ScalarLike = 0.999,
    eps: ScalarLike = 1e-8,
) -> GradientTransformationExtraArgs:
    """Adamax, as a chain of :func:`scale_by_adamax` and the learning rate.

    Args:
        learning_rate: a_t, in [0, inf), or a schedule of the step count. 2e-3 is the paper's.
        b1: decay of the running mean, in [0, 1).
        b2: decay of the maximum, in [0, 1).
        eps: added to each gradient's magnitude, in [0, inf).

    Returns:
        A transformation whose updates are to be added to the params.

    Raises:
        ValueError: if a number lies outside its range.

    Examples:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> params, tx = jnp.array([3.0, -2.0]), adamax(0.1)
        >>> state, update = tx.init(params), jax.jit(tx.update)
        >>> for _ in range(300):
        ...     updates, state = update(2 * params, state)  # gradient of |params|^2
        ...     params = params + updates
        >>> bool(jnp.linalg.norm(params) < 1e-2)
        True
    """
    return chain(scale_by_adamax(b1, b2, eps), scale_by_learning_rate(learning_rate))


def adamaxw(
    learning_rate: ScalarOrSchedule,
    b1: ScalarLike = 0.9,
    b2: ScalarLike = 0.999,
    eps: ScalarLike = 1e-8,
    weight_decay: ScalarOrSchedule = 1e-4,
    mask: PyTree | Callable[[Params], PyTree] | None = None,
) -> GradientTransformationExtraArgs:
    """Adamax with decoupled weight decay.

    Args:
        learning_rate: a_t, in [0, inf), or a schedule of the step count.
        b1: decay of the running mean, in [0, 1).
        b2: decay of the maximum, in [0, 1).
        eps: added to each gradient's magnitude, in [0, inf).
        weight_decay: d, in [0, inf), or a schedule; multiplied by the learning rate.
        mask: a tree of bools shaped like (a prefix of) the params, or a function of the
            params that returns one: which leaves decay. All by default.

    Returns:
        A transformation whose updates are to be added to the params; ``update`` needs them.

    Raises:
        ValueError: if a number lies outside its range.

    Examples:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> params, tx = jnp.array([3.0, -2.0]), adamaxw(0.1, weight_decay=0.1)
        >>> state, update = tx.init(params), jax.jit(tx.update)
        >>> for _ in range(300):
        ...     updates, state = update(2 * params, state, params)
        ...     params = params + updates
        >>> bool(jnp.linalg.norm(params) < 1e-2)
        True
    """
    return chain(
        scale_by_adamax(b1, b2, eps),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )
