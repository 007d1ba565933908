"""AdaGrad-norm: one learning rate for all entries, which shrinks with the gradients' norms.

With gradients g_t, learning rate a_t and b_0^2 = ``initial_accumulator_value``,

    b_t^2 = b_{t-1}^2 + |g_t|^2           the norm over all leaves
    w <- w - a_t g_t / b_t

It converges whatever the rate and b_0 are: neither needs to know the slope's Lipschitz constant.

Reference: Ward, Wu & Bottou, "AdaGrad stepsizes: Sharp convergence over nonconvex landscapes",
2019, https://arxiv.org/abs/1806.01811, algorithm 1.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, ScalarLike

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    ScalarOrSchedule,
    checks,
    numerics,
    tree,
)
from jaxopt_course.transforms import chain, scale_by_learning_rate


class ScaleByAdagradNormState(NamedTuple):
    """``sum_of_squares``: b_t^2, of all entries' gradients so far, f[], float32 or wider."""

    sum_of_squares: Float[Array, ""]


def scale_by_adagrad_norm(
    initial_accumulator_value: ScalarLike = 0.1,
) -> GradientTransformationExtraArgs:
    """Divide all entries by the root of the sum of all squares so far.

    Args:
        initial_accumulator_value: b_0^2, in [0, inf).

    Returns:
        A transformation whose updates point uphill and shrink as 1 / sqrt(t); 0 where nothing
        has been seen yet.

    Raises:
        ValueError: if the number lies outside its range.
    """
    checks.number(
        "scale_by_adagrad_norm", "initial_accumulator_value", initial_accumulator_value, "[0, inf)"
    )

    def init(params):
        return ScaleByAdagradNormState(
            jnp.asarray(initial_accumulator_value, tree.scalar_dtype(params))
        )

    def update(updates, state, params=None, **extra_args):
        checks.state("scale_by_adagrad_norm", state, ScaleByAdagradNormState)
        if params is not None:
            checks.like("scale_by_adagrad_norm", "gradient", updates, params)
        before = state.sum_of_squares
        after = before + tree.sum(tree.squared(updates)).astype(before.dtype)
        factor = numerics.safe_divide(jnp.ones_like(after), numerics.safe_sqrt(after))
        return tree.scale(updates, factor), ScaleByAdagradNormState(after)

    return GradientTransformationExtraArgs(init, update)


def adagrad_norm(
    learning_rate: ScalarOrSchedule, initial_accumulator_value: ScalarLike = 0.1
) -> GradientTransformationExtraArgs:
    """AdaGrad-norm, as a chain of :func:`scale_by_adagrad_norm` and the learning rate.

    Args:
        learning_rate: a_t, in [0, inf), or a schedule of the step count.
        initial_accumulator_value: b_0^2, in [0, inf).

    Returns:
        A transformation whose updates are to be added to the params.

    Raises:
        ValueError: if a number lies outside its range.

    Examples:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> params, tx = jnp.array([3.0, -2.0]), adagrad_norm(1.0)
        >>> state, update = tx.init(params), jax.jit(tx.update)
        >>> for _ in range(200):
        ...     updates, state = update(2 * params, state)  # gradient of |params|^2
        ...     params = params + updates
        >>> bool(jnp.linalg.norm(params) < 1e-3)
        True
    """
    return chain(
        scale_by_adagrad_norm(initial_accumulator_value), scale_by_learning_rate(learning_rate)
    )
