"""Sign descent and Lion: steps of one length for every entry, in the direction of a sign.

With gradients g_t, learning rate a_t and weight decay d,

    sign_sgd   w <- w - a_t sign(g_t)
    signum     m_t = beta m_{t-1} + (1 - beta) g_t,   w <- w - a_t sign(m_t)
    Lion       u_t = sign(b1 m_{t-1} + (1 - b1) g_t),   m_t = b2 m_{t-1} + (1 - b2) g_t
               w  <- w - a_t (u_t + d w)

In place of the sign, ``scale_by_lion`` also offers clip(x, -1, 1), the refined form, and
tanh(beta x), the smooth form. For Lion, learning rates three to ten times smaller than Adam's are
usual, with a weight decay larger by the same factor.

References: Bernstein et al., "signSGD: Compressed Optimisation for Non-Convex Problems", 2018,
algorithms 1 and 2, https://arxiv.org/abs/1802.04434; Chen et al., "Symbolic Discovery of
Optimization Algorithms", 2023, algorithm 2, https://arxiv.org/abs/2302.06675.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

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
from jaxopt_course.transforms import (
    add_decayed_weights,
    chain,
    ema,
    scale_by_learning_rate,
    stateless,
)


def scale_by_sign() -> GradientTransformationExtraArgs:
    """Replace each entry by its sign; 0 stays 0."""

    def signs(updates: Updates, params: Params | None) -> Updates:
        checks.floats("scale_by_sign", "gradient", updates)
        return jax.tree.map(jnp.sign, updates)

    return stateless(signs)


def sign_sgd(learning_rate: ScalarOrSchedule) -> GradientTransformationExtraArgs:
    """Gradient descent with steps of one length, the learning rate, for every entry.

    Args:
        learning_rate: the learning rate, in [0, inf), or a schedule of the step count.

    Examples:
        >>> tx = sign_sgd(0.5)
        >>> tx.update(jnp.array([3.0, -0.1, 0.0]), tx.init(jnp.zeros(3)))[0].tolist()
        [-0.5, 0.5, -0.0]
    """
    return chain(scale_by_sign(), scale_by_learning_rate(learning_rate))


def signum(
    learning_rate: ScalarOrSchedule,
    beta: ScalarLike = 0.9,
    accumulator_dtype: DTypeLike | None = None,
) -> GradientTransformationExtraArgs:
    """Descent by the signs of a running mean of gradients.

    Args:
        learning_rate: the learning rate, in [0, inf), or a schedule of the step count.
        beta: decay rate of the running mean, in [0, 1).
        accumulator_dtype: dtype of the running mean; float32 or wider by default.

    Examples:
        >>> tx = signum(0.5)
        >>> tx.update(jnp.array([3.0, -0.1]), tx.init(jnp.zeros(2)))[0].tolist()
        [-0.5, 0.5]
    """
    checks.number("signum", "beta", beta, "[0, 1)")
    return chain(
        ema(beta, debias=False, accumulator_dtype=accumulator_dtype),
        scale_by_sign(),
        scale_by_learning_rate(learning_rate),
    )


class ScaleByLionState(NamedTuple):
    """State of the Lion transformation.

    count: number of updates so far, int32[].
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
    """Replace each entry by the sign of a running mean. Arguments are those of :func:`lion`.

    Besides the sign (``mode="hard"``) there are tanh(smooth_beta x), with ``smooth_beta`` in [0,
    inf) ("smooth"), and clip(x, -1, 1) ("refined"). Complex entries keep their phase.
    """
    checks.dtype("scale_by_lion", "mu_dtype", mu_dtype)
    checks.numbers("scale_by_lion", "[0, 1)", b1=b1, b2=b2)
    checks.choice("scale_by_lion", "mode", mode, ("hard", "smooth", "refined"))
    checks.number("scale_by_lion", "smooth_beta", smooth_beta, "[0, inf)")

    def init(params):
        return ScaleByLionState(jnp.zeros((), jnp.int32), tree.accumulator_like(params, mu_dtype))

    def update(updates, state, params=None, **extra_args):
        checks.step("scale_by_lion", updates, state, ScaleByLionState, "mu")
        mean = tree.update_moment(updates, state.mu, b1, 1)
        steps = jax.tree.map(_bounded(mode, smooth_beta), mean)
        mu = tree.cast_like(tree.update_moment(updates, state.mu, b2, 1), state.mu)
        count = numerics.safe_increment(state.count)
        return tree.cast_like(steps, updates), ScaleByLionState(count, mu)

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
    mask: Mask | None = None,
) -> GradientTransformationExtraArgs:
    """Lion, steps by the sign of a running mean, with decoupled weight decay.

    Args:
        learning_rate: the learning rate, in [0, inf), or a schedule of the step count; often 1e-4.
        b1: decay rate of the mean that makes the step, in [0, 1).
        b2: decay rate of the running mean, in [0, 1).
        mu_dtype: dtype of the first moment; float32 or wider by default.
        weight_decay: decoupled weight decay, in [0, inf), or a schedule; times the learning rate.
        mask: leaves that decay, as for :func:`adamw`; all by default.

    Examples:
        >>> tx = lion(1e-4, weight_decay=0.1)
    """
    return chain(
        scale_by_lion(b1, b2, mu_dtype),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )
