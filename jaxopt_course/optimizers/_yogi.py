"""Yogi: Adam whose second moment changes in each step by a multiple of the squared gradient.

With gradients g_t, learning rate a_t, and m_0 = s_0 = ``initial_accumulator_value``,

    m_t = b1 m_{t-1} + (1 - b1) g_t
    s_t = s_{t-1} - (1 - b2) sign(s_{t-1} - g_t^2) g_t^2
    w  <- w - a_t m_hat / (sqrt(s_hat + eps_root) + eps)

where m_hat = m_t / (1 - b1^t) and s_hat = s_t / (1 - b2^t). When gradients become small, Adam's
second moment decreases geometrically and its steps become long; Yogi's decreases by at most g_t^2
a step. The initial values and the bias corrections are those of optax; the paper has no correction
and initializes s from a batch.

Reference: Zaheer et al., "Adaptive Methods for Nonconvex Optimization", 2018, algorithm 2,
https://papers.nips.cc/paper/8186-adaptive-methods-for-nonconvex-optimization.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, ScalarLike

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    Mask,
    ScalarOrSchedule,
    checks,
    numerics,
    tree,
)
from jaxopt_course.transforms import chain, scale_by_learning_rate

from ._adam import ScaleByAdamState, check_moments
from ._decay import decayed


def scale_by_yogi(
    b1: ScalarLike = 0.9,
    b2: ScalarLike = 0.999,
    eps: ScalarLike = 1e-3,
    eps_root: ScalarLike = 0.0,
    initial_accumulator_value: ScalarLike = 1e-6,
) -> GradientTransformationExtraArgs:
    """Rescale gradients by Yogi's moments. Arguments are those of :func:`yogi`.

    ``eps_root`` is added to the second moment inside the square root, and both moments start at
    ``initial_accumulator_value``, in [0, inf).
    """
    check_moments("scale_by_yogi", b1, b2, eps, eps_root)
    start = initial_accumulator_value
    checks.number("scale_by_yogi", "initial_accumulator_value", start, "[0, inf)")

    def init(params):
        mu = tree.accumulator_like(params, fill=start)
        nu = tree.real_accumulator_like(params, fill=start)
        return ScaleByAdamState(jnp.zeros((), jnp.int32), mu, nu)

    def update(updates, state, params=None, **extra_args):
        checks.step("scale_by_yogi", updates, state, ScaleByAdamState, "nu")
        count = numerics.safe_increment(state.count)
        step = functools.cache(lambda dtype: numerics.complement(b2, dtype))

        def moved(n: Array, square: Array) -> Array:
            square = square.astype(n.dtype)
            return n - step(n.dtype) * jnp.sign(n - square) * square

        mu = tree.update_moment(updates, state.mu, b1, 1)
        nu = jax.tree.map(moved, state.nu, tree.squared(updates))
        m_hat, n_hat = tree.bias_correction(mu, b1, count), tree.bias_correction(nu, b2, count)
        scaled = tree.cast_like(tree.divide_by_root(m_hat, n_hat, eps, eps_root), updates)
        return scaled, ScaleByAdamState(count, mu, nu)

    return GradientTransformationExtraArgs(init, update)


def yogi(
    learning_rate: ScalarOrSchedule,
    b1: ScalarLike = 0.9,
    b2: ScalarLike = 0.999,
    eps: ScalarLike = 1e-3,
    *,
    weight_decay: ScalarOrSchedule | None = None,
    mask: Mask | None = None,
) -> GradientTransformationExtraArgs:
    """Yogi, Adam whose second moment changes by bounded steps.

    Args:
        learning_rate: the learning rate, in [0, inf), or a schedule of the step count; often 1e-2.
        b1: decay rate of the first moment, in [0, 1).
        b2: 1 minus the step size of the second moment, in [0, 1).
        eps: added to the square root in the denominator, in [0, inf).
        weight_decay: decoupled weight decay, in [0, inf), or a schedule; times the learning rate.
            None: no decay.
        mask: leaves that decay, as for :func:`adamw`; all by default.

    Examples:
        >>> tx = yogi(1e-2)
    """
    return chain(
        scale_by_yogi(b1, b2, eps),
        *decayed("yogi", weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )
