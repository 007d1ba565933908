"""Distance over gradients, leaf by leaf: a rate from how far the leaf has come.

With gradients g_t of a leaf w_t that started at w_0, and r_0 = reps_rel (1 + |w_0|),

    r_t = max(r_{t-1}, |w_t - w_0|)              the farthest it has been
    G_t = G_{t-1} + |g_t|^2
    u_t = c g_t r_t / sqrt(G_t + eps)

The authors recommend to average the params that it gives.

Reference: Ivgi, Hinder & Carmon, "DoG is SGD's Best Friend: A Parameter-Free Dynamic Step Size
Schedule", 2023, https://arxiv.org/abs/2302.12022, the layer-wise form (L-DoG).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Float, ScalarLike

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    Params,
    checks,
    global_norm,
    numerics,
    tree,
)


class ScaleByDistanceOverGradientsState(NamedTuple):
    """What the next step needs from the past.

    max_dist: for each leaf the largest distance r_t from its start, f[].
    grad_sum_of_squares: for each leaf the sum G_t of its gradients' squares, f[].
    init_params: a copy of the first params, float32 or wider.
    """

    max_dist: Params
    grad_sum_of_squares: Params
    init_params: Params


def scale_by_distance_over_gradients(
    reps_rel: ScalarLike = 1e-6,
    eps: ScalarLike = 1e-8,
    param_dtype: DTypeLike | None = None,
    global_scale: ScalarLike = 1.0,
) -> GradientTransformationExtraArgs:
    """Scale each leaf's update by its distance from the start over its gradients' root sum.

    Args:
        reps_rel: the first distance, relative to 1 + |w_0|, in [0, inf). 1e-4 is advised
            where batches are normalized.
        eps: added to the sum inside the root, in [0, inf).
        param_dtype: dtype in which the first params are kept; float32 or wider by default.
        global_scale: c, of either sign.

    Returns:
        A transformation whose updates point uphill where c is positive.

    Raises:
        ValueError: if a number lies outside its range; from ``update``, without ``params``.

    Examples:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> params, tx = jnp.array([3.0, -2.0]), scale_by_distance_over_gradients(0.1)
        >>> state, update = tx.init(params), jax.jit(tx.update)
        >>> for _ in range(200):
        ...     updates, state = update(2 * params, state, params)  # gradient of |params|^2
        ...     params = params - updates
        >>> bool(jnp.linalg.norm(params) < 1e-3)
        True
    """
    checks.dtype("scale_by_distance_over_gradients", "param_dtype", param_dtype)
    owner = "scale_by_distance_over_gradients"
    checks.number(owner, "reps_rel", reps_rel, "[0, inf)")
    checks.number(owner, "eps", eps, "[0, inf)")
    checks.number(owner, "global_scale", global_scale)

    def init(params):
        def kept(w: Any) -> Array:  # a copy, so that params and state can both be donated
            return jnp.array(w, param_dtype or numerics.wide_dtype(jnp.result_type(w)), copy=True)

        return ScaleByDistanceOverGradientsState(
            jax.tree.map(lambda w: _first_distance(w, reps_rel), params),
            jax.tree.map(lambda w: jnp.zeros((), tree.scalar_dtype(w)), params),
            jax.tree.map(kept, params),
        )

    def update(updates, state, params=None, **extra_args):
        checks.state(owner, state, ScaleByDistanceOverGradientsState)
        checks.params(owner, params)
        checks.like(owner, "gradient", updates, params)

        def farthest(r: Array, w: Array, start: Array) -> Array:
            return jnp.maximum(r, global_norm(tree.sub(w, start)).astype(r.dtype))

        def summed(seen: Array, u: Array) -> Array:
            return seen + tree.sum(tree.squared(u)).astype(seen.dtype)

        def scaled(u: Array, r: Array, seen: Array) -> Array:
            root = numerics.safe_sqrt(seen + jnp.asarray(eps, seen.dtype))
            return tree.scale(u, numerics.safe_divide(jnp.asarray(global_scale, r.dtype) * r, root))

        distances = jax.tree.map(farthest, state.max_dist, params, state.init_params)
        totals = jax.tree.map(summed, state.grad_sum_of_squares, updates)
        steps = jax.tree.map(scaled, updates, distances, totals)
        return steps, ScaleByDistanceOverGradientsState(distances, totals, state.init_params)

    return GradientTransformationExtraArgs(init, update)


@jax.jit  # one program for each shape, not a dozen small ones
def _first_distance(w: Array, reps_rel: ScalarLike) -> Float[Array, ""]:
    norm = global_norm(w)
    return jnp.asarray(reps_rel, norm.dtype) * (1 + norm)
