"""Adam and its variants: a running mean of gradients over a running measure of their size.

With gradients g_t, learning rate a_t and weight decay d,

    m_t = b1 m_{t-1} + (1 - b1) g_t                       first moment
    v_t = b2 v_{t-1} + (1 - b2) g_t^2                     second moment
    u_t = -a_t m_hat / (sqrt(v_hat + eps_root) + eps)     update

where m_hat = m_t / (1 - b1^t) and v_hat = v_t / (1 - b2^t) correct the start at zero. AdamW adds
-a_t d w_t to the update. ``adam_l2`` adds d w_t to the gradient instead, so that parameters with
large gradients decay less. NAdam and NAdamW replace m_hat by b1 m_hat_{t+1} + (1 - b1) g_hat_t. As
in optax, b1 is constant; Dozat and torch let it grow (torch's ``momentum_decay``).

Adamax has a decaying maximum in place of the root of the second moment, without bias correction,
and AdamaxW adds the same weight decay as AdamW:

    n_t = max(b2 n_{t-1}, |g_t| + eps)
    u_t = -a_t m_hat / n_t

References: Kingma & Ba, "Adam: A Method for Stochastic Optimization", 2015, algorithms 1 and 2,
https://arxiv.org/abs/1412.6980; Dozat, "Incorporating Nesterov Momentum into Adam", 2016,
https://openreview.net/forum?id=OM0jvwB8jIp57ZJjtNEZ; Loshchilov & Hutter, "Decoupled Weight
Decay Regularization", 2019, algorithm 2, https://arxiv.org/abs/1711.05101.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Int, ScalarLike

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    Mask,
    Params,
    ScalarOrSchedule,
    Updates,
    checks,
    numerics,
    tree,
)
from jaxopt_course.transforms import add_decayed_weights, chain, scale_by_learning_rate


class ScaleByAdamState(NamedTuple):
    """State of the Adam transformation.

    count: number of updates so far, int32[].
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
    """Rescale gradients by Adam's moments. Arguments are those of :func:`adam`."""
    checks.flags("scale_by_adam", nesterov=nesterov, bias_correction=bias_correction)
    check_moments("scale_by_adam", b1, b2, eps, eps_root, mu_dtype)

    def init(params):
        return zero_moments(params, mu_dtype)

    def update(updates, state, params=None, **extra_args):
        checks.step("scale_by_adam", updates, state, ScaleByAdamState, "nu")
        count = numerics.safe_increment(state.count)
        mu = tree.update_moment(updates, state.mu, b1, 1)
        nu = tree.update_moment(updates, state.nu, b2, 2)
        m = mean_of_step(mu, updates, b1, count, nesterov, bias_correction)
        v = tree.bias_correction(nu, b2, count) if bias_correction else nu
        scaled = tree.cast_like(tree.divide_by_root(m, v, eps, eps_root), updates)
        return scaled, ScaleByAdamState(count, tree.cast_like(mu, state.mu), nu)

    return GradientTransformationExtraArgs(init, update)


def check_moments(
    owner: str,
    b1: ScalarLike,
    b2: ScalarLike,
    eps: ScalarLike,
    eps_root: ScalarLike = 0.0,
    mu_dtype: DTypeLike | None = None,
) -> None:
    """Raise unless both decay rates lie in [0, 1) and both eps in [0, inf)."""
    checks.dtype(owner, "mu_dtype", mu_dtype)
    checks.numbers(owner, "[0, 1)", b1=b1, b2=b2)
    checks.numbers(owner, "[0, inf)", eps=eps, eps_root=eps_root)


