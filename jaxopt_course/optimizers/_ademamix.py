"""AdEMAMix: Adam with a second, much longer memory of gradients.

With gradients g_t and learning rate a_t,

    m_t = b1 m_{t-1} + (1 - b1) g_t                 the fast mean
    n_t = b3_t n_{t-1} + (1 - b3_t) g_t             the slow mean
    v_t = b2 v_{t-1} + (1 - b2) g_t^2
    w  <- w - a_t ((m_hat + alpha_t n_t) / (sqrt(v_hat + eps_root) + eps) + d w)

where m_hat and v_hat are corrected for their start at zero, and n is not: it fills slowly. The
paper raises alpha_t and b3_t slowly too; both take schedules.

Reference: Pagliardini, Ablin & Grangier, "The AdEMAMix Optimizer: Better, Faster, Older", 2024,
algorithm 1, https://arxiv.org/abs/2409.03137.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Int, PyTree, ScalarLike

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


class ScaleByAdemamixState(NamedTuple):
    """What the next step needs from the past.

    count: how many updates have been made, int32[].
    count_m2: how many the slow mean has seen, int32[]; the schedules read it.
    m1: the fast mean of gradients, shaped like the params, float32 or wider.
    m2: the slow mean, likewise.
    nu: running mean of squared gradients, likewise.
    """

    count: Int[Array, ""]
    count_m2: Int[Array, ""]
    m1: Params
    m2: Params
    nu: Params


def scale_by_ademamix(
    b1: ScalarLike = 0.9,
    b2: ScalarLike = 0.999,
    b3: ScalarOrSchedule = 0.9999,
    alpha: ScalarOrSchedule = 6.0,
    eps: ScalarLike = 1e-8,
    eps_root: ScalarLike = 0.0,
    mu_dtype: DTypeLike | None = None,
) -> GradientTransformationExtraArgs:
    """Replace each gradient by a fast and a slow mean, over the root of the mean of squares.

    Args:
        b1: decay of the fast mean, in [0, 1).
        b2: decay of the running mean of squares, in [0, 1).
        b3: decay of the slow mean, in [0, 1), or a schedule of the step count.
        alpha: weight of the slow mean, in [0, inf), or a schedule.
        eps: added to the root, in [0, inf).
        eps_root: added to the squares inside the root, in [0, inf).
        mu_dtype: dtype in which both means are kept; float32 or wider by default.

    Returns:
        A transformation whose updates point uphill.

    Raises:
        ValueError: if a number lies outside its range.
    """
    checks.dtype("scale_by_ademamix", "mu_dtype", mu_dtype)
    check_moments("scale_by_ademamix", b1, b2, eps, eps_root)
    if callable(b3):
        checks.schedule("scale_by_ademamix", "b3", b3)
    else:
        checks.number("scale_by_ademamix", "b3", b3, "[0, 1)")
    if callable(alpha):
        checks.schedule("scale_by_ademamix", "alpha", alpha)
    else:
        checks.number("scale_by_ademamix", "alpha", alpha, "[0, inf)")

    def init(params):
        return ScaleByAdemamixState(
            count=jnp.zeros((), jnp.int32),
            count_m2=jnp.zeros((), jnp.int32),
            m1=tree.accumulator_like(params, mu_dtype),
            m2=tree.accumulator_like(params, mu_dtype),
            nu=tree.real_accumulator_like(params),
        )

    def update(updates, state, params=None, **extra_args):
        checks.state("scale_by_ademamix", state, ScaleByAdemamixState)
        checks.like("scale_by_ademamix", "gradient", updates, state.nu)
        slow_decay = numerics.at_count(b3, state.count_m2)
        weight = numerics.at_count(alpha, state.count_m2)
        count = numerics.safe_increment(state.count)
        m1 = tree.update_moment(updates, state.m1, b1, 1)
        m2 = tree.update_moment(updates, state.m2, slow_decay, 1)
        nu = tree.update_moment(updates, state.nu, b2, 2)
        mixed = tree.running_sum(m2, tree.bias_correction(m1, b1, count), weight)
        scaled = tree.divide_by_root(mixed, tree.bias_correction(nu, b2, count), eps, eps_root)
        return tree.cast_like(scaled, updates), ScaleByAdemamixState(
            count,
            numerics.safe_increment(state.count_m2),
            tree.cast_like(m1, state.m1),
            tree.cast_like(m2, state.m2),
            nu,
        )

    return GradientTransformationExtraArgs(init, update)


def ademamix(
    learning_rate: ScalarOrSchedule,
    b1: ScalarLike = 0.9,
    b2: ScalarLike = 0.999,
    b3: ScalarOrSchedule = 0.9999,
    alpha: ScalarOrSchedule = 5.0,
    eps: ScalarLike = 1e-8,
    eps_root: ScalarLike = 0.0,
    mu_dtype: DTypeLike | None = None,
    weight_decay: ScalarOrSchedule = 0.0,
    mask: PyTree | Callable[[Params], PyTree] | None = None,
) -> GradientTransformationExtraArgs:
    """AdEMAMix with decoupled weight decay, for long trainings.

    Args:
        learning_rate: a_t, in [0, inf), or a schedule of the step count.
        b1: decay of the fast mean, in [0, 1).
        b2: decay of the running mean of squares, in [0, 1).
        b3: decay of the slow mean, in [0, 1), or a schedule. 0.999 for few thousand steps.
        alpha: weight of the slow mean, in [0, inf), or a schedule.
        eps: added to the root, in [0, inf).
        eps_root: added to the squares inside the root, in [0, inf).
        mu_dtype: dtype in which both means are kept; float32 or wider by default.
        weight_decay: d, in [0, inf), or a schedule; multiplied by the learning rate.
        mask: a tree of bools shaped like (a prefix of) the params, or a function of the
            params that returns one: which leaves decay. All by default.

    Returns:
        A transformation whose updates are to be added to the params; ``update`` needs them.

    Raises:
        ValueError: if a number lies outside its range.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> params, tx = jnp.array([3.0, -2.0]), ademamix(0.03, b3=0.99)
        >>> state, update = tx.init(params), jax.jit(tx.update)
        >>> for _ in range(500):
        ...     updates, state = update(2 * params, state, params)
        ...     params = params + updates
        >>> bool(jnp.linalg.norm(params) < 1e-2)
        True
    """
    return chain(
        scale_by_ademamix(b1, b2, b3, alpha, eps, eps_root, mu_dtype),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )
