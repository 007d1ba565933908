"""Sophia: momentum over an estimate of the Hessian's diagonal, clipped entry by entry.

With gradients g_t, learning rate a_t, and every k steps an estimate h of the diagonal,

    m_t = b1 m_{t-1} + (1 - b1) g_t
    u_t = clip(m_hat / max(gamma H, eps), -rho, rho)
    w  <- w - a_t (u_t + d w)
    H  <- b2 H + (1 - b2) h                 when t - 1 is a multiple of k

The estimate is Hutchinson's, see :func:`hutchinson_estimator_diag_hessian`. Where the curvature
is small or negative the step is the sign of m, times rho.

Reference: Liu et al., "Sophia: A Scalable Stochastic Second-order Optimizer for Language Model
Pre-training", 2023, algorithms 1 and 3, https://arxiv.org/abs/2305.14342. As in optax, m is
corrected for its start, z are signs instead of normal numbers, and an estimate serves from the
next step on; the first step is one of signs.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, DTypeLike, Int, PyTree, ScalarLike

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    Params,
    ScalarOrSchedule,
    State,
    Updates,
    checks,
    numerics,
    tree,
)
from jaxopt_course.transforms import add_decayed_weights, chain, scale_by_learning_rate

from ._hutchinson import hutchinson_estimator_diag_hessian


class SophiaState(NamedTuple):
    """What the next step needs from the past.

    count: how many updates have been made, int32[].
    mu: running mean of gradients, shaped like the params, float32 or wider.
    nu: running mean of the Hessian's diagonals, likewise.
    hessian_fn_state: the state of what estimates them.
    """

    count: Int[Array, ""]
    mu: Params
    nu: Params
    hessian_fn_state: State


def scale_by_sophia(
    b1: ScalarLike = 0.965,
    b2: ScalarLike = 0.99,
    eps: ScalarLike = 1e-8,
    gamma: ScalarLike = 0.01,
    clip_threshold: ScalarLike | None = 1.0,
    update_interval: ScalarLike = 10,
    hessian_diagonal_fn: optax.GradientTransformation | None = None,
    mu_dtype: DTypeLike | None = None,
    verbose: bool = False,
    print_win_rate_every_n_steps: ScalarLike = 0,
) -> GradientTransformationExtraArgs:
    """Divide the running mean by the curvature, and clip what comes out.

    Args:
        b1: decay of the running mean of gradients, in [0, 1).
        b2: decay of the running mean of curvatures, in [0, 1).
        eps: the least denominator, in [0, inf).
        gamma: weight of the curvature, in [0, inf).
        clip_threshold: rho, in [0, inf): the largest entry; None for no limit.
        update_interval: k, steps from one estimate to the next, in [1, inf), rounded.
        hessian_diagonal_fn: a transformation whose updates are the estimate; its ``update``
            gets the gradients and all extra arguments.
            :func:`hutchinson_estimator_diag_hessian` by default.
        mu_dtype: dtype in which the running mean is kept; float32 or wider by default.
        verbose: print the share of entries that were not clipped.
        print_win_rate_every_n_steps: how often, in [0, inf), rounded; 0 for never.

    Returns:
        A transformation whose updates point uphill, with entries of at most rho; ``update``
        needs the params, and by default the loss as ``obj_fn`` or ``value_fn``.

    Raises:
        ValueError: if a number lies outside its range.
    """
    checks.flag("scale_by_sophia", "verbose", verbose)
    checks.dtype("scale_by_sophia", "mu_dtype", mu_dtype)
    checks.number("scale_by_sophia", "b1", b1, "[0, 1)")
    checks.number("scale_by_sophia", "b2", b2, "[0, 1)")
    checks.number("scale_by_sophia", "eps", eps, "[0, inf)")
    checks.number("scale_by_sophia", "gamma", gamma, "[0, inf)")
    if clip_threshold is not None:
        checks.number("scale_by_sophia", "clip_threshold", clip_threshold, "[0, inf)")
    checks.number("scale_by_sophia", "update_interval", update_interval, "[1, inf)")
    every = print_win_rate_every_n_steps
    checks.number("scale_by_sophia", "print_win_rate_every_n_steps", every, "[0, inf)")
    estimator = hutchinson_estimator_diag_hessian()
    if hessian_diagonal_fn is not None:
        estimator = checks.transformation(
            "scale_by_sophia", "hessian_diagonal_fn", hessian_diagonal_fn
        )

    def init(params):
        mu, nu = tree.accumulator_like(params, mu_dtype), tree.accumulator_like(params)
        return SophiaState(jnp.zeros((), jnp.int32), mu, nu, estimator.init(params))

    def update(updates, state, params=None, **extra_args):
        checks.state("scale_by_sophia", state, SophiaState)
        checks.params("scale_by_sophia", params)
        checks.like("scale_by_sophia", "gradient", updates, state.mu)
        count = numerics.safe_increment(state.count)
        mu = tree.update_moment(updates, state.mu, b1, 1)
        least, weight = numerics.in_dtype(eps), numerics.in_dtype(gamma)

        def divided(m: Array, h: Array) -> Array:
            return numerics.safe_divide(
                m, jnp.maximum(weight(m.dtype) * h.astype(m.dtype), least(m.dtype))
            )

        steps = jax.tree.map(divided, tree.bias_correction(mu, b1, count), state.nu)
        if clip_threshold is not None:
            bound = numerics.in_dtype(clip_threshold)
            clipped = lambda u: jnp.clip(u, -bound(u.dtype), bound(u.dtype))
            if verbose:
                _print_win_rate(
                    steps, clip_threshold, numerics.is_due(count, every) & (jnp.asarray(every) > 0)
                )
            steps = jax.tree.map(clipped, steps)

        def estimated() -> tuple[Params, State]:
            diagonal, new_state = estimator.update(
                updates, state.hessian_fn_state, params, **extra_args
            )
            return tree.cast_like(
                tree.update_moment(diagonal, state.nu, b2, 1), state.nu
            ), new_state

        nu, estimator_state = jax.lax.cond(
            numerics.is_due(state.count, update_interval),
            estimated,
            lambda: (state.nu, state.hessian_fn_state),
        )
        new_state = SophiaState(count, tree.cast_like(mu, state.mu), nu, estimator_state)
        return tree.cast_like(steps, updates), new_state

    return GradientTransformationExtraArgs(init, update)


def sophia(
    learning_rate: ScalarOrSchedule,
    b1: ScalarLike = 0.965,
    b2: ScalarLike = 0.99,
    eps: ScalarLike = 1e-8,
    weight_decay: ScalarOrSchedule = 1e-4,
    weight_decay_mask: PyTree | Callable[[Params], PyTree] | None = None,
    gamma: ScalarLike = 0.01,
    clip_threshold: ScalarLike | None = 1.0,
    update_interval: ScalarLike = 10,
    hessian_diagonal_fn: optax.GradientTransformation | None = None,
    mu_dtype: DTypeLike | None = None,
    verbose: bool = False,
    print_win_rate_every_n_steps: ScalarLike = 0,
) -> GradientTransformationExtraArgs:
    """Sophia with decoupled weight decay.

    Args:
        learning_rate: a_t, in [0, inf), or a schedule of the step count. Lower than AdamW's.
        b1: decay of the running mean of gradients, in [0, 1).
        b2: decay of the running mean of curvatures, in [0, 1).
        eps: the least denominator, in [0, inf).
        weight_decay: d, in [0, inf), or a schedule; multiplied by the learning rate.
        weight_decay_mask: a tree of bools shaped like (a prefix of) the params, or a function
            of the params that returns one: which leaves decay. All by default.
        gamma: weight of the curvature, in [0, inf): such that a tenth to a half of the
            entries are not clipped.
        clip_threshold: rho, in [0, inf): the largest entry; None for no limit.
        update_interval: k, steps from one estimate to the next, in [1, inf), rounded.
        hessian_diagonal_fn: as in :func:`scale_by_sophia`.
        mu_dtype: dtype in which the running mean is kept; float32 or wider by default.
        verbose: print the share of entries that were not clipped.
        print_win_rate_every_n_steps: how often, in [0, inf), rounded; 0 for never.

    Returns:
        A transformation whose updates are to be added to the params; ``update`` needs them,
        and by default the loss as ``obj_fn`` or ``value_fn``.

    Raises:
        ValueError: if a number lies outside its range.

    Examples:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> loss = lambda w: (w[0] ** 2 + 1000 * w[1] ** 2) / 2
        >>> params, tx = jnp.array([3.0, -2.0]), sophia(0.1, gamma=1.0)
        >>> update = jax.jit(lambda s, w: tx.update(jax.grad(loss)(w), s, w, obj_fn=loss))
        >>> state = tx.init(params)
        >>> for _ in range(200):
        ...     updates, state = update(state, params)
        ...     params = params + updates
        >>> bool(loss(params) < 1e-2)
        True
    """
    return chain(
        scale_by_sophia(
            b1,
            b2,
            eps,
            gamma,
            clip_threshold,
            update_interval,
            hessian_diagonal_fn,
            mu_dtype,
            verbose,
            print_win_rate_every_n_steps,
        ),
        add_decayed_weights(weight_decay, weight_decay_mask),
        scale_by_learning_rate(learning_rate),
    )


def _print_win_rate(steps: Updates, bound: ScalarLike, now: Array) -> None:
    leaves = jax.tree.leaves(steps)
    inside = sum((jnp.sum(jnp.abs(u) < jnp.asarray(bound, u.dtype)) for u in leaves), jnp.array(0))
    rate = numerics.as_float(inside) / max(sum(u.size for u in leaves), 1)
    jax.lax.cond(now, lambda: jax.debug.print("Sophia optimizer win rate: {}", rate), lambda: None)