def zero_moments(params: Params, mu_dtype: DTypeLike | None = None) -> ScaleByAdamState:
    """Adam's initial state."""
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
    """m_hat_t of m_t = ``mu``, or b1 m_hat_{t+1} + (1 - b1) g_hat_t with Nesterov momentum."""

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
    """Adam, a running mean of gradients over the root of a running mean of their squares.

    Args:
        learning_rate: the learning rate, in [0, inf), or a schedule of the step count; often 1e-3.
        b1: decay rate of the first moment, in [0, 1).
        b2: decay rate of the second moment, in [0, 1).
        eps: added to the square root in the denominator, in [0, inf).
        eps_root: added to the second moment inside the square root, in [0, inf).
        mu_dtype: dtype of the first moment; float32 or wider by default.
        nesterov: whether to use Nesterov momentum, as NAdam does.
        bias_correction: whether to divide the moments by 1 - b^t.

    Examples:
        >>> tx = adam(1e-3)
        >>> tx = adam(lambda count: 1e-3 * 0.99**count, b2=0.99)
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
    mask: Mask | None = None,
    *,
    nesterov: bool = False,
) -> GradientTransformationExtraArgs:
    """Adam with decoupled weight decay.

    Args:
        learning_rate: the learning rate, in [0, inf), or a schedule of the step count; often 1e-3.
        b1: decay rate of the first moment, in [0, 1).
        b2: decay rate of the second moment, in [0, 1).
        eps: added to the square root in the denominator, in [0, inf).
        eps_root: added to the second moment inside the square root, in [0, inf).
        mu_dtype: dtype of the first moment; float32 or wider by default.
        weight_decay: decoupled weight decay, in [0, inf), or a schedule; times the learning rate.
        mask: leaves that decay: a tree of bools shaped like (a prefix of) the params, or a function
            of the params that returns one; all by default.
        nesterov: whether to use Nesterov momentum, as NAdam does.

    Examples:
        >>> tx = adamw(1e-3, weight_decay=0.1, mask={"kernel": True, "bias": False})
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
    """Adam with Nesterov momentum.

    Args:
        learning_rate: the learning rate, in [0, inf), or a schedule of the step count.
        b1: decay rate of the first moment, in [0, 1).
        b2: decay rate of the second moment, in [0, 1).
        eps: added to the square root in the denominator, in [0, inf).
        eps_root: added to the second moment inside the square root, in [0, inf).
        mu_dtype: dtype of the first moment; float32 or wider by default.

    Examples:
        >>> tx = nadam(1e-3)
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
    mask: Mask | None = None,
) -> GradientTransformationExtraArgs:
    """AdamW with Nesterov momentum.

    Args:
        learning_rate: the learning rate, in [0, inf), or a schedule of the step count.
        b1: decay rate of the first moment, in [0, 1).
        b2: decay rate of the second moment, in [0, 1).
        eps: added to the square root in the denominator, in [0, inf).
        eps_root: added to the second moment inside the square root, in [0, inf).
        mu_dtype: dtype of the first moment; float32 or wider by default.
        weight_decay: decoupled weight decay, in [0, inf), or a schedule; times the learning rate.
        mask: leaves that decay, as for :func:`adamw`; all by default.

    Examples:
        >>> tx = nadamw(1e-3, weight_decay=0.1)
    """
    return adamw(learning_rate, b1, b2, eps, eps_root, mu_dtype, weight_decay, mask, nesterov=True)


def adam_l2(
    learning_rate: ScalarOrSchedule,
    b1: ScalarLike = 0.9,
    b2: ScalarLike = 0.999,
    eps: ScalarLike = 1e-8,
    eps_root: ScalarLike = 0.0,
    mu_dtype: DTypeLike | None = None,
    weight_decay: ScalarOrSchedule = 1e-4,
    mask: Mask | None = None,
) -> GradientTransformationExtraArgs:
    """Adam with coupled weight decay, as torch's ``Adam(weight_decay=...)``.

    Args:
        learning_rate: the learning rate, in [0, inf), or a schedule of the step count; often 1e-3.
        b1: decay rate of the first moment, in [0, 1).
        b2: decay rate of the second moment, in [0, 1).
        eps: added to the square root in the denominator, in [0, inf).
        eps_root: added to the second moment inside the square root, in [0, inf).
        mu_dtype: dtype of the first moment; float32 or wider by default.
        weight_decay: coupled weight decay, in [0, inf), or a schedule.
        mask: leaves that decay, as for :func:`adamw`; all by default.

    Examples:
        >>> tx = adam_l2(1e-3, weight_decay=1e-4)
    """
    return chain(
        add_decayed_weights(weight_decay, mask),
        scale_by_adam(b1, b2, eps, eps_root, mu_dtype),
        scale_by_learning_rate(learning_rate),
    )


def scale_by_adamax(
    b1: ScalarLike = 0.9, b2: ScalarLike = 0.999, eps: ScalarLike = 1e-8
) -> GradientTransformationExtraArgs:
    """Divide the first moment by the decaying maximum. Arguments are those of :func:`adamax`.

    The state is Adam's, with the maximum as ``nu``.
    """
    check_moments("scale_by_adamax", b1, b2, eps)

    def update(updates, state, params=None, **extra_args):
        checks.step("scale_by_adamax", updates, state, ScaleByAdamState, "nu")
        count = numerics.safe_increment(state.count)
        keep, added = numerics.in_dtype(b2), numerics.nonzero_in_dtype(eps)

        def larger(g: Array, n: Array) -> Array:
            return jnp.maximum(jnp.abs(g) + added(n.dtype), keep(n.dtype) * n)

        mu = tree.update_moment(updates, state.mu, b1, 1)
        nu = jax.tree.map(larger, tree.cast_like(updates, mu), state.nu)
        m_hat = tree.bias_correction(mu, b1, count)
        scaled = jax.tree.map(lambda m, n: m / n.astype(m.dtype), m_hat, nu)
        return tree.cast_like(scaled, updates), ScaleByAdamState(count, mu, nu)

    return GradientTransformationExtraArgs(lambda params: zero_moments(params), update)


def adamax(
    learning_rate: ScalarOrSchedule,
    b1: ScalarLike = 0.9,
    b2: ScalarLike = 0.999,
    eps: ScalarLike = 1e-8,
) -> GradientTransformationExtraArgs:
    """Adamax, Adam with a decaying maximum as its second moment.

    Args:
        learning_rate: the learning rate, in [0, inf), or a schedule of the step count; often 2e-3.
        b1: decay rate of the first moment, in [0, 1).
        b2: decay rate of the maximum, in [0, 1).
        eps: added to the absolute value of each gradient, in [0, inf).

    Examples:
        >>> tx = adamax(2e-3)
    """
    return chain(scale_by_adamax(b1, b2, eps), scale_by_learning_rate(learning_rate))


def adamaxw(
    learning_rate: ScalarOrSchedule,
    b1: ScalarLike = 0.9,
    b2: ScalarLike = 0.999,
    eps: ScalarLike = 1e-8,
    weight_decay: ScalarOrSchedule = 1e-4,
    mask: Mask | None = None,
) -> GradientTransformationExtraArgs:
    """Adamax with decoupled weight decay.

    Args:
        learning_rate: the learning rate, in [0, inf), or a schedule of the step count.
        b1: decay rate of the first moment, in [0, 1).
        b2: decay rate of the maximum, in [0, 1).
        eps: added to the absolute value of each gradient, in [0, inf).
        weight_decay: decoupled weight decay, in [0, inf), or a schedule; times the learning rate.
        mask: leaves that decay, as for :func:`adamw`; all by default.

    Examples:
        >>> tx = adamaxw(2e-3, weight_decay=0.1)
    """
    return chain(
        scale_by_adamax(b1, b2, eps),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )
