"""Optimistic gradient descent: extrapolate the gradient by its last change.

With gradients g_t (g_0 = g_1) and learning rate a_t,

    w <- w - a_t (alpha g_t + beta (g_t - g_{t-1}))

It converges in two-player games in which plain gradient descent circles. Optimistic Adam replaces
g_t by the rescaled gradient of Adam (by default with Nesterov momentum).

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
    """State of the optimistic gradient transformation.

    is_initial_step: whether no update has been made yet, bool[].
    previous_gradient: shaped like the params, float32 or wider.
    """

    is_initial_step: Bool[Array, ""]
    previous_gradient: Params


def scale_by_optimistic_gradient(
    alpha: ScalarLike = 1.0, beta: ScalarLike = 1.0
) -> GradientTransformationExtraArgs:
    """Extrapolate the gradient. Arguments are those of :func:`optimistic_gradient_descent`.

    Examples:
        >>> tx = scale_by_optimistic_gradient(1.0, 0.5)
        >>> _, state = tx.update(jnp.array(1.0), tx.init(jnp.array(0.0)))
        >>> float(tx.update(jnp.array(2.0), state)[0])
        2.5
    """
    checks.numbers("scale_by_optimistic_gradient", "[0, inf)", alpha=alpha, beta=beta)

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
    """Optimistic gradient descent; ``alpha = beta = 1`` is the usual form.

    Args:
        learning_rate: the learning rate, in [0, inf), or a schedule of the step count.
        alpha: weight of the gradient, in [0, inf).
        beta: weight of its last change, in [0, inf).

    Examples:
        >>> tx = optimistic_gradient_descent(0.3)
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
    """Optimistic Adam, which extrapolates the rescaled gradients of Adam.

    Args:
        learning_rate: the learning rate, in [0, inf), or a schedule of the step count.
        alpha: weight of the rescaled gradient, in [0, inf).
        beta: weight of its last change, in [0, inf).
        b1: decay rate of the first moment, in [0, 1).
        b2: decay rate of the second moment, in [0, 1).
        eps: added to the square root in the denominator, in [0, inf).
        eps_root: added to the second moment inside the square root, in [0, inf).
        mu_dtype: dtype of the first moment; float32 or wider by default.
        nesterov: whether to use Nesterov momentum, as NAdam does.

    Examples:
        >>> tx = optimistic_adam_v2(1e-3)
    """
    return chain(
        scale_by_adam(b1, b2, eps, eps_root, mu_dtype, nesterov=nesterov),
        scale_by_optimistic_gradient(alpha, beta),
        scale_by_learning_rate(learning_rate),
    )
