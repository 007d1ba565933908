"""Adan: Adam with Nesterov momentum that is estimated from the differences of gradients.

With gradients g_t, differences d_t = g_t - g_{t-1} (d_1 = 0), learning rate a_t, weight decay e,

    m_t = b1 m_{t-1} + (1 - b1) g_t
    v_t = b2 v_{t-1} + (1 - b2) d_t
    n_t = b3 n_{t-1} + (1 - b3) (g_t + c d_t)^2
    w  <- w - a_t ((m_hat + c v_hat) / (sqrt(n_hat + eps_root) + eps) + e w)

where hats denote Adam's bias correction. The paper has c = b2 (its beta is 1 - b); optax 0.2.8 has
c = 1 - b2, which is 0.08 instead of 0.92, and is the default here. ``as_published`` selects the
paper's c. Weights decay as in AdamW, where the paper divides the new ones by 1 + a_t e.

Reference: Xie et al., "Adan: Adaptive Nesterov Momentum Algorithm for Faster Optimizing Deep
Models", 2022, algorithm 1, https://arxiv.org/abs/2208.06677.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, ScalarLike

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    Mask,
    Params,
    ScalarOrSchedule,
    checks,
    numerics,
    tree,
)
from jaxopt_course.transforms import add_decayed_weights, chain, scale_by_learning_rate

from ._adam import check_moments


class ScaleByAdanState(NamedTuple):
    """State of the Adan transformation.

    m: running mean of gradients, shaped like the params, float32 or wider.
    v: running mean of the differences of successive gradients, likewise.
    n: running mean of squares of gradients plus their weighted differences, likewise.
    g: the previous gradient, likewise.
    t: number of updates so far, int32[].
    """

    m: Params
    v: Params
    n: Params
    g: Params
    t: Int[Array, ""]


def scale_by_adan(
    b1: ScalarLike = 0.98,
    b2: ScalarLike = 0.92,
    b3: ScalarLike = 0.99,
    eps: ScalarLike = 1e-8,
    eps_root: ScalarLike = 0.0,
    *,
    as_published: bool = False,
) -> GradientTransformationExtraArgs:
    """Rescale gradients by Adan's moments. Arguments are those of :func:`adan`."""
    checks.flag("scale_by_adan", "as_published", as_published)
    check_moments("scale_by_adan", b1, b2, eps, eps_root)
    checks.number("scale_by_adan", "b3", b3, "[0, 1)")
    ahead = b2 if as_published else 1 - b2

    def init(params):
        m, v, g = (tree.accumulator_like(params) for _ in range(3))
        n = tree.real_accumulator_like(params)
        return ScaleByAdanState(m, v, n, g, jnp.zeros((), jnp.int32))

    def update(updates, state, params=None, **extra_args):
        checks.step("scale_by_adan", updates, state, ScaleByAdanState, "n")
        t, first = numerics.safe_increment(state.t), state.t == 0
        g = tree.cast_like(updates, state.g)
        change = jax.tree.map(lambda new, old: jnp.where(first, 0, new - old), g, state.g)
        m, v = tree.update_moment(g, state.m, b1, 1), tree.update_moment(change, state.v, b2, 1)
        n = tree.update_moment(tree.running_sum(change, g, ahead), state.n, b3, 2)
        m_hat, v_hat, n_hat = (
            tree.bias_correction(mean, b, t) for mean, b in ((m, b1), (v, b2), (n, b3))
        )
        scaled = tree.divide_by_root(tree.running_sum(v_hat, m_hat, ahead), n_hat, eps, eps_root)
        return tree.cast_like(scaled, updates), ScaleByAdanState(m, v, n, g, t)

    return GradientTransformationExtraArgs(init, update)


def adan(
    learning_rate: ScalarOrSchedule,
    b1: ScalarLike = 0.98,
    b2: ScalarLike = 0.92,
    b3: ScalarLike = 0.99,
    eps: ScalarLike = 1e-8,
    eps_root: ScalarLike = 1e-8,
    weight_decay: ScalarOrSchedule = 0.0,
    mask: Mask | None = None,
    *,
    as_published: bool = False,
) -> GradientTransformationExtraArgs:
    """Adan, with Nesterov momentum from differences of gradients, and decoupled weight decay.

    Args:
        learning_rate: the learning rate, in [0, inf), or a schedule of the step count.
        b1: decay rate of the running mean of gradients, in [0, 1).
        b2: decay rate of the running mean of their differences, in [0, 1).
        b3: decay rate of the running mean of squares, in [0, 1).
        eps: added to the square root in the denominator, in [0, inf).
        eps_root: added to the second moment inside the square root, in [0, inf).
        weight_decay: decoupled weight decay, in [0, inf), or a schedule; times the learning rate.
        mask: leaves that decay, as for :func:`adamw`; all by default.
        as_published: weigh the differences by b2 as in the paper, instead of by 1 - b2 as in optax.

    Examples:
        >>> tx = adan(1e-3, as_published=True)
    """
    return chain(
        scale_by_adan(b1, b2, b3, eps, eps_root, as_published=as_published),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )
