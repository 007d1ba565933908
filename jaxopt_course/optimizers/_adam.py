"""Adam: a running mean of gradients over the root of a running mean of their squares.

With gradients g_t and learning rate a_t,

    m_t = b1 m_{t-1} + (1 - b1) g_t                       running mean
    v_t = b2 v_{t-1} + (1 - b2) g_t^2                     running mean of squares
    u_t = -a_t m_hat / (sqrt(v_hat + eps_root) + eps)     update

where m_hat = m_t / (1 - b1^t) and v_hat = v_t / (1 - b2^t) undo the pull of the zeros that m
and v start from. AdamW adds the decay -a_t d w_t to the update, beside the moments. NAdam and
NAdamW take for m_hat the mean one step ahead, b1 m_hat_{t+1} + (1 - b1) g_t / (1 - b1^t), with
one b1 throughout as in optax; Dozat and torch let it grow towards b1 (``momentum_decay``; torch
with an infinite one is this NAdam).

References: Kingma & Ba, "Adam: A Method for Stochastic Optimization", 2015, algorithm 1,
https://arxiv.org/abs/1412.6980; Dozat, "Incorporating Nesterov Momentum into Adam", 2016,
https://openreview.net/forum?id=OM0jvwB8jIp57ZJjtNEZ; Loshchilov & Hutter, "Decoupled Weight
Decay Regularization", 2019, algorithm 2, https://arxiv.org/abs/1711.05101.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Int, PyTree, ScalarLike

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    Params,
    ScalarOrSchedule,
    Updates,
    checks,
    numerics,
    tree,
)
from jaxopt_course.transforms import add_decayed_weights, chain, scale_by_learning_rate


class ScaleByAdamState(NamedTuple):
    """What the next step needs from the past.

    count: how many updates have been made, int32[].
    mu: running mean of gradients, shaped like the params, float32 or wider.
    nu: running mean of squared gradients, likewise.
    """

    count: Int[Array, ""]
    mu: Params
    nu: Params


def scale_by_adam(
    b1: ScalarLike = 0.9,
    b2: ScalarLike = 0.999,
    eps: ScalarLike = 1e-8,
    eps_root: ScalarLike = 0.0,
    mu_dtype: DTypeLike | None = None,
    *,
    nesterov: bool = False,
    bias_correction: bool = True,
) -> GradientTransformationExtraArgs:
    """Rescale each gradient entry by its own history, without a learning rate.

    Args:
        b1: decay of the running mean, in [0, 1).
        b2: decay of the running mean of squares, in [0, 1).
        eps: added to the root, in [0, inf).
        eps_root: added to the squares inside the root, in [0, inf).
        mu_dtype: dtype in which the running mean is kept; float32 or wider by default.
        nesterov: the mean one step ahead, b1 m_hat_{t+1} + (1 - b1) g_hat_t, as in NAdam.
        bias_correction: divide the means by 1 - b^t. One deck of the course leaves it out.

    Returns:
        A transformation whose updates point uphill, with entries of magnitude about one.

    Raises:
        ValueError: if a number lies outside its range.
    """
    checks.flag("scale_by_adam", "bias_correction", bias_correction)
    checks.flag("scale_by_adam", "nesterov", nesterov)
    checks.dtype("scale_by_adam", "mu_dtype", mu_dtype)
    check_moments("scale_by_adam", b1, b2, eps, eps_root)

    def init(params):
        return zero_moments(params, mu_dtype)

    def update(updates, state, params=None, **extra_args):
        checks.state("scale_by_adam", state, ScaleByAdamState)
        checks.like("scale_by_adam", "gradient", updates, state.nu)
        count = numerics.safe_increment(state.count)
        mu = tree.update_moment(updates, state.mu, b1, 1)
        nu = tree.update_moment(updates, state.nu, b2, 2)
        m = mean_of_step(mu, updates, b1, count, nesterov, bias_correction)
        v = tree.bias_correction(nu, b2, count) if bias_correction else nu
        scaled = tree.cast_like(tree.divide_by_root(m, v, eps, eps_root), updates)
        return scaled, ScaleByAdamState(count, tree.cast_like(mu, state.mu), nu)

    return GradientTransformationExtraArgs(init, update)


def check_moments(
    owner: str, b1: ScalarLike, b2: ScalarLike, eps: ScalarLike, eps_root: ScalarLike
) -> None:
    """Raise unless both decays lie in [0, 1) and both eps in [0, inf)."""
    checks.number(owner, "b1", b1, "[0, 1)")
    checks.number(owner, "b2", b2, "[0, 1)")
    checks.number(owner, "eps", eps, "[0, inf)")
    checks.number(owner, "eps_root", eps_root, "[0, inf)")


def zero_moments(params: Params, mu_dtype: DTypeLike | None = None) -> ScaleByAdamState:
    """Adam's state before the first gradient."""
    mu, nu = tree.accumulator_like(params, mu_dtype), tree.real_accumulator_like(params)
    return ScaleByAdamState(jnp.zeros((), jnp.int32), mu, nu)


