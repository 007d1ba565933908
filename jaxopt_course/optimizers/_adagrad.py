"""AdaGrad: learning rates that shrink with the sum of squared gradients.

With gradients g_t, learning rate a_t and s_0 = ``initial_accumulator_value``,

    s_t = s_{t-1} + g_t^2,   w <- w - a_t g_t / sqrt(s_t + eps)     for each entry

or, with eps outside the square root, / (sqrt(s_t) + eps). The course starts the sum at 0 with
eps = 1e-8: ``adagrad(rate, 0.0, 1e-8)``. AdaGrad-norm has one sum, b_t^2, for all entries:

    b_t^2 = b_{t-1}^2 + |g_t|^2,   w <- w - a_t g_t / b_t

It converges for every learning rate and every b_0, whatever the Lipschitz constant of the gradient.

References: Duchi, Hazan & Singer, "Adaptive Subgradient Methods for Online Learning and
Stochastic Optimization", JMLR 2011, figure 1, https://jmlr.org/papers/v12/duchi11a.html; Ward, Wu &
Bottou, "AdaGrad stepsizes: Sharp convergence over nonconvex landscapes", 2019, algorithm 1,
https://arxiv.org/abs/1806.01811.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, ScalarLike

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    Mask,
    Params,
    ScalarOrSchedule,
    checks,
    numerics,
    tree,
)
from jaxopt_course.transforms import chain, scale_by_learning_rate

from ._decay import decayed


class ScaleByRssState(NamedTuple):
    """State of the AdaGrad transformation.

    sum_of_squares: s, the sum for each entry, shaped like the params, float32 or wider.
    """

    sum_of_squares: Params


def scale_by_rss(
    initial_accumulator_value: ScalarLike = 0.1,
    eps: ScalarLike = 1e-7,
    *,
    eps_in_sqrt: bool = True,
) -> GradientTransformationExtraArgs:
    """Divide by the root of the sum of squares. Arguments are those of :func:`adagrad`."""
    checks.flag("scale_by_rss", "eps_in_sqrt", eps_in_sqrt)
    checks.numbers(
        "scale_by_rss", "[0, inf)", initial_accumulator_value=initial_accumulator_value, eps=eps
    )
    eps, eps_root = (None, eps) if eps_in_sqrt else (eps, None)

    def init(params):
        return ScaleByRssState(tree.real_accumulator_like(params, fill=initial_accumulator_value))

    def update(updates, state, params=None, **extra_args):
        checks.step("scale_by_rss", updates, state, ScaleByRssState, "sum_of_squares")
        squares = tree.cast_like(tree.squared(updates), state.sum_of_squares)
        total = jax.tree.map(jnp.add, state.sum_of_squares, squares)
        return tree.divide_by_root(updates, total, eps, eps_root), ScaleByRssState(total)

    return GradientTransformationExtraArgs(init, update)


def adagrad(
    learning_rate: ScalarOrSchedule,
    initial_accumulator_value: ScalarLike = 0.1,
    eps: ScalarLike = 1e-7,
    *,
    eps_in_sqrt: bool = True,
    weight_decay: ScalarOrSchedule | None = None,
    mask: Mask | None = None,
) -> GradientTransformationExtraArgs:
    """AdaGrad, with learning rates that shrink with the sum of squared gradients.

    Args:
        learning_rate: the learning rate, in [0, inf), or a schedule of the step count.
        initial_accumulator_value: s_0, in [0, inf). The course starts at 0, optax at 0.1.
        eps: added to the sum, or to its square root, in [0, inf). The course has 1e-8, optax 1e-7.
        eps_in_sqrt: whether to add ``eps`` inside the square root.
        weight_decay: decoupled weight decay, in [0, inf), or a schedule; times the learning rate.
            None: no decay.
        mask: leaves that decay, as for :func:`adamw`; all by default.

    Examples:
        >>> tx = adagrad(1.0, 0.0, 1e-8)
    """
    return chain(
        scale_by_rss(initial_accumulator_value, eps, eps_in_sqrt=eps_in_sqrt),
        *decayed("adagrad", weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )


class ScaleByAdagradNormState(NamedTuple):
    """State of the AdaGrad-norm transformation.

    sum_of_squares: b_t^2, the sum over all entries, float[], float32 or wider.
    """

    sum_of_squares: Float[Array, ""]


def scale_by_adagrad_norm(
    initial_accumulator_value: ScalarLike = 0.1,
) -> GradientTransformationExtraArgs:
    """Divide by the root of one sum of squares. The argument is that of :func:`adagrad_norm`."""
    start = initial_accumulator_value
    checks.number("scale_by_adagrad_norm", "initial_accumulator_value", start, "[0, inf)")

    def init(params):
        return ScaleByAdagradNormState(jnp.asarray(start, tree.scalar_dtype(params)))

    def update(updates, state, params=None, **extra_args):
        checks.state("scale_by_adagrad_norm", state, ScaleByAdagradNormState)
        if params is not None:
            checks.like("scale_by_adagrad_norm", "gradient", updates, params)
        old = state.sum_of_squares
        total = old + tree.sum(tree.squared(updates)).astype(old.dtype)
        factor = numerics.safe_divide(jnp.ones_like(total), numerics.safe_sqrt(total))
        return tree.scale(updates, factor), ScaleByAdagradNormState(total)

    return GradientTransformationExtraArgs(init, update)


def adagrad_norm(
    learning_rate: ScalarOrSchedule, initial_accumulator_value: ScalarLike = 0.1
) -> GradientTransformationExtraArgs:
    """AdaGrad with one sum of squares for all entries.

    Args:
        learning_rate: the learning rate, in [0, inf), or a schedule of the step count.
        initial_accumulator_value: b_0^2, in [0, inf).

    Examples:
        >>> tx = adagrad_norm(1.0)
    """
    return chain(
        scale_by_adagrad_norm(initial_accumulator_value), scale_by_learning_rate(learning_rate)
    )
