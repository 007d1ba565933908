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
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Int, PyTree, ScalarLike

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    Params,
    ScalarOrSchedule,
    Updates,
    accumulator_like,
    at_count,
    bias_corrected,
    cast_like,
    check_dtype,
    check_like,
    check_number,
    check_schedule,
    check_state,
    divide_by_root,
    increment,
    real_accumulator_like,
    running_mean,
    running_sum,
    squared,
)
from jaxopt_course.transforms import add_decayed_weights, chain, scale_by_learning_rate

from ._adam import check_moments


__all__ = ["ScaleByAdemamixState", "ademamix", "scale_by_ademamix"]


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
    check_dtype("scale_by_ademamix", "mu_dtype", mu_dtype)
    check_moments("scale_by_ademamix", b1, b2, eps, eps_root)
    if callable(b3):
        check_schedule("scale_by_ademamix", "b3", b3)
    else:
        check_number("scale_by_ademamix", "b3", b3, "[0, 1)")
    if callable(alpha):
        check_schedule("scale_by_ademamix", "alpha", alpha)
    else:
        check_number("scale_by_ademamix", "alpha", alpha, "[0, inf)")

    def init(params: Params) -> ScaleByAdemamixState:
        return ScaleByAdemamixState(
            count=jnp.zeros((), jnp.int32),
            count_m2=jnp.zeros((), jnp.int32),
            m1=accumulator_like(params, mu_dtype),
            m2=accumulator_like(params, mu_dtype),
            nu=real_accumulator_like(params),
        )

    def update(
        updates: Updates,
        state: ScaleByAdemamixState,
        params: Params | None = None,
        **extra_args: Any,
    ) -> tuple[Updates, ScaleByAdemamixState]:
        check_state("scale_by_ademamix", state, ScaleByAdemamixState)
        check_like("scale_by_ademamix", "gradient", updates, state.nu)
        slow_decay = at_count(b3, state.count_m2)
        weight = at_count(alpha, state.count_m2)
        count = increment(state.count)
        m1 = running_mean(state.m1, updates, b1)
        m2 = running_mean(state.m2, updates, slow_decay)
        nu = running_mean(state.nu, squared(updates), b2)
        mixed = running_sum(m2, bias_corrected(m1, b1, count), weight)
        scaled = divide_by_root(mixed, bias_corrected(nu, b2, count), eps, eps_root)
        return cast_like(scaled, updates), ScaleByAdemamixState(
            count,
            increment(state.count_m2),
            cast_like(m1, state.m1),
            cast_like(m2, state.m2),
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
