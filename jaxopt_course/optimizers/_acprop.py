"""ACProp: AdaBelief whose denominator lags one step behind the gradient that it divides.

With gradients g_t, learning rate a_t and decoupled weight decay d,

    m_t = b1 m_{t-1} + (1 - b1) g_t
    s_t = b2 s_{t-1} + (1 - b2) (g_t - m_{t-1})^2 + eps_root
    u_t = g_t / (sqrt(s_hat_{t-1}) + eps),   s_hat_{t-1} = s_{t-1} / (1 - b2^(t-1)),  s_hat_0 = 1
    w  <- w - a_t (u_t + d w)

The numerator is the gradient itself, the running mean serves the spread alone. The spread is
taken around the mean of the step before, as in optax; around m_t, as in AdaBelief, it would
be b1^2 times as large.

Reference: Zhuang et al., "Momentum Centering and Asynchronous Update for Adaptive Gradient
Methods", 2021, algorithm 2, https://arxiv.org/abs/2110.05454.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import PyTree, ScalarLike

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    Params,
    ScalarOrSchedule,
    checks,
    numerics,
    tree,
)
from jaxopt_course.transforms import add_decayed_weights, chain, scale_by_learning_rate

from ._adabelief import ScaleByBeliefState, init_belief, updated_spread
from ._adam import check_moments


def scale_by_acprop(
    b1: ScalarLike = 0.9,
    b2: ScalarLike = 0.999,
    eps: ScalarLike = 1e-16,
    eps_root: ScalarLike = 1e-16,
) -> GradientTransformationExtraArgs:
    """Divide each gradient by the root of the spread that was known before it came.

    Args:
        b1: decay of the running mean that the spread is taken around, in [0, 1).
        b2: decay of the running spread, in [0, 1).
        eps: added to the root, in [0, inf).
        eps_root: added to the spread in every step, in [0, inf).

    Returns:
        A transformation whose updates point uphill; the first is the gradient.

    Raises:
        ValueError: if a number lies outside its range.
    """
    check_moments("scale_by_acprop", b1, b2, eps, eps_root)

    def update(updates, state, params=None, **extra_args):
        checks.state("scale_by_acprop", state, ScaleByBeliefState)
        checks.like("scale_by_acprop", "gradient", updates, state.nu)
        first, age = state.count == 0, jnp.maximum(state.count, 1)
        mu = tree.update_moment(updates, state.mu, b1, 1)
        nu = updated_spread(state.nu, updates, state.mu, b2, eps_root)
        known = jax.tree.map(
            lambda s: jnp.where(first, 1, s), tree.bias_correction(state.nu, b2, age)
        )
        scaled = tree.divide_by_root(updates, known, eps, 0.0)
        return scaled, ScaleByBeliefState(numerics.safe_increment(state.count), mu, nu)

    return GradientTransformationExtraArgs(init_belief, update)


def acprop(
    learning_rate: ScalarOrSchedule,
    b1: ScalarLike = 0.9,
    b2: ScalarLike = 0.999,
    eps: ScalarLike = 1e-16,
    eps_root: ScalarLike = 1e-16,
    weight_decay: ScalarOrSchedule = 0.0,
    mask: PyTree | Callable[[Params], PyTree] | None = None,
) -> GradientTransformationExtraArgs:
    """ACProp with decoupled weight decay.

    Args:
        learning_rate: a_t, in [0, inf), or a schedule of the step count.
        b1: decay of the running mean that the spread is taken around, in [0, 1).
        b2: decay of the running spread, in [0, 1).
        eps: added to the root, in [0, inf).
        eps_root: added to the spread in every step, in [0, inf).
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
        >>> params, tx = jnp.array([3.0, -2.0]), acprop(0.1)
        >>> state, update = tx.init(params), jax.jit(tx.update)
        >>> for _ in range(300):
        ...     updates, state = update(2 * params, state, params)
        ...     params = params + updates
        >>> bool(jnp.linalg.norm(params) < 1e-2)
        True
    """
    return chain(
        scale_by_acprop(b1, b2, eps, eps_root),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )
