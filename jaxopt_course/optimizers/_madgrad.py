"""MADGRAD: dual averaging with momentum and the cube root of summed squares.

With gradients g_t, t from 0, first params w_0, learning rate a_t and momentum d,

    l_t = (a_t + eps) sqrt(t + 1)
    G_t = G_{t-1} + l_t g_t^2
    s_t = s_{t-1} + l_t g_t
    z_t = w_0 - s_t / (cbrt(G_t) + eps)
    w  <- d w + (1 - d) z_t

The eps added to the learning rate is from the authors' code and optax, not from the paper: with a
learning rate of 0 the parameters still move.

Reference: Defazio & Jelassi, "Adaptivity without Compromise: A Momentumized, Adaptive, Dual
Averaged Gradient Method for Stochastic Optimization", 2021, algorithm 1,
https://arxiv.org/abs/2101.11075.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, ScalarLike

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    Params,
    ScalarOrSchedule,
    checks,
    numerics,
    tree,
)
from jaxopt_course.transforms import add_decayed_weights, chain


LEAST_ROOT = 1e-18  # if eps = 0, before any gradient; its inverse square is finite in float32


class MadgradState(NamedTuple):
    """State of the MADGRAD transformation.

    count: number of updates so far, int32[].
    grad_sum_sq: G, shaped like the params, float32 or wider.
    s: weighted sum of gradients, likewise.
    x0: w_0, the first params.
    """

    count: Int[Array, ""]
    grad_sum_sq: Params
    s: Params
    x0: Params


def scale_by_madgrad(
    learning_rate: ScalarOrSchedule, momentum: ScalarLike = 0.9, eps: ScalarLike = 1e-6
) -> GradientTransformationExtraArgs:
    """The steps of MADGRAD, negated and multiplied by the learning rate.

    Arguments are those of :func:`madgrad`.
    """
    checks.learning_rate("scale_by_madgrad", learning_rate)
    checks.number("scale_by_madgrad", "momentum", momentum, "[0, 1)")
    checks.number("scale_by_madgrad", "eps", eps, "[0, inf)")

    def init(params):
        grad_sum_sq, s = tree.real_accumulator_like(params), tree.accumulator_like(params)
        x0 = jax.tree.map(jnp.copy, params)  # a copy, because params may be donated
        return MadgradState(jnp.zeros((), jnp.int32), grad_sum_sq, s, x0)

    def update(updates, state, params=None, **extra_args):
        checks.step("scale_by_madgrad", updates, state, MadgradState, "x0")
        checks.params("scale_by_madgrad", params)
        rate = numerics.at_count(learning_rate, state.count)
        root_of_step = jnp.sqrt(numerics.as_float(state.count) + 1)
        weight = (numerics.as_float(rate) + numerics.as_float(eps)) * root_of_step
        grads, smallest = tree.cast_like(updates, state.s), numerics.in_dtype(eps)
        grad_sum_sq = tree.running_sum(tree.squared(grads), state.grad_sum_sq, weight)
        s = tree.running_sum(grads, state.s, weight)

        def divided(s: Array, squares: Array) -> Array:
            root = jnp.maximum(_safe_cbrt(squares) + smallest(squares.dtype), LEAST_ROOT)
            return s / root.astype(s.dtype)

        to_start = tree.sub(state.x0, params)
        to_z = tree.sub(to_start, jax.tree.map(divided, s, grad_sum_sq))
        moves = tree.scale(to_z, numerics.complement(momentum, weight.dtype))
        count = numerics.safe_increment(state.count)
        return tree.cast_like(moves, updates), MadgradState(count, grad_sum_sq, s, state.x0)

    return GradientTransformationExtraArgs(init, update)


def _safe_cbrt(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """The cube root, with derivative 0 at 0, where the true one is infinite."""
    positive = x > 0
    return jnp.where(positive, jnp.cbrt(jnp.where(positive, x, 1)), 0)


def madgrad(
    learning_rate: ScalarOrSchedule,
    momentum: ScalarLike = 0.9,
    weight_decay: ScalarOrSchedule = 0.0,
    eps: ScalarLike = 1e-6,
) -> GradientTransformationExtraArgs:
    """MADGRAD, dual averaging with momentum, and coupled weight decay.

    Args:
        learning_rate: the learning rate, in [0, inf), or a schedule of the step count; as for SGD.
        momentum: d, the weight of the current params, in [0, 1).
        weight_decay: coupled weight decay, in [0, inf), or a schedule.
        eps: added to the learning rate and to the cube root, in [0, inf).

    Examples:
        >>> tx = madgrad(0.5)
    """
    return chain(add_decayed_weights(weight_decay), scale_by_madgrad(learning_rate, momentum, eps))
