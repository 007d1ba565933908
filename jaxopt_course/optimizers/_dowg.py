"""DoWG: distance over gradients that are weighted by the distance.

With gradients g_t and the first params w_0, norms taken over all leaves together,

    r_t = max(r_{t-1}, |w_t - w_0|)
    V_t = V_{t-1} + r_t^2 |g_t|^2
    w  <- w - a_t r_t^2 / (sqrt(V_t) + eps) g_t

The factor a_t is 1 in the paper, and eps 0.

Reference: Khaled, Mishchenko & Jin, "DoWG Unleashed: An Efficient Universal Parameter-Free
Gradient Descent Method", 2023, algorithm 1, https://arxiv.org/abs/2305.16284.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree, ScalarLike

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    Params,
    ScalarOrSchedule,
    checks,
    numerics,
    tree,
)
from jaxopt_course.transforms import (
    add_decayed_weights,
    chain,
    identity,
    scale_by_learning_rate,
)


class DoWGState(NamedTuple):
    """What the next step needs from the past.

    init_params: w_0, the first params.
    weighted_sq_norm_grads: V, float[], float32 or wider.
    estim_sq_dist: r^2, the longest squared distance from them, float[].
    """

    init_params: Params
    weighted_sq_norm_grads: Float[Array, ""]
    estim_sq_dist: Float[Array, ""]


def scale_by_dowg(
    init_estim_sq_dist: ScalarLike | None = None, eps: ScalarLike = 1e-4
) -> GradientTransformationExtraArgs:
    """Multiply gradients by squared distance over weighted gradients.

    Args:
        init_estim_sq_dist: r_0^2, in (0, inf); ``eps`` by default.
        eps: added to the root, in [0, inf); where it is r_0^2 too, it must not be 0.

    Returns:
        A transformation whose updates point uphill; ``update`` needs the params.

    Raises:
        ValueError: if a number lies outside its range.
    """
    checks.number("scale_by_dowg", "eps", eps, "[0, inf)")
    start = eps if init_estim_sq_dist is None else init_estim_sq_dist
    checks.number("scale_by_dowg", "init_estim_sq_dist", start, "(0, inf)")

    def init(params):
        dtype = tree.scalar_dtype(params)
        return DoWGState(
            init_params=jax.tree.map(jnp.copy, params),  # so that the params may be donated
            weighted_sq_norm_grads=jnp.zeros((), dtype),
            estim_sq_dist=jnp.asarray(start, dtype),
        )

    def update(updates, state, params=None, **extra_args):
        checks.state("scale_by_dowg", state, DoWGState)
        checks.params("scale_by_dowg", params)
        checks.like("scale_by_dowg", "gradient", updates, state.init_params)
        dtype = state.estim_sq_dist.dtype
        way = tree.sum(tree.squared(tree.sub(params, state.init_params))).astype(dtype)
        longest = jnp.maximum(state.estim_sq_dist, way)
        squares = tree.sum(tree.squared(updates)).astype(dtype)
        weighted = state.weighted_sq_norm_grads + longest * squares
        rate = numerics.safe_divide(longest, numerics.safe_sqrt(weighted) + jnp.asarray(eps, dtype))
        return tree.scale(updates, rate), DoWGState(state.init_params, weighted, longest)

    return GradientTransformationExtraArgs(init, update)


def dowg(
    learning_rate: ScalarOrSchedule = 1.0,
    init_estim_sq_dist: ScalarLike | None = None,
    eps: ScalarLike = 1e-4,
    weight_decay: ScalarOrSchedule | None = None,
    mask: PyTree | Callable[[Params], PyTree] | None = None,
) -> GradientTransformationExtraArgs:
    """Gradient descent that finds its own learning rate: distance over weighted gradients.

    Args:
        learning_rate: a_t, in [0, inf), or a schedule of the step count: a factor.
        init_estim_sq_dist: r_0^2, in (0, inf); ``eps`` by default.
        eps: added to the root, in [0, inf); where it is r_0^2 too, it must not be 0.
        weight_decay: coupled decay, in [0, inf), or a schedule. None for none.
        mask: a tree of bools shaped like (a prefix of) the params, or a function of the
            params that returns one: which leaves decay. All by default.

    Returns:
        A transformation whose updates are to be added to the params; ``update`` needs them.

    Raises:
        ValueError: if a number lies outside its range.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> params, tx = jnp.array([3.0, -2.0]), dowg()
        >>> state, update = tx.init(params), jax.jit(tx.update)
        >>> for _ in range(200):
        ...     updates, state = update(2 * params, state, params)
        ...     params = params + updates
        >>> bool(jnp.linalg.norm(params) < 1e-2)
        True
    """
    return chain(
        identity() if weight_decay is None else add_decayed_weights(weight_decay, mask),
        scale_by_dowg(init_estim_sq_dist, eps),
        scale_by_learning_rate(learning_rate),
    )
