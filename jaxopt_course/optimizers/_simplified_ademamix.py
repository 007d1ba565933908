"""Simplified AdEMAMix: one long momentum, and the present gradient added to it.

With gradients g_t and learning rate a_t,

    m_t = b1 m_{t-1} + g_t                          a sum, not a mean
    v_t = b2 v_{t-1} + (1 - b2) g_t^2
    w  <- w - a_t ((m_t + alpha_t g_t) / (sqrt(v_hat + eps_root) + eps) + d w)

With alpha = 0 this is Adam without the bias correction of the mean, at the rate (1 - b1) a_t:
rates are that much smaller than Adam's.

Reference: Morwani et al., "Connections between Schedule-Free Optimizers, AdEMAMix, and
Accelerated SGD Variants", 2025, algorithm "Simplified AdEMAMix",
https://arxiv.org/abs/2502.02431.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Int, PyTree, ScalarLike

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    Params,
    ScalarOrSchedule,
    checks,
    numerics,
    tree,
)
from jaxopt_course.transforms import add_decayed_weights, chain, scale_by_learning_rate

from ._adam import check_moments


class ScaleBySimplifiedAdEMAMixState(NamedTuple):
    """What the next step needs from the past.

    t: how many updates have been made, int32[].
    m: decaying sum of gradients, shaped like the params, float32 or wider.
    n: running mean of squared gradients, likewise.
    """

    t: Int[Array, ""]
    m: Params
    n: Params


def scale_by_simplified_ademamix(
    b1: ScalarLike = 0.99,
    b2: ScalarLike = 0.95,
    alpha: ScalarOrSchedule = 0.0,
    eps: ScalarLike = 1e-8,
    eps_root: ScalarLike = 0.0,
) -> GradientTransformationExtraArgs:
    """Replace each gradient by momentum plus ``alpha`` gradients, over the root of squares.

    Args:
        b1: decay of the sum of gradients, in [0, 1).
        b2: decay of the running mean of squares, in [0, 1).
        alpha: weight of the present gradient, in [0, inf), or a schedule of the step count.
        eps: added to the root, in [0, inf).
        eps_root: added to the squares inside the root, in [0, inf).

    Returns:
        A transformation whose updates point uphill.

    Raises:
        ValueError: if a number lies outside its range.
    """
    check_moments("scale_by_simplified_ademamix", b1, b2, eps, eps_root)
    if callable(alpha):
        checks.schedule("scale_by_simplified_ademamix", "alpha", alpha)
    else:
        checks.number("scale_by_simplified_ademamix", "alpha", alpha, "[0, inf)")

    def init(params):
        squares = tree.real_accumulator_like(params)
        return ScaleBySimplifiedAdEMAMixState(
            jnp.zeros((), jnp.int32), tree.accumulator_like(params), squares
        )

    def update(updates, state, params=None, **extra_args):
        checks.state("scale_by_simplified_ademamix", state, ScaleBySimplifiedAdEMAMixState)
        checks.like("scale_by_simplified_ademamix", "gradient", updates, state.n)
        weight = numerics.at_count(alpha, state.t)
        t = numerics.safe_increment(state.t)
        m = tree.running_sum(state.m, updates, b1)
        n = tree.update_moment(updates, state.n, b2, 2)
        mixed = tree.running_sum(updates, m, weight)
        scaled = tree.divide_by_root(mixed, tree.bias_correction(n, b2, t), eps, eps_root)
        return tree.cast_like(scaled, updates), ScaleBySimplifiedAdEMAMixState(t, m, n)

    return GradientTransformationExtraArgs(init, update)


def simplified_ademamix(
    learning_rate: ScalarOrSchedule,
    b1: ScalarLike = 0.99,
    b2: ScalarLike = 0.95,
    alpha: ScalarOrSchedule = 0.0,
    eps: ScalarLike = 1e-8,
    eps_root: ScalarLike = 0.0,
    weight_decay: ScalarOrSchedule = 0.0,
    mask: PyTree | Callable[[Params], PyTree] | None = None,
) -> GradientTransformationExtraArgs:
    """Simplified AdEMAMix with decoupled weight decay.

    Args:
        learning_rate: a_t, in [0, inf), or a schedule of the step count; 1 - b1 times Adam's.
        b1: decay of the sum of gradients, in [0, 1).
        b2: decay of the running mean of squares, in [0, 1).
        alpha: weight of the present gradient, in [0, inf), or a schedule.
        eps: added to the root, in [0, inf).
        eps_root: added to the squares inside the root, in [0, inf).
        weight_decay: d, in [0, inf), or a schedule; multiplied by the learning rate.
        mask: a tree of bools shaped like (a prefix of) the params, or a function of the
            params that returns one: which leaves decay. All by default.

    Returns:
        A transformation whose updates are to be added to the params; ``update`` needs them.

    Raises:
        ValueError: if a number lies outside its range.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> from jaxopt_course.schedules import exponential_decay
        >>> rate = exponential_decay(0.01, 100, 0.5)
        >>> params, tx = jnp.array([3.0, -2.0]), simplified_ademamix(rate, b1=0.9, alpha=5.0)
        >>> state, update = tx.init(params), jax.jit(tx.update)
        >>> for _ in range(1000):
        ...     updates, state = update(2 * params, state, params)
        ...     params = params + updates
        >>> bool(jnp.linalg.norm(params) < 1e-2)
        True
    """
    return chain(
        scale_by_simplified_ademamix(b1, b2, alpha, eps, eps_root),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )
