"""Adaptive gradient clipping: no unit's update may be large against the unit's own weights.

For each unit i (a column of a kernel, a vector),

    u_i <- u_i min(1, clipping max(|w_i|, eps) / |u_i|)

Reference: Brock et al., "High-Performance Large-Scale Image Recognition Without Normalization",
2021, https://arxiv.org/abs/2102.06171, equation 3.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float, Inexact, ScalarLike

from jaxopt_course.core import (
    EmptyState,
    GradientTransformationExtraArgs,
    checks,
    l2_norm,
    numerics,
    placed_like,
    tree,
)

from ._stateless import beside_params


AdaptiveGradClipState = EmptyState
UNIT_AXES = {2: (0,), 3: (0,), 4: (0, 1, 2), 5: (0, 1, 2, 3)}  # dense, heads, HWIO, DHWIO


def unitwise_norm(
    x: Inexact[Array, "*shape"], axis: int | tuple[int, ...] | None = None
) -> Float[Array, "*shape"]:
    """The L2 norm of the unit that each entry belongs to, in float32 or wider.

    Args:
        x: weights or updates.
        axis: the axes that run over one unit. By default all of a scalar or vector, the first
            of a dense kernel, all but the last of a convolution kernel (HWIO, DHWIO).

    Raises:
        ValueError: if ``axis`` is None and ``x`` has more than 5 axes.

    Examples:
        >>> import jax.numpy as jnp
        >>> unitwise_norm(jnp.array([[3.0, 0.0], [4.0, 1.0]])).tolist()
        [[5.0, 1.0], [5.0, 1.0]]
    """
    checks.array("unitwise_norm", "x", x)
    checks.axes("unitwise_norm", "axis", axis)
    if axis is None and sum(n != 1 for n in x.shape) > 1:
        if x.ndim not in UNIT_AXES:
            raise ValueError(
                f"unitwise_norm: `axis` must be given for an array of {x.ndim} axes, got None."
            )
        axis = UNIT_AXES[x.ndim]
    norms = l2_norm(x, axis, keepdims=True)
    return placed_like(jnp.broadcast_to(norms, x.shape), x)


def unitwise_clip(
    g_norm: Float[Array, "*shape"],
    max_norm: Float[Array, "*shape"],
    grad: Inexact[Array, "*shape"],
    div_eps: ScalarLike = 1e-6,
) -> Inexact[Array, "*shape"]:
    """Shrink each unit of ``grad`` whose norm exceeds ``max_norm`` to that norm.

    Args:
        g_norm: the units' norms, as :func:`unitwise_norm` gives them.
        max_norm: the largest norms.
        grad: the updates.
        div_eps: the smallest number to divide by, in (0, inf).
    """
    dtype = numerics.wide_dtype(grad.dtype)
    divisor = jnp.maximum(g_norm, jnp.asarray(div_eps, g_norm.dtype))
    clipped = (tree.divide(grad, divisor) * max_norm.astype(dtype)).astype(grad.dtype)
    return jnp.where(g_norm < max_norm, grad, clipped)


def adaptive_grad_clip(
    clipping: ScalarLike, eps: ScalarLike = 1e-3, axis: int | tuple[int, ...] | None = None
) -> GradientTransformationExtraArgs:
    """Clip each unit's update to ``clipping`` times the norm of the unit's weights.

    Args:
        clipping: the largest ratio of the norms, in [0, inf).
        eps: a norm of weights that all units at least get, in [0, inf), so that weights that
            start from zero can move.
        axis: the axes that run over one unit, as for :func:`unitwise_norm`.

    Raises:
        ValueError: if a number is negative or NaN; from ``update``, without ``params``.

    Examples:
        >>> import jax.numpy as jnp
        >>> tx, params = adaptive_grad_clip(0.5), jnp.array([3.0, 4.0])
        >>> updates, _ = tx.update(jnp.array([30.0, 40.0]), tx.init(params), params)
        >>> updates.tolist()
        [1.5, 2.0]
    """
    checks.number("adaptive_grad_clip", "clipping", clipping, "[0, inf)")
    checks.number("adaptive_grad_clip", "eps", eps, "[0, inf)")

    def clipped(u: Inexact[Array, "*shape"], w: Inexact[Array, "*shape"]) -> Array:
        norm = unitwise_norm(u, axis)
        ratio, smallest = (jnp.asarray(x, norm.dtype) for x in (clipping, eps))
        of_weights = unitwise_norm(w, axis).astype(norm.dtype)
        return unitwise_clip(norm, ratio * jnp.maximum(of_weights, smallest), u)

    return beside_params("adaptive_grad_clip", clipped)
