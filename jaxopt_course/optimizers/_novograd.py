"""NovoGrad: momentum over gradients that are scaled by the norm of their leaf.

With the gradient g_t of one leaf (a layer), learning rate a_t and weight decay d_t,

    n_t = b2 n_{t-1} + (1 - b2) |g_t|^2,   n_1 = |g_1|^2            one number a leaf
    m_t = b1 m_{t-1} + g_t / (sqrt(n_t + eps_root) + eps) + d_t w
    w  <- w - a_t m_t

The sum m has no factor 1 - b1, as in the paper and optax, so steps become 1 / (1 - b1) times larger
than Adam's at the same learning rate. The weight decay is part of the sum.

Reference: Ginsburg et al., "Stochastic Gradient Methods with Layer-wise Adaptive Moments for
Training of Deep Networks", 2019, algorithm 1, https://arxiv.org/abs/1905.11286.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Int, ScalarLike

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    Params,
    ScalarOrSchedule,
    checks,
    numerics,
    tree,
)
from jaxopt_course.transforms import chain, scale_by_learning_rate

from ._adam import check_moments


class ScaleByNovogradState(NamedTuple):
    """State of the NovoGrad transformation.

    count: number of updates so far, int32[].
    mu: decaying sum of scaled gradients, shaped like the params, float32 or wider.
    nu: running mean of each leaf's squared norm, a scalar for each leaf, float32 or wider.
    """

    count: Int[Array, ""]
    mu: Params
    nu: Params


def scale_by_novograd(
    b1: ScalarLike = 0.9,
    b2: ScalarLike = 0.25,
    eps: ScalarLike = 1e-8,
    eps_root: ScalarLike = 0.0,
    weight_decay: ScalarOrSchedule = 0.0,
    mu_dtype: DTypeLike | None = None,
) -> GradientTransformationExtraArgs:
    """Divide each leaf by its mean norm, and sum. Arguments are those of :func:`novograd`.

    ``mu_dtype`` is the dtype of the sum; float32 or wider by default.
    """
    check_moments("scale_by_novograd", b1, b2, eps, eps_root, mu_dtype)
    checks.learning_rate("scale_by_novograd", weight_decay, "weight_decay")

    def init(params):
        mu = tree.accumulator_like(params, mu_dtype)
        nu = jax.tree.map(lambda p: jnp.zeros((), tree.scalar_dtype(p)), params)
        return ScaleByNovogradState(jnp.zeros((), jnp.int32), mu, nu)

    def update(updates, state, params=None, **extra_args):
        checks.step("scale_by_novograd", updates, state, ScaleByNovogradState, "mu")
        checks.params("scale_by_novograd", params)
        first = state.count == 0
        norms = tree.cast_like(jax.tree.map(jnp.sum, tree.squared(updates)), state.nu)
        mean = tree.update_moment(norms, state.nu, b2, 1)
        nu = jax.tree.map(lambda start, n: jnp.where(first, start, n), norms, mean)
        decay = numerics.at_count(weight_decay, state.count)
        scaled = tree.divide_by_root(tree.widened(updates), nu, eps, eps_root)
        mu = tree.running_sum(state.mu, tree.running_sum(params, scaled, decay), b1)
        count = numerics.safe_increment(state.count)
        new_state = ScaleByNovogradState(count, tree.cast_like(mu, state.mu), nu)
        return tree.cast_like(mu, updates), new_state

    return GradientTransformationExtraArgs(init, update)


def novograd(
    learning_rate: ScalarOrSchedule,
    b1: ScalarLike = 0.9,
    b2: ScalarLike = 0.25,
    eps: ScalarLike = 1e-6,
    eps_root: ScalarLike = 0.0,
    weight_decay: ScalarOrSchedule = 0.0,
) -> GradientTransformationExtraArgs:
    """NovoGrad, momentum over gradients that are divided by the norms of their leaves.

    Args:
        learning_rate: the learning rate, in [0, inf), or a schedule of the step count.
        b1: decay rate of the sum, in [0, 1).
        b2: decay rate of the running mean of squared norms, in [0, 1).
        eps: added to the norm, in [0, inf).
        eps_root: added to the squared norm inside the square root, in [0, inf).
        weight_decay: weight decay d_t, in [0, inf), or a schedule; times the learning rate.

    Examples:
        >>> tx = novograd(0.01)
    """
    return chain(
        scale_by_novograd(b1, b2, eps, eps_root, weight_decay),
        scale_by_learning_rate(learning_rate),
    )
