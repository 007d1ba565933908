"""Sophia: momentum over an estimate of the Hessian's diagonal, clipped entry by entry.

With gradients g_t, learning rate a_t, weight decay d, and an estimate h of the diagonal every k
steps,

    m_t = b1 m_{t-1} + (1 - b1) g_t
    u_t = clip(m_hat / max(gamma H, eps), -rho, rho)
    w  <- w - a_t (u_t + d w)
    H  <- b2 H + (1 - b2) h                 when t - 1 is a multiple of k

The estimate is Hutchinson's: h = z (Hessian z), entry by entry, with independent random signs z.
Its mean is the diagonal, because E[z_i z_j] is 1 where i = j and else 0. Where the curvature is
small or negative the step is rho times the sign of m. As in optax, m is bias-corrected, z are signs
instead of normal numbers, and an estimate is used from the next step on, so the first step is rho
times the sign of the gradient.

References: Liu et al., "Sophia: A Scalable Stochastic Second-order Optimizer for Language Model
Pre-training", 2023, algorithms 1 and 3, https://arxiv.org/abs/2305.14342; Hutchinson, "A stochastic
estimator of the trace of the influence matrix for Laplacian smoothing splines", 1989; Bekas,
Kokiopoulou & Saad, "An estimator for the diagonal of a matrix", 2007,
https://doi.org/10.1016/j.apnum.2007.01.003.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, DTypeLike, Int, ScalarLike

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    Mask,
    Params,
    ScalarOrSchedule,
    State,
    Updates,
    checks,
    hvp,
    numerics,
    tree,
)
from jaxopt_course.transforms import add_decayed_weights, chain, scale_by_learning_rate

from ._adam import check_moments


class HutchinsonState(NamedTuple):
    """State of the Hutchinson estimator.

    key: PRNG key of the next signs.
    """

    key: Array


def hutchinson_estimator_diag_hessian(
    random_seed: Array | None = None,
) -> GradientTransformationExtraArgs:
    """Replace updates by Hutchinson's unbiased estimate of the diagonal of the Hessian.

    ``update`` needs the loss, as a function of the params alone, as the extra argument ``obj_fn``
    or ``value_fn``. One estimate costs about two gradients.

    Args:
        random_seed: PRNG key of the random signs; that of seed 0 by default.

    Examples:
        >>> tx, params = hutchinson_estimator_diag_hessian(jax.random.key(0)), jnp.ones(2)
        >>> loss = lambda w: w[0] ** 2 + 3 * w[1] ** 2
        >>> tx.update(params, tx.init(params), params, obj_fn=loss)[0].tolist()
        [2.0, 6.0]
    """
    owner = "hutchinson_estimator_diag_hessian"

    def init(params):
        key = jax.random.PRNGKey(0) if random_seed is None else jnp.array(random_seed)
        return HutchinsonState(key)

    def update(updates, state, params=None, obj_fn=None, value_fn=None, **extra_args):
        checks.state(owner, state, HutchinsonState)
        checks.params(owner, params, updates)
        loss = value_fn if obj_fn is None else obj_fn
        if loss is None:
            raise ValueError(
                f"{owner} reads the loss: call "
                "`update(updates, state, params, obj_fn=loss)`, with a function of the params."
            )
        key, own = jax.random.split(state.key)
        signs = optax.tree_utils.tree_random_like(
            own, params, jax.random.rademacher, dtype=jnp.float32
        )
        signs = tree.cast_like(signs, params)
        estimate = jax.tree.map(jnp.multiply, signs, hvp(loss, params, signs))
        return tree.cast_like(estimate, updates), HutchinsonState(key)

    return GradientTransformationExtraArgs(init, update)


class SophiaState(NamedTuple):
    """State of the Sophia transformation.

    count: number of updates so far, int32[].
    mu: running mean of gradients, shaped like the params, float32 or wider.
    nu: running mean H of the Hessian's diagonals, likewise.
    hessian_fn_state: state of the estimator.
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
    """Divide the first moment by the curvature, and clip. Arguments are those of :func:`sophia`."""
    owner, every = "scale_by_sophia", print_win_rate_every_n_steps
    checks.flag(owner, "verbose", verbose)
    check_moments(owner, b1, b2, eps, mu_dtype=mu_dtype)
    checks.numbers(owner, "[0, inf)", gamma=gamma, print_win_rate_every_n_steps=every)
    if clip_threshold is not None:
        checks.number(owner, "clip_threshold", clip_threshold, "[0, inf)")
    checks.number(owner, "update_interval", update_interval, "[1, inf)")
    estimator = hutchinson_estimator_diag_hessian()
    if hessian_diagonal_fn is not None:
        estimator = checks.transformation(owner, "hessian_diagonal_fn", hessian_diagonal_fn)

    def init(params):
        mu, nu = tree.accumulator_like(params, mu_dtype), tree.accumulator_like(params)
        return SophiaState(jnp.zeros((), jnp.int32), mu, nu, estimator.init(params))

    def update(updates, state, params=None, **extra_args):
        checks.step(owner, updates, state, SophiaState, "mu")
        checks.params(owner, params)
        count = numerics.safe_increment(state.count)
        mu = tree.update_moment(updates, state.mu, b1, 1)
        steps = _divided(tree.bias_correction(mu, b1, count), state.nu, eps, gamma)
        if clip_threshold is not None:
            bound = numerics.in_dtype(clip_threshold)
            if verbose:
                is_due = numerics.is_due(count, every) & (jnp.asarray(every) > 0)
                _print_win_rate(steps, clip_threshold, is_due)
            clipped = lambda u: jnp.clip(u, -bound(u.dtype), bound(u.dtype))
            steps = jax.tree.map(clipped, steps)

        def estimated() -> tuple[Params, State]:
            estimate, new_state = estimator.update(
                updates, state.hessian_fn_state, params, **extra_args
            )
            nu = tree.update_moment(estimate, state.nu, b2, 1)
            return tree.cast_like(nu, state.nu), new_state

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
    weight_decay_mask: Mask | None = None,
    gamma: ScalarLike = 0.01,
    clip_threshold: ScalarLike | None = 1.0,
    update_interval: ScalarLike = 10,
    hessian_diagonal_fn: optax.GradientTransformation | None = None,
    mu_dtype: DTypeLike | None = None,
    verbose: bool = False,
    print_win_rate_every_n_steps: ScalarLike = 0,
) -> GradientTransformationExtraArgs:
    """Sophia, momentum over an estimate of the Hessian's diagonal, with decoupled weight decay.

    Args:
        learning_rate: the learning rate, in [0, inf), or a schedule; usually below AdamW's.
        b1: decay rate of the first moment, in [0, 1).
        b2: decay rate of the estimate H, in [0, 1).
        eps: smallest denominator, in [0, inf).
        weight_decay: decoupled weight decay, in [0, inf), or a schedule; times the learning rate.
        weight_decay_mask: leaves that decay, as for :func:`adamw`; all by default.
        gamma: factor of the curvature, in [0, inf); 10 % to 50 % of entries should not be clipped.
        clip_threshold: rho, largest entry of u_t, in [0, inf). None: no clipping.
        update_interval: k, number of steps between estimates, in [1, inf), rounded.
        hessian_diagonal_fn: transformation whose updates are the estimate; it receives the
            gradients and all extra arguments. By default :func:`hutchinson_estimator_diag_hessian`,
            whose ``update`` needs the loss as ``obj_fn`` or ``value_fn``.
        mu_dtype: dtype of the first moment; float32 or wider by default.
        verbose: whether to print the share of entries that are not clipped.
        print_win_rate_every_n_steps: steps between prints, in [0, inf), rounded; 0 for never.

    Examples:
        >>> tx, params, loss = sophia(1e-3), jnp.ones(3), lambda w: jnp.sum(w**2)
        >>> updates, state = tx.update(2 * params, tx.init(params), params, obj_fn=loss)
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


def _divided(mean: Updates, curvature: Params, eps: ScalarLike, gamma: ScalarLike) -> Updates:
    """``mean / max(gamma curvature, eps)``."""
    least, weight = numerics.in_dtype(eps), numerics.in_dtype(gamma)

    def divided(m: Array, h: Array) -> Array:
        denominator = jnp.maximum(weight(m.dtype) * h.astype(m.dtype), least(m.dtype))
        return numerics.safe_divide(m, denominator)

    return jax.tree.map(divided, mean, curvature)


def _print_win_rate(steps: Updates, bound: ScalarLike, now: Array) -> None:
    leaves = jax.tree.leaves(steps)
    inside = sum((jnp.sum(jnp.abs(u) < jnp.asarray(bound, u.dtype)) for u in leaves), jnp.array(0))
    rate = numerics.as_float(inside) / max(sum(u.size for u in leaves), 1)
    jax.lax.cond(now, lambda: jax.debug.print("Sophia optimizer win rate: {}", rate), lambda: None)
