"""FTRL-proximal: AdaGrad with penalties, whose L1 part makes entries exactly zero.

Each step solves a small problem anew. With gradients g_t, learning rate a_t, and penalties l1
and l2 of the sum of all losses so far (not of each: their weight fades as the sum grows),

    n_t = n_{t-1} + g_t^2,   A_t = (beta + sqrt(n_t)) / a_t
    z_t = z_{t-1} + g_t - (A_t - A_{t-1}) w_t
    w_{t+1} = argmin over w of z_t w + l1 |w| + (A_t + l2) w^2 / 2
            = 0 where |z_t| <= l1, else -(z_t - sign(z_t) l1) / (A_t + l2)

The condition of that minimum gives z_{t-1} = -A_{t-1} w_t - l2 w_t - l1 sign(w_t) wherever w_t
is not zero: only where it is zero must z be remembered. So it may start at any params, not only
at the zeros of the paper, the rate may follow a schedule or be zero, and no entry is divided by
the rate:

    w_{t+1} = soft((beta + sqrt(n_t)) w_t - a_t (z + g_t), a_t l1) / (beta + sqrt(n_t) + a_t l2)

with the z just given, and soft(x, y) = sign(x) max(|x| - y, 0). Without penalties it is AdaGrad
with beta beside the root.

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
    """What the next step needs from the past.

    step: how many updates have been made, int32[]; a scheduled rate reads it.
    z: z_t, shaped like the params, float32 or wider. It is read where a param is zero: there
        it is the sum of the gradients that l1 has held back.
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
    """FTRL-proximal. It sets the params: the update is what leads from the old to the new.

    Args:
        learning_rate: a_t, in [0, inf), or a schedule of the step count.
        beta: added to the root of the sum of squares, in [0, inf).
        l1: weight of |w|, in [0, inf): an entry at zero leaves it once its gradients sum up to
            more than l1; one that would pass through zero stops there.
        l2: weight of w^2 / 2, in [0, inf).

    Returns:
        A transformation whose updates are to be added to the params; ``update`` needs them.
        Zeros are exact where gradients have at least the precision of the params.

    Raises:
        ValueError: if a number lies outside its range; from ``update``, without ``params``.

    Examples:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> params, tx = jnp.array([3.0, 0.0]), ftrl(1.0, l1=1.0)
        >>> state, update = tx.init(params), jax.jit(tx.update)
        >>> for t in range(200):
        ...     grads = jnp.array([2 * params[0], 0.9 * (-1) ** t])  # the second is but noise
        ...     updates, state = update(grads, state, params)
        ...     params = params + updates
        >>> bool(jnp.abs(params[0]) < 1e-3), float(params[1])
        (True, 0.0)
    """
    checks.learning_rate("ftrl", learning_rate)
    checks.number("ftrl", "beta", beta, "[0, inf)")
    checks.number("ftrl", "l1", l1, "[0, inf)")
    checks.number("ftrl", "l2", l2, "[0, inf)")

    def init(params):
        n = tree.real_accumulator_like(params)
        return FtrlState(jnp.zeros((), jnp.int32), tree.accumulator_like(params), n)

    def update(updates, state, params=None, **extra_args):
        checks.state("ftrl", state, FtrlState)
        checks.params("ftrl", params)
        checks.like("ftrl", "gradient", updates, params)
        rate = numerics.at_count(learning_rate, state.step)
        rates, betas, ones, twos = (numerics.in_dtype(x) for x in (rate, beta, l1, l2))
        old, grads = tree.cast_like(params, state.z), tree.cast_like(updates, state.z)
        n = tree.running_sum(state.n, tree.squared(updates), 1.0)

        def pushed(w: Array, g: Array, z: Array) -> Array:
            """z_{t-1} + A_{t-1} w_t + g_t."""
            penalty = ones(z.dtype) * jnp.sign(w) + twos(z.dtype) * w
            return g + jnp.where(w != 0, -penalty, z)

        def solved(w: Array, push: Array, root: Array) -> Array:
            rate, low, curvature = (x(root.dtype) for x in (rates, ones, twos))
            point = root.astype(w.dtype) * w - rates(w.dtype) * push
            size = jnp.maximum(jnp.abs(point) - rate * low, 0).astype(w.dtype)
            denominator = (root + rate * curvature).astype(w.dtype)
            return jnp.where(
                denominator != 0, numerics.safe_divide(jnp.sign(point) * size, denominator), w
            )

        def remembered(w: Array, push: Array, root: Array) -> Array:
            rate = jnp.broadcast_to(rates(w.dtype), w.shape)
            return push - numerics.safe_divide(root.astype(w.dtype) * w, rate)

        roots = jax.tree.map(lambda total: betas(total.dtype) + numerics.safe_sqrt(total), n)
        push = jax.tree.map(pushed, old, grads, state.z)
        new = jax.tree.map(solved, old, push, roots)
        z = jax.tree.map(remembered, old, push, roots)
        return tree.cast_like(tree.sub(new, old), updates), FtrlState(
            numerics.safe_increment(state.step), z, n
        )

    return GradientTransformationExtraArgs(init, update)
