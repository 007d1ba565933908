"""FTRL-proximal: AdaGrad with penalties, whose L1 part makes entries exactly zero.

With gradients g_t, learning rate a_t, and penalties l1 and l2 of the sum of all losses so far (so
their weight relative to the losses shrinks), each step solves

    n_t = n_{t-1} + g_t^2,   A_t = (beta + sqrt(n_t)) / a_t
    z_t = z_{t-1} + g_t - (A_t - A_{t-1}) w_t
    w_{t+1} = argmin over w of z_t w + l1 |w| + (A_t + l2) w^2 / 2
            = 0 where |z_t| <= l1, else -(z_t - sign(z_t) l1) / (A_t + l2)

Where w_t is not zero, the condition of that minimum gives z_{t-1} = -A_{t-1} w_t - l2 w_t -
l1 sign(w_t), so z is needed only where w_t is zero. Hence the start may be any params, not only
zeros as in the paper, and the learning rate may follow a schedule or be zero:

    w_{t+1} = soft((beta + sqrt(n_t)) w_t - a_t (z + g_t), a_t l1) / (beta + sqrt(n_t) + a_t l2)

with that z, and soft(x, y) = sign(x) max(|x| - y, 0). Without penalties it is AdaGrad with beta
added to the square root.

Reference: McMahan et al., "Ad Click Prediction: a View from the Trenches", 2013,
https://research.google/pubs/pub41159/, algorithm 1 (alpha there is the learning rate).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, ScalarLike

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    Params,
    ScalarOrSchedule,
    checks,
    numerics,
    tree,
)


class FtrlState(NamedTuple):
    """State of the FTRL optimizer.

    step: number of updates so far, int32[], at which a schedule is evaluated.
    z: z_t, shaped like the params, float32 or wider; used only where a param is zero.
    n: sum of squared gradients, likewise.
    """

    step: Int[Array, ""]
    z: Params
    n: Params


def ftrl(
    learning_rate: ScalarOrSchedule,
    beta: ScalarLike = 1.0,
    l1: ScalarLike = 0.0,
    l2: ScalarLike = 0.0,
) -> GradientTransformationExtraArgs:
    """FTRL-proximal, AdaGrad with penalties that make entries exactly zero.

    Zeros are exact if gradients have at least the precision of the params.

    Args:
        learning_rate: the learning rate, in [0, inf), or a schedule of the step count.
        beta: added to the square root of the sum of squares, in [0, inf).
        l1: weight of |w|, in [0, inf). An entry leaves zero once its gradients sum to more than l1,
            and stops at zero instead of crossing it.
        l2: weight of w^2 / 2, in [0, inf).

    Examples:
        >>> tx = ftrl(1.0, l1=1.0)
    """
    checks.learning_rate("ftrl", learning_rate)
    checks.numbers("ftrl", "[0, inf)", beta=beta, l1=l1, l2=l2)

    def init(params):
        n = tree.real_accumulator_like(params)
        return FtrlState(jnp.zeros((), jnp.int32), tree.accumulator_like(params), n)

    def update(updates, state, params=None, **extra_args):
        checks.state("ftrl", state, FtrlState)
        checks.params("ftrl", params, updates)
        rate = numerics.at_count(learning_rate, state.step)
        rates, betas, l1s, l2s = (numerics.in_dtype(x) for x in (rate, beta, l1, l2))
        old, grads = tree.cast_like(params, state.z), tree.cast_like(updates, state.z)
        n = tree.running_sum(state.n, tree.squared(updates), 1.0)

        def pushed(w: Array, g: Array, z: Array) -> Array:
            """z_{t-1} + A_{t-1} w_t + g_t."""
            penalty = l1s(z.dtype) * jnp.sign(w) + l2s(z.dtype) * w
            return g + jnp.where(w != 0, -penalty, z)

        def solved(w: Array, push: Array, root: Array) -> Array:
            rate, l1, l2 = (x(root.dtype) for x in (rates, l1s, l2s))
            point = root.astype(w.dtype) * w - rates(w.dtype) * push
            size = jnp.maximum(jnp.abs(point) - rate * l1, 0).astype(w.dtype)
            denominator = (root + rate * l2).astype(w.dtype)
            solution = numerics.safe_divide(jnp.sign(point) * size, denominator)
            return jnp.where(denominator != 0, solution, w)

        def remembered(w: Array, push: Array, root: Array) -> Array:
            rate = jnp.broadcast_to(rates(w.dtype), w.shape)
            return push - numerics.safe_divide(root.astype(w.dtype) * w, rate)

        roots = jax.tree.map(lambda total: betas(total.dtype) + numerics.safe_sqrt(total), n)
        push = jax.tree.map(pushed, old, grads, state.z)
        new = jax.tree.map(solved, old, push, roots)
        z = jax.tree.map(remembered, old, push, roots)
        moves = tree.cast_like(tree.sub(new, old), updates)
        return moves, FtrlState(numerics.safe_increment(state.step), z, n)

    return GradientTransformationExtraArgs(init, update)