def mean_of_step(
    mu: Params,
    updates: Updates,
    b1: ScalarLike,
    count: Int[Array, ""],
    nesterov: bool,
    bias_correction: bool = True,
) -> Updates:
    """m_hat_t; with Nesterov's momentum b1 m_hat_{t+1} + (1 - b1) g_t / (1 - b1^t).

    Args:
        mu: m_t, the running mean with the gradient of this step in it.
        updates: g_t.
        b1: decay of the running mean.
        count: t, from 1.
        nesterov: the mean one step ahead, as if the same gradient came again.
        bias_correction: without it the means stay as they are.
    """

    def unbiased(mean: Params, count: Int[Array, ""]) -> Params:
        return tree.bias_correction(mean, b1, count) if bias_correction else mean

    if not nesterov:
        return unbiased(mu, count)
    ahead = unbiased(mu, numerics.safe_increment(count))
    return tree.update_moment(unbiased(tree.cast_like(updates, mu), count), ahead, b1, 1)


def adam(
    learning_rate: ScalarOrSchedule,
    b1: ScalarLike = 0.9,
    b2: ScalarLike = 0.999,
    eps: ScalarLike = 1e-8,
    eps_root: ScalarLike = 0.0,
    mu_dtype: DTypeLike | None = None,
    *,
    nesterov: bool = False,
    bias_correction: bool = True,
) -> GradientTransformationExtraArgs:
    """Adam, as a chain of :func:`scale_by_adam` and the learning rate.

    Args:
        learning_rate: a_t, in [0, inf), or a schedule of the step count. 1e-3 is usual.
        b1: decay of the running mean, in [0, 1).
        b2: decay of the running mean of squares, in [0, 1).
        eps: added to the root, in [0, inf).
        eps_root: added to the squares inside the root, in [0, inf).
        mu_dtype: dtype in which the running mean is kept; float32 or wider by default.
        nesterov: the mean one step ahead, as in NAdam.
        bias_correction: divide the means by 1 - b^t.

    Returns:
        A transformation whose updates are to be added to the params.

    Raises:
        ValueError: if a number lies outside its range.

    Examples:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> params, tx = jnp.array([3.0, -2.0]), adam(0.1)
        >>> state, update = tx.init(params), jax.jit(tx.update)
        >>> for _ in range(200):
        ...     updates, state = update(2 * params, state)  # gradient of |params|^2
        ...     params = params + updates
        >>> bool(jnp.linalg.norm(params) < 1e-2)
        True
    """
    return chain(
        scale_by_adam(
            b1, b2, eps, eps_root, mu_dtype, nesterov=nesterov, bias_correction=bias_correction
        ),
        scale_by_learning_rate(learning_rate),
    )


