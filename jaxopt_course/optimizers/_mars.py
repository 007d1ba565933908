"""MARS: AdamW on gradients from which a part of their noise has been taken.

With gradients g_t, the first counting as g_0 too, learning rate a_t and b1, b2 of Adam,

    c_t = g_t + gamma b1 / (1 - b1) (g_t - g_{t-1})
    k_t = c_t / max(1, |c_t|)                              the norm is that of the whole tree
    w  <- w - a_t (Adam(k)_t + d w)

This is the approximate version, which reads the gradient of the last step where the exact one
evaluates today's batch at yesterday's params. The authors' code clips each leaf by itself.

Reference: Yuan et al., "MARS: Unleashing the Power of Variance Reduction for Training Large
Models", 2024, algorithm 2 (MARS-AdamW), https://arxiv.org/abs/2411.10438.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Int, PyTree, ScalarLike

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    Params,
    ScalarOrSchedule,
    checks,
    global_norm,
    numerics,
    tree,
)
from jaxopt_course.transforms import add_decayed_weights, chain, scale_by_learning_rate

from ._adam import ScaleByAdamState, check_moments, scale_by_adam


class ScaleByMarsState(NamedTuple):
    """What the next step needs from the past.

    count: how many updates have been made, int32[].
    mu: running mean of the corrected gradients, shaped like the params, float32 or wider.
    nu: running mean of their squares, likewise.
    prev_grads: the last gradient, likewise.
    """

    count: Int[Array, ""]
    mu: Params
    nu: Params
    prev_grads: Params


def scale_by_mars(
    b1: ScalarLike = 0.95,
    b2: ScalarLike = 0.99,
    eps: ScalarLike = 1e-8,
    eps_root: ScalarLike = 0.0,
    gamma: ScalarLike = 0.025,
    mu_dtype: DTypeLike | None = None,
) -> GradientTransformationExtraArgs:
    """Correct gradients by their change, clip them to norm 1, rescale them as Adam does.

    Args:
        b1: decay of the running mean, in [0, 1).
        b2: decay of the running mean of squares, in [0, 1).
        eps: added to the root, in [0, inf).
        eps_root: added to the squares inside the root, in [0, inf).
        gamma: strength of the correction, in [0, inf); 0 leaves clipping and Adam.
        mu_dtype: dtype in which the running mean is kept; float32 or wider by default.

    Returns:
        A transformation whose updates point uphill, with entries of magnitude about one.

    Raises:
        ValueError: if a number lies outside its range.
    """
    checks.dtype("scale_by_mars", "mu_dtype", mu_dtype)
    check_moments("scale_by_mars", b1, b2, eps, eps_root)
    checks.number("scale_by_mars", "gamma", gamma, "[0, inf)")
    moments = scale_by_adam(b1, b2, eps, eps_root, mu_dtype)

    def init(params):
        start = moments.init(params)
        return ScaleByMarsState(start.count, start.mu, start.nu, tree.accumulator_like(params))

    def update(updates, state, params=None, **extra_args):
        checks.state("scale_by_mars", state, ScaleByMarsState)
        checks.like("scale_by_mars", "gradient", updates, state.prev_grads)
        grads = tree.cast_like(updates, state.prev_grads)
        strength = numerics.as_float(gamma) * numerics.as_float(b1)
        strength /= numerics.complement(b1, strength.dtype)
        strength = jnp.where(state.count == 0, 0, strength)
        corrected = tree.running_sum(tree.sub(grads, state.prev_grads), grads, strength)
        clipped = tree.scale(corrected, 1 / jnp.maximum(global_norm(corrected), 1))
        scaled, adam = moments.update(
            clipped, ScaleByAdamState(state.count, state.mu, state.nu), params
        )
        return tree.cast_like(scaled, updates), ScaleByMarsState(
            adam.count, adam.mu, adam.nu, grads
        )

    return GradientTransformationExtraArgs(init, update)


def mars(
    learning_rate: ScalarOrSchedule,
    b1: ScalarLike = 0.95,
    b2: ScalarLike = 0.99,
    eps: ScalarLike = 1e-8,
    eps_root: ScalarLike = 0.0,
    gamma: ScalarLike = 0.025,
    mu_dtype: DTypeLike | None = None,
    weight_decay: ScalarOrSchedule = 0.0,
    mask: PyTree | Callable[[Params], PyTree] | None = None,
) -> GradientTransformationExtraArgs:
    """MARS-AdamW, the approximate version, with decoupled weight decay.

    Args:
        learning_rate: a_t, in [0, inf), or a schedule of the step count. 3e-3 is the paper's.
        b1: decay of the running mean, in [0, 1).
        b2: decay of the running mean of squares, in [0, 1).
        eps: added to the root, in [0, inf).
        eps_root: added to the squares inside the root, in [0, inf).
        gamma: strength of the correction, in [0, inf).
        mu_dtype: dtype in which the running mean is kept; float32 or wider by default.
        weight_decay: d, in [0, inf), or a schedule; multiplied by the learning rate.
        mask: a tree of bools shaped like (a prefix of) the params, or a function of the
            params that returns one: which leaves decay. All by default.

    Returns:
        A transformation whose updates are to be added to the params; ``update`` needs them.

    Raises:
        ValueError: if a number lies outside its range.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> params, tx = jnp.array([3.0, -2.0]), mars(0.1)
        >>> state, update = tx.init(params), jax.jit(tx.update)
        >>> for _ in range(500):
        ...     updates, state = update(2 * params, state, params)
        ...     params = params + updates
        >>> bool(jnp.linalg.norm(params) < 1e-2)
        True
    """
    return chain(
        scale_by_mars(b1, b2, eps, eps_root, gamma, mu_dtype),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )
