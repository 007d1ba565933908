"""Scaling by norms of updates, parameters or distances, and centring.

With an update u of a leaf w, and |.| the L2 norm of all its entries,

    trust ratio     u <- c u |w| / (|u| + eps), or u where one of the norms is 0
    update norm     u <- c u / (|u| + eps), with the norm over all leaves
    block norm      u <- u max(|w|, low)
    block rms       u <- u max(RMS(w), low)

Distance over gradients derives the rate of each leaf w_t from how far it has moved. With
r_0 = reps_rel (1 + |w_0|) and gradients g_t,

    r_t = max(r_{t-1}, |w_t - w_0|),  G_t = G_{t-1} + |g_t|^2,  u_t = c g_t r_t / sqrt(G_t + eps)

References: You, Gitman & Ginsburg, "Large Batch Training of Convolutional Networks", 2017,
https://arxiv.org/abs/1708.03888, algorithm 1, for the trust ratio; Shazeer & Stern, "Adafactor",
2018, https://arxiv.org/abs/1804.04235, section 8, for the block rms; Yong et al., "Gradient
Centralization", 2020, https://arxiv.org/abs/2004.01461, equation 1; Ivgi, Hinder & Carmon, "DoG is
SGD's Best Friend: A Parameter-Free Dynamic Step Size Schedule", 2023,
https://arxiv.org/abs/2302.12022, in its layer-wise form (L-DoG).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Float, Inexact, ScalarLike

from jaxopt_course.core import (
    EmptyState,
    GradientTransformationExtraArgs,
    Params,
    Updates,
    checks,
    global_norm,
    numerics,
    root_mean_square,
    tree,
)

from ._stateless import beside_params, of_floats


NormalizeState = EmptyState
ScaleByTrustRatioState = EmptyState


def scale_by_trust_ratio(
    min_norm: ScalarLike = 0.0, trust_coefficient: ScalarLike = 1.0, eps: ScalarLike = 0.0
) -> GradientTransformationExtraArgs:
    """Rescale each leaf's update to the norm of the leaf, times ``trust_coefficient``.

    An update stays as it is where the leaf or the update is zero. ``update`` needs the parameters.

    Args:
        min_norm: smallest value of either norm, in [0, inf).
        trust_coefficient: c, in [0, inf).
        eps: added to the norm of the update, in [0, inf).

    Examples:
        >>> tx, params = scale_by_trust_ratio(), jnp.array([3.0, 4.0])
        >>> tx.update(jnp.array([0.0, 0.1]), tx.init(params), params)[0].tolist()
        [0.0, 5.0]
    """
    numbers = {"min_norm": min_norm, "trust_coefficient": trust_coefficient, "eps": eps}
    checks.numbers("scale_by_trust_ratio", "[0, inf)", **numbers)

    def trusted(u: Inexact[Array, "*shape"], w: Inexact[Array, "*shape"]) -> Array:
        of_update = global_norm(u)
        dtype = of_update.dtype
        low, factor, more = (jnp.asarray(x, dtype) for x in (min_norm, trust_coefficient, eps))
        of_update = jnp.maximum(of_update, low)
        of_params = jnp.maximum(global_norm(w).astype(dtype), low)
        neither_is_zero = (of_params > 0) & (of_update > 0)
        unit = tree.divide(u, jnp.where(neither_is_zero, of_update + more, 1))
        return tree.scale(unit, jnp.where(neither_is_zero, factor * of_params, 1)).astype(u.dtype)

    return beside_params("scale_by_trust_ratio", trusted)


def normalize_by_update_norm(
    scale_factor: ScalarLike = 1.0, eps: ScalarLike = 1e-6
) -> GradientTransformationExtraArgs:
    """Divide all updates by their joint norm; zeros stay zeros.

    Args:
        scale_factor: c, the norm of the result, of either sign.
        eps: added to the norm, in [0, inf).
    """
    checks.number("normalize_by_update_norm", "scale_factor", scale_factor)
    checks.number("normalize_by_update_norm", "eps", eps, "[0, inf)")

    def normalized(updates: Updates, params: Params | None) -> Updates:
        norm = global_norm(updates)
        wanted, more = (jnp.asarray(x, norm.dtype) for x in (scale_factor, eps))
        divisor = norm + more
        nonzero = jnp.where(divisor > 0, divisor, 1)
        return tree.cast_like(tree.scale(tree.divide(updates, nonzero), wanted), updates)

    return of_floats(normalized)


def normalize() -> GradientTransformationExtraArgs:
    """Divide the updates by their joint L2 norm; zeros stay zeros.

    Examples:
        >>> tx = normalize()
        >>> [round(float(u), 3) for u in tx.update(jnp.array([3.0, 4.0]), tx.init(None))[0]]
        [0.6, 0.8]
    """
    return normalize_by_update_norm(eps=0.0)


def scale_by_param_block_norm(min_scale: ScalarLike = 1e-3) -> GradientTransformationExtraArgs:
    """Multiply each leaf's update by the norm of the leaf. ``update`` needs the parameters.

    Args:
        min_scale: smallest factor, in [0, inf).
    """
    return _scale_by_size("scale_by_param_block_norm", global_norm, min_scale)


def scale_by_param_block_rms(min_scale: ScalarLike = 1e-3) -> GradientTransformationExtraArgs:
    """Multiply each leaf's update by the root mean square of the leaf.

    Arguments are those of :func:`scale_by_param_block_norm`.
    """
    return _scale_by_size("scale_by_param_block_rms", root_mean_square, min_scale)


def _scale_by_size(
    owner: str, size: Callable[[Array], Float[Array, ""]], min_scale: ScalarLike
) -> GradientTransformationExtraArgs:
    """Multiply each leaf's update by ``size`` of the leaf, at least ``min_scale``."""
    checks.number(owner, "min_scale", min_scale, "[0, inf)")

    def scaled(u: Array, w: Array) -> Array:
        own = size(w)
        return tree.scale(u, jnp.maximum(own, jnp.asarray(min_scale, own.dtype)))

    return beside_params(owner, scaled)


