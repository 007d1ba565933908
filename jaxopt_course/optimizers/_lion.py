"""Lion: the sign of an interpolation between the gradient and its running mean.

With gradients g_t and learning rate a_t,

    u_t = sign(b1 m_{t-1} + (1 - b1) g_t)       the step: nearer to the gradient
    m_t = b2 m_{t-1} + (1 - b2) g_t             the memory: longer
    w  <- w - a_t (u_t + d w)                   with decoupled weight decay d

The refined form has clip(x, -1, 1) in the sign's place, the smooth one tanh(beta x): entries
whose gradients are small or disagree move less (``scale_by_lion(mode=)``).

Every entry moves by the same length, so rates are three to ten times smaller than Adam's, and
decays as many times larger.

Reference: Chen et al., "Symbolic Discovery of Optimization Algorithms", 2023, algorithm 2,
https://arxiv.org/abs/2302.06675.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Int, PyTree, ScalarLike

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    Params,
    ScalarOrSchedule,
    checks,
    numerics,
    tree,
)
from jaxopt_course.transforms import add_decayed_weights, chain, scale_by_learning_rate


class ScaleByLionState(NamedTuple):
    """What the next step needs from the past.

    count: how many updates have been made, int32[].
    mu: running mean of gradients, shaped like the params, float32 or wider.
    """

    count: Int[Array, ""]
    mu: Params


def scale_by_lion(
    b1: ScalarLike = 0.9,
    b2: ScalarLike = 0.99,
    mu_dtype: DTypeLike | None = None,
    *,
    mode: Literal["hard", "smooth", "refined"] = "hard",
    smooth_beta: ScalarLike = 1.0,
) -> GradientTransformationExtraArgs:
    """Replace each entry by the sign of its interpolation with its running mean.

    Args:
        b1: weight of the past in the step, in [0, 1).
        b2: weight of the past in the running mean, in [0, 1).
        mu_dtype: dtype in which the running mean is kept; float32 or wider by default.
        mode: the sign ("hard"), tanh ("smooth"), or a clip to [-1, 1] ("refined"). Complex
            entries keep their phase.
        smooth_beta: slope of the tanh at 0, in [0, inf); "smooth" alone reads it.

    Returns:
        A transformation whose updates point uphill, with entries from -1 to 1.

    Raises:
        ValueError: if a number lies outside its range.
    """
    checks.dtype("scale_by_lion", "mu_dtype", mu_dtype)
    checks.number("scale_by_lion", "b1", b1, "[0, 1)")
    checks.number("scale_by_lion", "b2", b2, "[0, 1)")
    checks.choice("scale_by_lion", "mode", mode, ("hard", "smooth", "refined"))
    checks.number("scale_by_lion", "smooth_beta", smooth_beta, "[0, inf)")

    def init(params):
        return ScaleByLionState(jnp.zeros((), jnp.int32), tree.accumulator_like(params, mu_dtype))

    def update(updates, state, params=None, **extra_args):
        checks.state("scale_by_lion", state, ScaleByLionState)
        checks.like("scale_by_lion", "gradient", updates, state.mu)
        bounded = _bounded(mode, smooth_beta)
        steps = jax.tree.map(bounded, tree.update_moment(updates, state.mu, b1, 1))
        mu = tree.cast_like(tree.update_moment(updates, state.mu, b2, 1), state.mu)
        return tree.cast_like(steps, updates), ScaleByLionState(
            numerics.safe_increment(state.count), mu
        )

    return GradientTransformationExtraArgs(init, update)


def _bounded(mode: str, smooth_beta: ScalarLike) -> Callable[[Array], Array]:
    """The sign, or one of its continuous relatives."""
    slope = numerics.in_dtype(smooth_beta)

    def smooth(x: Array) -> Array:
        if not jnp.iscomplexobj(x):
            return jnp.tanh(slope(x.dtype) * x)
        length = jnp.abs(x)
        return jnp.sign(x) * jnp.tanh(slope(length.dtype) * length).astype(x.dtype)

    def refined(x: Array) -> Array:
        return jnp.where(jnp.abs(x) < 1, x, jnp.sign(x))

    return {"hard": jnp.sign, "smooth": smooth, "refined": refined}[mode]


def lion(
    learning_rate: ScalarOrSchedule,
    b1: ScalarLike = 0.9,
    b2: ScalarLike = 0.99,
    mu_dtype: DTypeLike | None = None,
    weight_decay: ScalarOrSchedule = 1e-3,
    mask: PyTree | Callable[[Params], PyTree] | None = None,
) -> GradientTransformationExtraArgs:
    """Lion with decoupled weight decay.

    Args:
        learning_rate: a_t, in [0, inf), or a schedule of the step count. 1e-4 is usual.
        b1: weight of the past in the step, in [0, 1).
        b2: weight of the past in the running mean, in [0, 1).
        mu_dtype: dtype in which the running mean is kept; float32 or wider by default.
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
        >>> from jaxopt_course.schedules import linear_schedule
        >>> params, tx = jnp.array([3.0, -2.0]), lion(linear_schedule(0.1, 0.0, 200))
        >>> state, update = tx.init(params), jax.jit(tx.update)
        >>> for _ in range(200):
        ...     updates, state = update(2 * params, state, params)
        ...     params = params + updates
        >>> bool(jnp.max(jnp.abs(params)) < 1e-2)
        True
    """
    return chain(
        scale_by_lion(b1, b2, mu_dtype),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )
