"""Grafting: the direction of one transformation with the magnitude of another.

With the updates u_t of ``direction`` and v_t of ``magnitude`` for the same gradient, leaf by leaf,

    v_t                   for t <= start
    u_t |v_t| / |u_t|     afterwards, with the L2 norm of all entries of a leaf

References: Agarwal et al., "Disentangling Adaptive Gradient Methods from Learning Rates", 2020,
https://arxiv.org/abs/2002.11803, algorithm 1 by layers; Anil et al., "Scalable Second Order
Optimization for Deep Learning", 2020, https://arxiv.org/abs/2002.09018, for Shampoo and the start.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Inexact, Int, ScalarLike

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    State,
    checks,
    global_norm,
    numerics,
    states,
    tree,
)


class GraftedState(NamedTuple):
    """State of :func:`grafted`.

    count: number of updates so far, int32[].
    direction: the state of the transformation that gives the direction.
    magnitude: the state of the one that gives the norm.
    """

    count: Int[Array, ""]
    direction: State
    magnitude: State


def grafted(
    direction: optax.GradientTransformation,
    magnitude: optax.GradientTransformation,
    start: ScalarLike = 0,
) -> GradientTransformationExtraArgs:
    """Give each leaf the direction of one transformation and the norm of another.

    Both see every gradient. They should be scalings such as ``scale_by_shampoo()`` and
    ``scale_by_adam()``; momentum, weight decay and the learning rate follow in the chain.

    Args:
        direction: the transformation whose directions are used. Where it returns zero, so does this
            transformation.
        magnitude: the transformation whose norms are used; ``identity()`` is that of plain gradient
            descent.
        start: number of first updates that are those of ``magnitude`` alone, in [0, inf).

    Examples:
        >>> tx = grafted(optax.scale_by_sign(), optax.identity())
        >>> tx.update(jnp.array([2.0, 4.0, -4.0, 8.0]), tx.init(jnp.zeros(4)))[0].tolist()
        [5.0, 5.0, -5.0, 5.0]
    """
    checks.number("grafted", "start", start, "[0, inf)")
    direction = checks.transformation("grafted", "direction", direction)
    magnitude = checks.transformation("grafted", "magnitude", magnitude)

    def init(params):
        parts = direction.init(params), magnitude.init(params)
        for name, part in zip(("direction", "magnitude"), parts, strict=True):
            states.refuse_accumulation("grafted", name, part)
        return GraftedState(jnp.zeros((), jnp.int32), *parts)

    def update(updates, state, params=None, **extra_args):
        checks.state("grafted", state, GraftedState)
        u, one = direction.update(updates, state.direction, params, **extra_args)
        v, other = magnitude.update(updates, state.magnitude, params, **extra_args)
        checks.like("grafted", "update of `direction`", u, updates, "gradient")
        checks.like("grafted", "update of `magnitude`", v, updates, "gradient")
        begun = numerics.has_reached(state.count, start)
        steps = jax.tree.map(lambda u, v: jnp.where(begun, _resized(u, v), v), u, v)
        return steps, GraftedState(numerics.safe_increment(state.count), one, other)

    return GradientTransformationExtraArgs(init, update)


def _resized(u: Inexact[Array, "*shape"], v: Inexact[Array, "*shape"]) -> Inexact[Array, "*shape"]:
    """``u`` with the norm of ``v``, in the dtype of ``v``; 0 where ``u`` is 0."""
    norm = global_norm(u)
    unit = tree.divide(u, jnp.where(norm > 0, norm, 1))
    return tree.cast_like(tree.scale(unit, global_norm(v).astype(norm.dtype)), v)