def centralize() -> GradientTransformationExtraArgs:
    """Subtract its mean from each slice ``u[i]`` of an update with at least two axes.

    The mean is over all axes but the first, as for kernels stored output-first. Scalars and vectors
    stay as they are.

    Examples:
        >>> tx = centralize()
        >>> tx.update(jnp.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), tx.init(None))[0].tolist()
        [[-1.0, 0.0, 1.0], [-1.0, 0.0, 1.0]]
    """

    def centred(u: Inexact[Array, "*shape"]) -> Array:
        if u.ndim < 2 or not u.size:
            return u
        wide = u.astype(numerics.wide_dtype(u.dtype))
        mean = jnp.mean(wide, axis=tuple(range(1, u.ndim)), keepdims=True)
        return (wide - mean).astype(u.dtype)

    return of_floats(lambda updates, params: jax.tree.map(centred, updates))


class ScaleByDistanceOverGradientsState(NamedTuple):
    """State of distance over gradients.

    max_dist: largest distance r_t of each leaf from its start, f[].
    grad_sum_of_squares: sum G_t of the squared gradients of each leaf, f[].
    init_params: a copy of the initial parameters, float32 or wider.
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
    """Scale each leaf's update by its distance from the start over the sum of its gradients.

    The updates are in the gradient direction where c is positive. The authors recommend averaging
    the parameters. ``update`` needs the parameters.

    Args:
        reps_rel: initial distance, relative to 1 + |w_0|, in [0, inf). The authors recommend 1e-4
            with batch normalization.
        eps: added to the sum inside the root, in [0, inf).
        param_dtype: dtype of the copy of the initial parameters; float32 or wider by default.
        global_scale: c, of either sign.
    """
    owner = "scale_by_distance_over_gradients"
    checks.dtype(owner, "param_dtype", param_dtype)
    checks.numbers(owner, "[0, inf)", reps_rel=reps_rel, eps=eps)
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
        checks.params(owner, params, updates)

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


@jax.jit  # one program per shape instead of a dozen small ones
def _first_distance(w: Array, reps_rel: ScalarLike) -> Float[Array, ""]:
    norm = global_norm(w)
    return jnp.asarray(reps_rel, norm.dtype) * (1 + norm)
