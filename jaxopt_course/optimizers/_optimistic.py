"""Optimistic descent: assume that the next change of the gradient will be like the last one.

With gradients g_t (g_0 = g_1) and learning rate a_t,

    w <- w - a_t (alpha g_t + beta (g_t - g_{t-1}))

which does not circle in two-player games, where plain descent does. Optimistic Adam puts the
rescaled gradients of Adam (by default with Nesterov's momentum) in the place of g_t.

References: Mokhtari, Ozdaglar & Pattathil, "A Unified Analysis of Extra-gradient and Optimistic
Gradient Methods for Saddle Point Problems", 2019, https://arxiv.org/abs/1901.08511, equation 6
and, generalized, section 3; Daskalakis et al., "Training GANs with Optimism", 2017,
https://arxiv.org/abs/1711.00141, algorithm 1.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, DTypeLike, ScalarLike

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    Params,
    ScalarOrSchedule,
    checks,
    numerics,
    tree,
)
from jaxopt_course.transforms import chain, scale_by_learning_rate

from ._adam import scale_by_adam


class ScaleByOptimisticGradientState(NamedTuple):
    """What the next step needs from the past.

    is_initial_step: whether no update has been made yet, bool[].
    previous_gradient: shaped like the params, float32 or wider.
    """

    is_initial_step: Bool[Array, ""]
    previous_gradient: Params


def scale_by_optimistic_gradient(
    alpha: ScalarLike = 1.0, beta: ScalarLike = 1.0
) -> GradientTransformationExtraArgs:
    """Add to each gradient its last change: alpha g_t + beta (g_t - g_{t-1}).

    Args:
        alpha: weight of the gradient, in [0, inf).
        beta: weight of its change, the optimism, in [0, inf).

    Returns:
        A transformation whose updates point uphill.

    Raises:
        ValueError: if a number lies outside its range.

    Examples:
        >>> import jax.numpy as jnp
        >>> tx = scale_by_optimistic_gradient(1.0, 0.5)
        >>> _, state = tx.update(jnp.array(1.0), tx.init(jnp.array(0.0)))
        >>> float(tx.update(jnp.array(2.0), state)[0])
        2.5
    """
    checks.number("scale_by_optimistic_gradient", "alpha", alpha, "[0, inf)")
    checks.number("scale_by_optimistic_gradient", "beta", beta, "[0, inf)")

    def init(params):
        return ScaleByOptimisticGradientState(jnp.array(True), tree.accumulator_like(params))

    def update(updates, state, params=None, **extra_args):
        checks.state("scale_by_optimistic_gradient", state, ScaleByOptimisticGradientState)
        previous, initial = state.previous_gradient, state.is_initial_step
        checks.like("scale_by_optimistic_gradient", "gradient", updates, previous)
        new = tree.cast_like(updates, previous)
        old = jax.tree.map(lambda n, o: jnp.where(initial, n, o), new, previous)
        a, b = numerics.as_float(alpha), numerics.as_float(beta)
        steps = tree.running_sum(old, tree.scale(new, a + b), -b)
        return tree.cast_like(steps, updates), ScaleByOptimisticGradientState(jnp.array(False), new)

    return GradientTransformationExtraArgs(init, update)


def optimistic_gradient_descent(
    learning_rate: ScalarOrSchedule, alpha: ScalarLike = 1.0, beta: ScalarLike = 1.0
) -> GradientTransformationExtraArgs:
    """Gradient descent with optimism; ``alpha = beta = 1`` is the usual form.

    Args:
        learning_rate: a_t, in [0, inf), or a schedule of the step count.
        alpha: weight of the gradient, in [0, inf).
        beta: weight of its change, in [0, inf).

    Returns:
        A transformation whose updates are to be added to the params.

    Raises:
        ValueError: if a number lies outside its range.

    Examples:
        The game min over x, max over y of x y, which gradient descent spirals out of:

        >>> import jax
        >>> import jax.numpy as jnp
        >>> params, tx = jnp.array([3.0, -2.0]), optimistic_gradient_descent(0.3)
        >>> state, update = tx.init(params), jax.jit(tx.update)
        >>> for _ in range(300):
        ...     x, y = params
        ...     updates, state = update(jnp.stack([y, -x]), state)
        ...     params = params + updates
        >>> bool(jnp.linalg.norm(params) < 1e-2)
        True
    """
    return chain(scale_by_optimistic_gradient(alpha, beta), scale_by_learning_rate(learning_rate))


def optimistic_adam_v2(
    learning_rate: ScalarOrSchedule,
    *,
    alpha: ScalarLike = 1.0,
    beta: ScalarLike = 1.0,
    b1: ScalarLike = 0.9,
    b2: ScalarLike = 0.999,
    eps: ScalarLike = 1e-8,
    eps_root: ScalarLike = 0.0,
    mu_dtype: DTypeLike | None = None,
    nesterov: bool = True,
) -> GradientTransformationExtraArgs:
    """Adam with optimism: its rescaled gradient, and the change of that.

    Args:
        learning_rate: a_t, in [0, inf), or a schedule of the step count.
        alpha: weight of the rescaled gradient, in [0, inf).
        beta: weight of its change, in [0, inf).
        b1: decay of the running mean, in [0, 1).
        b2: decay of the running mean of squares, in [0, 1).
        eps: added to the root, in [0, inf).
        eps_root: added to the squares inside the root, in [0, inf).
        mu_dtype: dtype in which the running mean is kept; float32 or wider by default.
        nesterov: the mean one step ahead, as in NAdam.

    Returns:
        A transformation whose updates are to be added to the params.

    Raises:
        ValueError: if a number lies outside its range.

    Examples:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> params, tx = jnp.array([3.0, -2.0]), optimistic_adam_v2(0.1)
        >>> state, update = tx.init(params), jax.jit(tx.update)
        >>> for _ in range(300):
        ...     updates, state = update(2 * params, state)  # gradient of |params|^2
        ...     params = params + updates
        >>> bool(jnp.linalg.norm(params) < 1e-2)
        True
    """
    return chain(
        scale_by_adam(b1, b2, eps, eps_root, mu_dtype, nesterov=nesterov),
        scale_by_optimistic_gradient(alpha, beta),
        scale_by_learning_rate(learning_rate),
    )
