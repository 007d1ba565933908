"""Adadelta: steps in the units of the parameters, from a running mean of their own squares.

With gradients g_t (plus d w_t where there is a weight decay d) and learning rate a_t,

    s_t = rho s_{t-1} + (1 - rho) g_t^2
    x_t = sqrt(r_{t-1} + eps) / sqrt(s_t + eps) g_t
    r_t = rho r_{t-1} + (1 - rho) x_t^2
    w  <- w - a_t x_t

The paper has no learning rate: it is 1 here unless given. The decay is coupled, it goes through
both means as in optax and torch. (optax's default rate, None, drops the minus sign and ascends.)

Reference: Zeiler, "ADADELTA: An Adaptive Learning Rate Method", 2012, algorithm 1,
https://arxiv.org/abs/1212.5701.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
from jaxtyping import Array, PyTree, ScalarLike

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    Params,
    ScalarOrSchedule,
    checks,
    numerics,
    tree,
)
from jaxopt_course.transforms import add_decayed_weights, chain, scale_by_learning_rate


class ScaleByAdaDeltaState(NamedTuple):
    """What the next step needs from the past.

    e_g: running mean of squared gradients, shaped like the params, float32 or wider.
    e_x: running mean of squared steps, likewise.
    """

    e_g: Params
    e_x: Params


def scale_by_adadelta(
    rho: ScalarLike = 0.9, eps: ScalarLike = 1e-6
) -> GradientTransformationExtraArgs:
    """Multiply each entry by the root mean square of its steps, over that of its gradients.

    Args:
        rho: decay of both running means, in [0, 1).
        eps: added to both means inside the roots, in [0, inf). At 0 nothing ever moves.

    Returns:
        A transformation whose updates point uphill, at first about sqrt(eps) large.

    Raises:
        ValueError: if a number lies outside its range.
    """
    checks.number("scale_by_adadelta", "rho", rho, "[0, 1)")
    checks.number("scale_by_adadelta", "eps", eps, "[0, inf)")

    def init(params):
        return ScaleByAdaDeltaState(
            tree.real_accumulator_like(params), tree.real_accumulator_like(params)
        )

    def update(updates, state, params=None, **extra_args):
        checks.state("scale_by_adadelta", state, ScaleByAdaDeltaState)
        checks.like("scale_by_adadelta", "gradient", updates, state.e_g)
        added = numerics.nonzero_in_dtype(eps)

        def rescaled(g: Array, x: Array, s: Array) -> Array:
            ratio = (x + added(x.dtype)) / (s + added(s.dtype))
            return numerics.safe_sqrt(ratio).astype(g.dtype) * g

        e_g = tree.update_moment(updates, state.e_g, rho, 2)
        steps = jax.tree.map(rescaled, tree.widened(updates), state.e_x, e_g)
        e_x = tree.update_moment(steps, state.e_x, rho, 2)
        return tree.cast_like(steps, updates), ScaleByAdaDeltaState(e_g, e_x)

    return GradientTransformationExtraArgs(init, update)


def adadelta(
    learning_rate: ScalarOrSchedule = 1.0,
    rho: ScalarLike = 0.9,
    eps: ScalarLike = 1e-6,
    weight_decay: ScalarOrSchedule = 0.0,
    weight_decay_mask: PyTree | Callable[[Params], PyTree] | None = None,
) -> GradientTransformationExtraArgs:
    """Adadelta, with coupled weight decay.

    Args:
        learning_rate: a_t, in [0, inf), or a schedule of the step count; the paper's is 1.
        rho: decay of both running means, in [0, 1).
        eps: added to both means inside the roots, in [0, inf).
        weight_decay: d, in [0, inf), or a schedule: the gradient of a penalty d/2 |w|^2.
        weight_decay_mask: a tree of bools shaped like (a prefix of) the params, or a function
            of the params that returns one: which leaves decay. All by default.

    Returns:
        A transformation whose updates are to be added to the params; ``update`` needs them.

    Raises:
        ValueError: if a number lies outside its range.

    Examples:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> params, tx = jnp.array([0.3, -0.2]), adadelta(eps=1e-3)
        >>> state, update = tx.init(params), jax.jit(tx.update)
        >>> for _ in range(200):
        ...     updates, state = update(2 * params, state, params)
        ...     params = params + updates
        >>> bool(jnp.linalg.norm(params) < 1e-2)
        True
    """
    return chain(
        add_decayed_weights(weight_decay, weight_decay_mask),
        scale_by_adadelta(rho, eps),
        scale_by_learning_rate(learning_rate),
    )
