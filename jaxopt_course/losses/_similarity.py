"""Losses of embeddings: angles and distances between vectors.

    cosine_similarity      a' b / (|a| |b|)                                     per example
    cosine_distance        1 - cosine_similarity                                per example
    triplet_margin_loss    max(0, d(anchor, positive) - d(anchor, negative) + margin)

Norms are finite for all finite vectors. Each loss is computed in float32 or wider and returned in
the dtype of its first argument.

Reference: Balntas et al., "Learning shallow convolutional feature descriptors with triplet losses",
2016.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, ScalarLike

from jaxopt_course.core import checks, l2_norm, numerics

from ._inputs import Axis, broadcast_pair, check_axis, wide_pair


def cosine_similarity(
    predictions: Float[Array, "*shape"],
    targets: Float[Array, "*shape"],
    *,
    epsilon: ScalarLike = 0.0,
    axis: Axis = -1,
    where: Bool[Array, "*shape"] | None = None,
) -> Float[Array, "..."]:
    """The cosine of the angle between two vectors, in [-1, 1].

    Args:
        predictions: vectors a.
        targets: vectors b, of a shape that broadcasts with that of a.
        epsilon: lower bound of the squared norms in the denominator, in [0, inf).
        axis: the axis or axes of a vector; None means all axes.
        where: mask of the entries to include, of the same shape.

    Returns:
        One value for each pair; 0 if a vector is zero.

    Examples:
        >>> cosine = cosine_similarity(jnp.array([2.0, 0.0]), jnp.array([1e30, 0.0]))
        >>> round(float(cosine), 6)
        1.0
    """
    (a, _), (b, _), dtype = _units("cosine_similarity", predictions, targets, epsilon, axis, where)
    return jnp.clip(jnp.sum(a * b, axis), -1, 1).astype(dtype)


def cosine_distance(
    predictions: Float[Array, "*shape"],
    targets: Float[Array, "*shape"],
    *,
    epsilon: ScalarLike = 0.0,
    axis: Axis = -1,
    where: Bool[Array, "*shape"] | None = None,
) -> Float[Array, "..."]:
    """One minus the cosine of the angle between two vectors, in [0, 2]; 1 if a vector is zero.

    It is computed as half the squared distance of the unit vectors, which keeps the digits of
    small angles. Arguments are those of :func:`cosine_similarity`.
    """
    first, second, dtype = _units("cosine_distance", predictions, targets, epsilon, axis, where)
    (a, short_a), (b, short_b) = first, second
    apart = jnp.sum(jnp.square(a - b), axis)
    return ((apart + short_a + short_b) / 2).astype(dtype)


def triplet_margin_loss(
    anchors: Float[Array, "*shape"],
    positives: Float[Array, "*shape"],
    negatives: Float[Array, "*shape"],
    axis: int = -1,
    norm_degree: ScalarLike = 2,
    margin: ScalarLike = 1.0,
    eps: ScalarLike = 1e-6,
) -> Float[Array, "..."]:
    """How far an anchor falls short of being nearer to the positive than to the negative.

    Args:
        anchors: embeddings.
        positives: embeddings that should be near, of the same shape.
        negatives: embeddings that should be far, of the same shape.
        axis: the axis of an embedding.
        norm_degree: exponent p of the distance (sum |r|^p + eps)^(1/p), in [1, inf).
        margin: difference of the distances from which on the loss is 0.
        eps: number that keeps the slope of a distance of 0 finite, in [0, inf).
    """
    owner = "triplet_margin_loss"
    a, near, dtype = wide_pair(owner, "anchors", anchors, positives, "positives")
    _, far, _ = wide_pair(owner, "anchors", anchors, negatives, "negatives")
    check_axis(owner, a, axis)
    checks.number(owner, "norm_degree", norm_degree, "[1, inf)")
    checks.number(owner, "margin", margin)
    checks.number(owner, "eps", eps, "[0, inf)")
    p, more = jnp.asarray(norm_degree, a.dtype), jnp.asarray(eps, a.dtype)

    def distance(r: Array) -> Array:
        size = numerics.magnitude(r)
        top = jnp.max(jax.lax.stop_gradient(size), axis, keepdims=True)
        scale = jnp.maximum(numerics.power_of_two(top), 1)
        share = size / scale
        powers = jnp.where(share > 0, jnp.where(share > 0, share, 1) ** p, 0)
        scale = jnp.squeeze(scale, axis)
        return scale * (jnp.sum(powers, axis) + more / scale**p) ** (1 / p)

    gap = distance(a - near) - distance(a - far)
    return jnp.maximum(gap + jnp.asarray(margin, a.dtype), 0).astype(dtype)


def _units(
    owner: str, predictions: Any, targets: Any, epsilon: ScalarLike, axis: Axis, where: Any
) -> tuple[tuple[Array, Array], tuple[Array, Array], Any]:
    """Each vector divided by its norm, and by how much its squared norm then is less than 1."""
    checks.number(owner, "epsilon", epsilon, "[0, inf)")
    a, b = broadcast_pair(owner, "predictions", predictions, targets)
    a, b, dtype = wide_pair(owner, "predictions", a, b)
    check_axis(owner, a, axis, where)
    least = numerics.safe_sqrt(jnp.asarray(epsilon, a.dtype))

    def unit(x: Array) -> tuple[Array, Array]:
        x = x if where is None else jnp.where(where, x, 0)
        norm = l2_norm(x, axis, keepdims=True)
        divisor = jnp.maximum(norm, least)
        divisor = jnp.where(divisor > 0, divisor, 1)
        scale = numerics.power_of_two(jax.lax.stop_gradient(divisor))
        x = x * (1 / scale) / (divisor / scale)
        is_short = jnp.squeeze((norm < least) | (norm == 0), axis)
        short = jnp.where(is_short, 1 - jnp.sum(jnp.square(x), axis), 0)
        return x, short

    return unit(a), unit(b), dtype
