"""AdaGrad: a learning rate for each entry, which shrinks with what the entry has seen.

With gradients g_t, learning rate a_t and s_0 = ``initial_accumulator_value``,

    s_t = s_{t-1} + g_t^2
    w <- w - a_t g_t / sqrt(s_t + eps)     or, with eps outside the root, / (sqrt(s_t) + eps)

The course starts the sum at 0 with eps = 1e-8: ``adagrad(rate, 0.0, 1e-8)``. Its other form,
the rate a / sqrt(t + 1) over the root of the mean of squares, is the same update.

Reference: Duchi, Hazan & Singer, "Adaptive Subgradient Methods for Online Learning and
Stochastic Optimization", JMLR 2011, https://jmlr.org/papers/v12/duchi11a.html, figure 1 with
diagonal matrices.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import ScalarLike

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    Params,
    ScalarOrSchedule,
    checks,
    tree,
)
from jaxopt_course.transforms import chain, scale_by_learning_rate


class ScaleByRssState(NamedTuple):
    """``sum_of_squares``: of each entry's gradients, shaped like the params, float32 or wider."""

    sum_of_squares: Params


def scale_by_rss(
    initial_accumulator_value: ScalarLike = 0.1,
    eps: ScalarLike = 1e-7,
    *,
    eps_in_sqrt: bool = True,
) -> GradientTransformationExtraArgs:
    """Divide each entry by the root of the sum of its squares so far.

    Args:
        initial_accumulator_value: s_0, in [0, inf).
        eps: added to the sum, or to its root, in [0, inf).
        eps_in_sqrt: whether eps stands inside the root.

    Returns:
        A transformation whose updates point uphill and shrink as 1 / sqrt(t).

    Raises:
        ValueError: if a number lies outside its range.
    """
    checks.flag("scale_by_rss", "eps_in_sqrt", eps_in_sqrt)
    checks.number(
        "scale_by_rss", "initial_accumulator_value", initial_accumulator_value, "[0, inf)"
    )
    checks.number("scale_by_rss", "eps", eps, "[0, inf)")
    eps, eps_root = (None, eps) if eps_in_sqrt else (eps, None)

    def init(params):
        start = tree.real_accumulator_like(params, fill=initial_accumulator_value)
        return ScaleByRssState(start)

    def update(updates, state, params=None, **extra_args):
        checks.state("scale_by_rss", state, ScaleByRssState)
        checks.like("scale_by_rss", "gradient", updates, state.sum_of_squares)
        seen = tree.cast_like(tree.squared(updates), state.sum_of_squares)
        total = jax.tree.map(jnp.add, state.sum_of_squares, seen)
        return tree.divide_by_root(updates, total, eps, eps_root), ScaleByRssState(total)

    return GradientTransformationExtraArgs(init, update)


def adagrad(
    learning_rate: ScalarOrSchedule,
    initial_accumulator_value: ScalarLike = 0.1,
    eps: ScalarLike = 1e-7,
    *,
    eps_in_sqrt: bool = True,
) -> GradientTransformationExtraArgs:
    """AdaGrad, as a chain of :func:`scale_by_rss` and the learning rate.

    Args:
        learning_rate: a_t, in [0, inf), or a schedule of the step count.
        initial_accumulator_value: s_0, in [0, inf). The course has 0, optax 0.1.
        eps: added to the sum, or to its root, in [0, inf). The course has 1e-8, optax 1e-7.
        eps_in_sqrt: whether eps stands inside the root.

    Returns:
        A transformation whose updates are to be added to the params.

    Raises:
        ValueError: if a number lies outside its range.

    Examples:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> params, tx = jnp.array([3.0, -2.0]), adagrad(1.0, 0.0, 1e-8)
        >>> state, update = tx.init(params), jax.jit(tx.update)
        >>> for _ in range(200):
        ...     updates, state = update(2 * params, state)  # gradient of |params|^2
        ...     params = params + updates
        >>> bool(jnp.linalg.norm(params) < 1e-3)
        True
    """
    return chain(
        scale_by_rss(initial_accumulator_value, eps, eps_in_sqrt=eps_in_sqrt),
        scale_by_learning_rate(learning_rate),
    )