def adamw(
    learning_rate: ScalarOrSchedule,
    b1: ScalarLike = 0.9,
    b2: ScalarLike = 0.999,
    eps: ScalarLike = 1e-8,
    eps_root: ScalarLike = 0.0,
    mu_dtype: DTypeLike | None = None,
    weight_decay: ScalarOrSchedule = 1e-4,
    mask: PyTree | Callable[[Params], PyTree] | None = None,
    *,
    nesterov: bool = False,
) -> GradientTransformationExtraArgs:
    """Adam with decoupled weight decay: w <- (1 - a_t d) w - a_t m_hat / (sqrt(v_hat) + eps).

    Args:
        learning_rate: a_t, in [0, inf), or a schedule of the step count. 1e-3 is usual.
        b1: decay of the running mean, in [0, 1).
        b2: decay of the running mean of squares, in [0, 1).
        eps: added to the root, in [0, inf).
        eps_root: added to the squares inside the root, in [0, inf).
        mu_dtype: dtype in which the running mean is kept; float32 or wider by default.
        weight_decay: d, in [0, inf), or a schedule; multiplied by the learning rate.
        mask: a tree of bools shaped like (a prefix of) the params, or a function of the
            params that returns one: which leaves decay. All by default.
        nesterov: the mean one step ahead, as in NAdamW.

    Returns:
        A transformation whose updates are to be added to the params; ``update`` needs them.

    Raises:
        ValueError: if a number lies outside its range.

    Examples:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> params, tx = jnp.array([3.0, -2.0]), adamw(0.1, weight_decay=0.1)
        >>> state, update = tx.init(params), jax.jit(tx.update)
        >>> for _ in range(200):
        ...     updates, state = update(2 * params, state, params)
        ...     params = params + updates
        >>> bool(jnp.linalg.norm(params) < 1e-2)
        True
    """
    return chain(
        scale_by_adam(b1, b2, eps, eps_root, mu_dtype, nesterov=nesterov),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )


def nadam(
    learning_rate: ScalarOrSchedule,
    b1: ScalarLike = 0.9,
    b2: ScalarLike = 0.999,
    eps: ScalarLike = 1e-8,
    eps_root: ScalarLike = 0.0,
    mu_dtype: DTypeLike | None = None,
) -> GradientTransformationExtraArgs:
    """:func:`adam` with Nesterov's momentum, the arguments its own.

    Args:
        learning_rate: a_t, in [0, inf), or a schedule of the step count.
        b1: decay of the running mean, in [0, 1).
        b2: decay of the running mean of squares, in [0, 1).
        eps: added to the root, in [0, inf).
        eps_root: added to the squares inside the root, in [0, inf).
        mu_dtype: dtype in which the running mean is kept; float32 or wider by default.

    Returns:
        A transformation whose updates are to be added to the params.

    Raises:
        ValueError: if a number lies outside its range.

    Examples:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> params, tx = jnp.array([3.0, -2.0]), nadam(0.1)
        >>> state, update = tx.init(params), jax.jit(tx.update)
        >>> for _ in range(200):
        ...     updates, state = update(2 * params, state)  # gradient of |params|^2
        ...     params = params + updates
        >>> bool(jnp.linalg.norm(params) < 1e-2)
        True
    """
    return adam(learning_rate, b1, b2, eps, eps_root, mu_dtype, nesterov=True)


def nadamw(
    learning_rate: ScalarOrSchedule,
    b1: ScalarLike = 0.9,
    b2: ScalarLike = 0.999,
    eps: ScalarLike = 1e-8,
    eps_root: ScalarLike = 0.0,
    mu_dtype: DTypeLike | None = None,
    weight_decay: ScalarOrSchedule = 1e-4,
    mask: PyTree | Callable[[Params], PyTree] | None = None,
) -> GradientTransformationExtraArgs:
    """:func:`adamw` with Nesterov's momentum, the arguments its own.

    Args:
        learning_rate: a_t, in [0, inf), or a schedule of the step count.
        b1: decay of the running mean, in [0, 1).
        b2: decay of the running mean of squares, in [0, 1).
        eps: added to the root, in [0, inf).
        eps_root: added to the squares inside the root, in [0, inf).
        mu_dtype: dtype in which the running mean is kept; float32 or wider by default.
        weight_decay: d, in [0, inf), or a schedule; multiplied by the learning rate.
        mask: which leaves decay, as in :func:`adamw`. All by default.

    Returns:
        A transformation whose updates are to be added to the params; ``update`` needs them.

    Raises:
        ValueError: if a number lies outside its range.

    Examples:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> params, tx = jnp.array([3.0, -2.0]), nadamw(0.1, weight_decay=0.1)
        >>> state, update = tx.init(params), jax.jit(tx.update)
        >>> for _ in range(200):
        ...     updates, state = update(2 * params, state, params)
        ...     params = params + updates
        >>> bool(jnp.linalg.norm(params) < 1e-2)
        True
    """
    return adamw(learning_rate, b1, b2, eps, eps_root, mu_dtype, weight_decay, mask, nesterov=True)
