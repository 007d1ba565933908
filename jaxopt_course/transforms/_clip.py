"""Gradient clipping: bounds on each entry, on each leaf, or on the whole update.

A NaN stays where it is: it neither spreads to other entries nor disappears.

Reference: Pascanu et al., "On the difficulty of training recurrent neural networks", 2013,
https://arxiv.org/abs/1211.5063, algorithm 1, for the norm.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Inexact, ScalarLike

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    Params,
    Updates,
    checks,
    global_norm,
    numerics,
    root_mean_square,
    shrink_to,
)

from ._stateless import of_floats


def clip(max_delta: ScalarLike) -> GradientTransformationExtraArgs:
    """Clip each entry to [-max_delta, max_delta].

    Args:
        max_delta: the bound, in [0, inf). The course suggests 5.

    Raises:
        ValueError: if the bound is negative, which would flip signs, or NaN.

    Examples:
        >>> import jax.numpy as jnp
        >>> tx = clip(5.0)
        >>> tx.update(jnp.array([-1e9, 3.0]), tx.init(jnp.zeros(2)))[0].tolist()
        [-5.0, 3.0]
    """
    checks.number("clip", "max_delta", max_delta, "[0, inf)")

    def clipped(u: Array) -> Array:
        # A bound above the largest number of a narrow dtype is no bound, not infinity.
        bound = jnp.minimum(
            jnp.asarray(max_delta, numerics.wide_dtype(u.dtype)), float(jnp.finfo(u.dtype).max)
        )
        return jnp.clip(u, -bound.astype(u.dtype), bound.astype(u.dtype))

    return of_floats(lambda updates, params: jax.tree.map(clipped, updates))


def clip_by_global_norm(max_norm: ScalarLike) -> GradientTransformationExtraArgs:
    """Shrink all updates together so that their joint L2 norm is at most ``max_norm``.

    u <- u min(1, max_norm / |u|), with the norm over all leaves, in float32 or wider.

    Args:
        max_norm: the largest norm, in [0, inf).

    Raises:
        ValueError: if ``max_norm`` is negative or NaN.

    Examples:
        >>> import jax.numpy as jnp
        >>> tx = clip_by_global_norm(1.0)
        >>> updates, _ = tx.update(jnp.array([3.0, 4.0]), tx.init(jnp.zeros(2)))
        >>> [round(float(u), 3) for u in updates]
        [0.6, 0.8]
    """
    checks.number("clip_by_global_norm", "max_norm", max_norm, "[0, inf)")

    def clipped(updates: Updates, params: Params | None) -> Updates:
        return shrink_to(updates, global_norm(updates), max_norm)

    return of_floats(clipped)


def clip_by_block_rms(threshold: ScalarLike) -> GradientTransformationExtraArgs:
    """Shrink each leaf so that its root mean square is at most ``threshold``.

    u <- u min(1, threshold / RMS(u)) for each leaf u by itself.

    Args:
        threshold: the largest root mean square, in [0, inf).

    Raises:
        ValueError: if ``threshold`` is negative or NaN.

    Reference: Shazeer & Stern, "Adafactor", 2018, https://arxiv.org/abs/1804.04235, section 6.

    Examples:
        >>> import jax.numpy as jnp
        >>> tx = clip_by_block_rms(1.0)
        >>> tx.update(jnp.array([2.0, 2.0]), tx.init(jnp.zeros(2)))[0].tolist()
        [1.0, 1.0]
    """
    checks.number("clip_by_block_rms", "threshold", threshold, "[0, inf)")

    def clipped_tree(updates: Updates, params: Params | None) -> Updates:
        def clipped(u: Inexact[Array, "*shape"]) -> Updates:
            return shrink_to(u, root_mean_square(u), threshold) if u.size else u

        return jax.tree.map(clipped, updates)

    return of_floats(clipped_tree)
