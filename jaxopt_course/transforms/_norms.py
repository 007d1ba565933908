"""Scaling by norms: of the updates, of the params, or by the ratio of both, leaf by leaf.

With an update u of a leaf w, and |.| the L2 norm of all its entries,

    trust ratio     u <- c u |w| / (|u| + eps), or u where one of the norms is 0
    update norm     u <- c u / (|u| + eps), with the norm over all leaves
    block norm      u <- u max(|w|, low)
    block rms       u <- u max(RMS(w), low)

Reference: You, Gitman & Ginsburg, "Large Batch Training of Convolutional Networks", 2017,
https://arxiv.org/abs/1708.03888, algorithm 1, for the trust ratio.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float, Inexact, ScalarLike

from jaxopt_course.core import (
    EmptyState,
    GradientTransformationExtraArgs,
    Params,
    Updates,
    checks,
    global_norm,
    root_mean_square,
    tree,
)

from ._stateless import beside_params, of_floats


NormalizeState = EmptyState
ScaleByTrustRatioState = EmptyState


def scale_by_trust_ratio(
    min_norm: ScalarLike = 0.0, trust_coefficient: ScalarLike = 1.0, eps: ScalarLike = 0.0
) -> GradientTransformationExtraArgs:
    """Give each leaf's update the norm of the leaf itself, times ``trust_coefficient``.

    Args:
        min_norm: the least value of either norm, in [0, inf).
        trust_coefficient: c, in [0, inf).
        eps: added to the norm of the update, in [0, inf).

    Returns:
        A transformation that leaves an update as it is where the leaf or the update is zero.

    Raises:
        ValueError: if a number lies outside its range; from ``update``, without ``params``.

    Examples:
        >>> import jax.numpy as jnp
        >>> tx, params = scale_by_trust_ratio(), jnp.array([3.0, 4.0])
        >>> tx.update(jnp.array([0.0, 0.1]), tx.init(params), params)[0].tolist()
        [0.0, 5.0]
    """
    checks.number("scale_by_trust_ratio", "min_norm", min_norm, "[0, inf)")
    checks.number("scale_by_trust_ratio", "trust_coefficient", trust_coefficient, "[0, inf)")
    checks.number("scale_by_trust_ratio", "eps", eps, "[0, inf)")

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
    """Divide all updates by their joint norm: only their direction is left.

    Args:
        scale_factor: c, the norm that comes out, of either sign.
        eps: added to the norm, in [0, inf).

    Returns:
        A transformation whose updates are 0 where all of them were.

    Raises:
        ValueError: if a number lies outside its range.

    Examples:
        >>> import jax.numpy as jnp
        >>> tx = normalize_by_update_norm(eps=0.0)
        >>> updates, _ = tx.update(jnp.array([3.0, 4.0]), tx.init(jnp.zeros(2)))
        >>> [round(float(u), 3) for u in updates]
        [0.6, 0.8]
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
        >>> import jax.numpy as jnp
        >>> tx = normalize()
        >>> [round(float(u), 3) for u in tx.update(jnp.array([3.0, 4.0]), tx.init(None))[0]]
        [0.6, 0.8]
    """
    return normalize_by_update_norm(eps=0.0)


def scale_by_param_block_norm(min_scale: ScalarLike = 1e-3) -> GradientTransformationExtraArgs:
    """Multiply each leaf's update by the norm of the leaf.

    Args:
        min_scale: the least factor, in [0, inf).

    Raises:
        ValueError: if the number lies outside its range; from ``update``, without ``params``.
    """
    return _scale_by_size("scale_by_param_block_norm", global_norm, min_scale)


def scale_by_param_block_rms(min_scale: ScalarLike = 1e-3) -> GradientTransformationExtraArgs:
    """Multiply each leaf's update by the root mean square of the leaf.

    Args:
        min_scale: the least factor, in [0, inf).

    Raises:
        ValueError: if the number lies outside its range; from ``update``, without ``params``.

    Reference: Shazeer & Stern, "Adafactor", 2018, https://arxiv.org/abs/1804.04235, section 8.
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
