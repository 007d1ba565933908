"""AdaBelief: divide by how far gradients stray from their running mean, not by their size.

With gradients g_t, learning rate a_t,

    m_t = b1 m_{t-1} + (1 - b1) g_t
    s_t = b2 s_{t-1} + (1 - b2) (g_t - m_t)^2 + eps_root
    w  <- w - a_t m_hat / (sqrt(s_hat) + eps)

where m_hat = m_t / (1 - b1^t) and s_hat = s_t / (1 - b2^t). A gradient that was foreseen makes
a long step. ``eps_root`` is added in every step and so piles up to eps_root / (1 - b2).

Reference: Zhuang et al., "AdaBelief Optimizer: Adapting Stepsizes by the Belief in Observed
Gradients", 2020, algorithm 2, https://arxiv.org/abs/2010.07468.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, ScalarLike

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    Params,
    ScalarOrSchedule,
    Updates,
    checks,
    numerics,
    tree,
)
from jaxopt_course.transforms import chain, scale_by_learning_rate

from ._adam import check_moments, mean_of_step, zero_moments


class ScaleByBeliefState(NamedTuple):
    """What the next step needs from the past.

    count: how many updates have been made, int32[].
    mu: running mean of gradients, shaped like the params, float32 or wider.
    nu: running mean of squared distances from that mean, likewise.
    """

    count: Int[Array, ""]
    mu: Params
    nu: Params


def scale_by_belief(
    b1: ScalarLike = 0.9,
    b2: ScalarLike = 0.999,
    eps: ScalarLike = 1e-16,
    eps_root: ScalarLike = 1e-16,
    *,
    nesterov: bool = False,
) -> GradientTransformationExtraArgs:
    """Divide the running mean of gradients by the root of their spread around it.

    Args:
        b1: decay of the running mean, in [0, 1).
        b2: decay of the running spread, in [0, 1).
        eps: added to the root, in [0, inf).
        eps_root: added to the spread in every step, in [0, inf).
        nesterov: the mean one step ahead, as in NAdam.

    Returns:
        A transformation whose updates point uphill.

    Raises:
        ValueError: if a number lies outside its range.
    """
    checks.flag("scale_by_belief", "nesterov", nesterov)
    check_moments("scale_by_belief", b1, b2, eps, eps_root)

    def update(updates, state, params=None, **extra_args):
        checks.state("scale_by_belief", state, ScaleByBeliefState)
        checks.like("scale_by_belief", "gradient", updates, state.nu)
        count = numerics.safe_increment(state.count)
        mu = tree.update_moment(updates, state.mu, b1, 1)
        nu = updated_spread(state.nu, updates, mu, b2, eps_root)
        m, v = mean_of_step(mu, updates, b1, count, nesterov), tree.bias_correction(nu, b2, count)
        scaled = tree.cast_like(tree.divide_by_root(m, v, eps, 0.0), updates)
        return scaled, ScaleByBeliefState(count, mu, nu)

    return GradientTransformationExtraArgs(init_belief, update)


def init_belief(params: Params) -> ScaleByBeliefState:
    """Both means at 0."""
    return ScaleByBeliefState(*zero_moments(params))


def updated_spread(
    nu: Params, updates: Updates, around: Params, b2: ScalarLike, eps_root: ScalarLike
) -> Params:
    """b2 nu + (1 - b2) |updates - around|^2 + eps_root."""
    away = jax.tree.map(lambda g, m: jnp.asarray(g, m.dtype) - m, updates, around)
    eps = numerics.in_dtype(eps_root)
    return jax.tree.map(lambda s: s + eps(s.dtype), tree.update_moment(away, nu, b2, 2))


def adabelief(
    learning_rate: ScalarOrSchedule,
    b1: ScalarLike = 0.9,
    b2: ScalarLike = 0.999,
    eps: ScalarLike = 1e-16,
    eps_root: ScalarLike = 1e-16,
    *,
    nesterov: bool = False,
) -> GradientTransformationExtraArgs:
    """AdaBelief, as a chain of :func:`scale_by_belief` and the learning rate.

    Args:
        learning_rate: a_t, in [0, inf), or a schedule of the step count. 1e-3 is usual.
        b1: decay of the running mean, in [0, 1).
        b2: decay of the running spread, in [0, 1).
        eps: added to the root, in [0, inf).
        eps_root: added to the spread in every step, in [0, inf).
        nesterov: the mean one step ahead, as in NAdam.

    Returns:
        A transformation whose updates are to be added to the params.

    Raises:
        ValueError: if a number lies outside its range.

    Examples:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> params, tx = jnp.array([3.0, -2.0]), adabelief(0.1)
        >>> state, update = tx.init(params), jax.jit(tx.update)
        >>> for _ in range(300):
        ...     updates, state = update(2 * params, state)  # gradient of |params|^2
        ...     params = params + updates
        >>> bool(jnp.linalg.norm(params) < 1e-2)
        True
    """
    return chain(
        scale_by_belief(b1, b2, eps, eps_root, nesterov=nesterov),
        scale_by_learning_rate(learning_rate),
    )
