"""MADGRAD: momentum and a cube root of summed squares, by dual averaging.

With gradients g_t, t from 0, first params w_0, learning rate a_t and momentum d,

    l_t = (a_t + eps) sqrt(t + 1)
    G_t = G_{t-1} + l_t g_t^2
    s_t = s_{t-1} + l_t g_t
    z_t = w_0 - s_t / (cbrt(G_t) + eps)
    w  <- d w + (1 - d) z_t

Every iterate is computed from the first one. The eps beside the rate is the authors' code's
(and optax's), not the paper's: at a rate of 0 the method still moves.

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


LEAST_ROOT = 1e-18  # for eps = 0 before any gradient; its inverse square is finite in float32


class MadgradState(NamedTuple):
    """What the next step needs from the past.

    count: how many updates have been made, int32[].
    grad_sum_sq: G, weighted sum of squared gradients, shaped like the params, float32 or wider.
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
    """The steps of MADGRAD, downhill and with the learning rate inside.

    Args:
        learning_rate: a_t, in [0, inf), or a schedule of the step count.
        momentum: d, the weight of the present params, in [0, 1).
        eps: added to the rate and to the cube root, in [0, inf).

    Returns:
        A transformation whose updates are to be added to the params; ``update`` needs them.

    Raises:
        ValueError: if a number lies outside its range.
    """
    checks.learning_rate("scale_by_madgrad", learning_rate)
    checks.number("scale_by_madgrad", "momentum", momentum, "[0, 1)")
    checks.number("scale_by_madgrad", "eps", eps, "[0, inf)")

    def init(params):
        return MadgradState(
            count=jnp.zeros((), jnp.int32),
            grad_sum_sq=tree.real_accumulator_like(params),
            s=tree.accumulator_like(params),
            x0=jax.tree.map(jnp.copy, params),  # so that the params may be donated
        )

    def update(updates, state, params=None, **extra_args):
        checks.state("scale_by_madgrad", state, MadgradState)
        checks.params("scale_by_madgrad", params)
        checks.like("scale_by_madgrad", "gradient", updates, state.x0)
        rate = numerics.at_count(learning_rate, state.count)
        weight = (numerics.as_float(rate) + numerics.as_float(eps)) * jnp.sqrt(
            numerics.as_float(state.count) + 1
        )
        grads, smallest = tree.cast_like(updates, state.s), numerics.in_dtype(eps)
        grad_sum_sq = tree.running_sum(tree.squared(grads), state.grad_sum_sq, weight)
        s = tree.running_sum(grads, state.s, weight)

        def way(s: Array, squares: Array) -> Array:
            root = jnp.maximum(_safe_cbrt(squares) + smallest(squares.dtype), LEAST_ROOT)
            return s / root.astype(s.dtype)

        away = tree.sub(state.x0, params)  # z - w is this less the way from x0
        moves = tree.scale(
            tree.sub(away, jax.tree.map(way, s, grad_sum_sq)),
            numerics.complement(momentum, weight.dtype),
        )
        return tree.cast_like(moves, updates), MadgradState(
            numerics.safe_increment(state.count), grad_sum_sq, s, state.x0
        )

    return GradientTransformationExtraArgs(init, update)


@jax.custom_jvp
def _safe_cbrt(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """The cube root, with slope 0 at 0, where the true one is infinite."""
    return jnp.cbrt(x)


@_safe_cbrt.defjvp
def _safe_cbrt_jvp(primals, tangents):  # type: ignore[no-untyped-def]
    (x,), (dx,) = primals, tangents
    root, seen = jnp.cbrt(x), x > 0
    slope = jnp.where(seen, 1 / (3 * jnp.where(seen, root, jnp.ones_like(root)) ** 2), 0)
    return root, slope * dx


def madgrad(
    learning_rate: ScalarOrSchedule,
    momentum: ScalarLike = 0.9,
    weight_decay: ScalarOrSchedule = 0.0,
    eps: ScalarLike = 1e-6,
) -> GradientTransformationExtraArgs:
    """MADGRAD with coupled weight decay.

    Args:
        learning_rate: a_t, in [0, inf), or a schedule of the step count. Of SGD's size.
        momentum: d, the weight of the present params, in [0, 1).
        weight_decay: added to the gradients times the params, in [0, inf), or a schedule.
        eps: added to the rate and to the cube root, in [0, inf).

    Returns:
        A transformation whose updates are to be added to the params; ``update`` needs them.

    Raises:
        ValueError: if a number lies outside its range.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> params, tx = jnp.array([3.0, -2.0]), madgrad(0.5)
        >>> state, update = tx.init(params), jax.jit(tx.update)
        >>> for _ in range(300):
        ...     updates, state = update(2 * params, state, params)
        ...     params = params + updates
        >>> bool(jnp.linalg.norm(params) < 1e-2)
        True
    """
    return chain(add_decayed_weights(weight_decay), scale_by_madgrad(learning_rate, momentum, eps))
