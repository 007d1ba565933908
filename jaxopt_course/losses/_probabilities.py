"""Losses of probabilities and log-probabilities, and label smoothing.

    binary_cross_entropy             -y log p - (1 - y) log(1 - p)     per entry
    categorical_cross_entropy        -sum_k y_k log p_k                per example
    kl_divergence                    sum t (log t - q)                 per example
    kl_divergence_with_log_targets   the same, from log t              per example
    generalized_kl_divergence        sum t (log t - q) - t + exp(q)    per example
    smooth_labels                    (1 - alpha) y + alpha / classes   per entry

with probabilities p and t, log-probabilities q, the natural logarithm and 0 log 0 = 0. Each is
computed in float32 or wider and returned in the dtype of its first argument.

The cross-entropies replace a probability below the machine epsilon of its dtype (2.2e-16 in
float64, 1.2e-7 in float32) by epsilon, so p = 0 and p = 1 give finite losses of slope 0. A
saturated output therefore learns nothing; the losses of logits do not have this problem.

References: Kullback & Leibler, "On Information and Sufficiency", 1951; Bregman, "The relaxation
method of finding the common point of convex sets", 1967; Szegedy et al., "Rethinking the Inception
Architecture for Computer Vision", 2016, section 7 (label smoothing),
https://arxiv.org/abs/1512.00567.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, DTypeLike, Float, ScalarLike, Shaped

from jaxopt_course.core import checks, numerics

from ._inputs import Axis, check_axis, nothing_times, wide, wide_pair


NEAR = 0.3  # up to this gap, a series of TERMS terms omits less than 1e-16 of the sum
TERMS = 14


def binary_cross_entropy(
    probabilities: Float[Array, "*shape"], labels: Shaped[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """Binary cross-entropy of probabilities, entry by entry.

    Args:
        probabilities: probabilities of class 1, in [0, 1].
        labels: 0 or 1, or a probability in [0, 1], of the same shape.

    Examples:
        >>> losses = binary_cross_entropy(jnp.array([0.8, 0.1, 0.3, 0.8]), jnp.array([1, 0, 1, 0]))
        >>> round(float(losses.mean()), 6)
        0.785479
    """
    p, y, dtype = wide_pair(
        "binary_cross_entropy", "probabilities", probabilities, labels, "labels"
    )
    return (-y * _safe_log(p, dtype) - (1 - y) * _safe_log(1 - p, dtype)).astype(dtype)


def categorical_cross_entropy(
    probabilities: Float[Array, "*shape"], labels: Shaped[Array, "*shape"], axis: Axis = -1
) -> Float[Array, "..."]:
    """Categorical cross-entropy of the probabilities of classes.

    Args:
        probabilities: probabilities of the classes, in [0, 1]. Rows that do not sum to 1 are not
            normalized.
        labels: one-hot rows, or probabilities, of the same shape.
        axis: the axis or axes of the classes; None means all axes.
    """
    p, y, dtype = wide_pair(
        "categorical_cross_entropy", "probabilities", probabilities, labels, "labels"
    )
    check_axis("categorical_cross_entropy", p, axis)
    return -jnp.sum(y * _safe_log(p, dtype), axis).astype(dtype)


def kl_divergence(
    log_predictions: Float[Array, "*shape"],
    targets: Float[Array, "*shape"],
    axis: Axis = -1,
    where: Bool[Array, "*shape"] | None = None,
) -> Float[Array, "..."]:
    """The Kullback-Leibler divergence sum t (log t - q) of predictions from targets.

    Args:
        log_predictions: the logarithms q of probabilities.
        targets: the probabilities t in [0, 1], of the same shape.
        axis: the axis or axes of the classes; None means all axes.
        where: mask of the entries to include, of the same shape.

    Returns:
        One value for each example. A value that is negative by no more than the rounding of its
        terms is 0.

    Examples:
        >>> q = jnp.log(jnp.array([0.5, 0.5]))
        >>> round(float(kl_divergence(q, jnp.array([1.0, 0.0]))), 4)  # log(2)
        0.6931
    """
    q, t, dtype = wide_pair("kl_divergence", "log_predictions", log_predictions, targets)
    check_axis("kl_divergence", q, axis, where)
    positive = t > 0
    log_t = jnp.where(positive, jnp.log(jnp.where(positive, t, 1)), 0)
    return _divergence(q, t, log_t, axis, where, eps=_eps(log_predictions, targets)).astype(dtype)


def kl_divergence_with_log_targets(
    log_predictions: Float[Array, "*shape"],
    log_targets: Float[Array, "*shape"],
    axis: Axis = -1,
    where: Bool[Array, "*shape"] | None = None,
) -> Float[Array, "..."]:
    """:func:`kl_divergence` from the logarithms of the targets, -inf for a probability of 0."""
    owner = "kl_divergence_with_log_targets"
    q, log_t, dtype = wide_pair(
        owner, "log_predictions", log_predictions, log_targets, "log_targets"
    )
    check_axis(owner, q, axis, where)
    finite = jnp.where(log_t == -jnp.inf, 0, log_t)
    t = jnp.where(log_t == -jnp.inf, 0, jnp.exp(finite))
    eps = _eps(log_predictions, log_targets)
    return _divergence(q, t, finite, axis, where, eps=eps).astype(dtype)


def generalized_kl_divergence(
    log_predictions: Float[Array, "*shape"],
    targets: Float[Array, "*shape"],
    axis: Axis = -1,
    where: Bool[Array, "*shape"] | None = None,
) -> Float[Array, "..."]:
    """The divergence sum t (log t - q) - t + exp(q), also of terms that do not sum to 1.

    Every term is nonnegative and is computed without cancellation. The targets lie in [0, inf); the
    arguments are otherwise those of :func:`kl_divergence`.
    """
    owner = "generalized_kl_divergence"
    q, t, dtype = wide_pair(owner, "log_predictions", log_predictions, targets)
    check_axis(owner, q, axis, where)
    positive = t > 0
    safe = jnp.where(positive, t, 1)
    gap = q - jnp.log(safe)
    near = positive & (jnp.abs(gap) < NEAR)
    d = jnp.where(near, gap, 0)
    series = jnp.ones_like(d)  # exp(d) - 1 - d = d^2 / 2 (1 + d / 3 (1 + d / 4 (1 + ...)))
    for n in range(TERMS, 2, -1):
        series = 1 + d / n * series
    far = jnp.exp(q) - safe - safe * jnp.where(near, 0, gap)
    terms = jnp.where(near, safe * (d * d / 2) * series, jnp.where(positive, far, jnp.exp(q)))
    return jnp.sum(terms, axis, where=where).astype(dtype)


convex_kl_divergence = generalized_kl_divergence  # its older name in optax


def smooth_labels(
    labels: Float[Array, "*shape"],
    alpha: ScalarLike,
    *,
    axis: Axis = -1,
    where: Bool[Array, "..."] | None = None,
) -> Float[Array, "*shape"]:
    """Mix each label row with the uniform distribution over its classes.

    Args:
        labels: one-hot rows, or probabilities, floating-point.
        alpha: share of the uniform distribution, in [0, 1].
        axis: the axis or axes of the classes; None means all axes.
        where: mask of the classes to count, with as many axes as ``labels``. It does not change
            the entries of the other classes: exclude them from the loss by its own ``where``.

    Examples:
        >>> smooth_labels(jnp.array([1.0, 0.0]), 0.5).tolist()
        [0.75, 0.25]
    """
    checks.number("smooth_labels", "alpha", alpha, "[0, 1]")
    y, dtype = wide("smooth_labels", "labels", labels)
    check_axis("smooth_labels", y, axis, where)
    counted = jnp.broadcast_to(True if where is None else where, y.shape)
    n_classes = jnp.sum(counted, axis, keepdims=True).astype(y.dtype)
    share = jnp.asarray(alpha, y.dtype) / jnp.maximum(n_classes, 1)
    return (numerics.complement(alpha, y.dtype) * y + share).astype(dtype)


def _safe_log(p: Float[Array, "*shape"], dtype: DTypeLike) -> Float[Array, "*shape"]:
    """The log of ``p``, or of the epsilon of ``dtype``, which is the caller's, if ``p`` is smaller.

    The smallest number would not do: in float16 the slope 1 / 6e-5 times a batch overflows.
    """
    return jnp.log(jnp.maximum(p, float(jnp.finfo(dtype).eps)))


def _eps(*arguments: Any) -> float:
    """The largest machine epsilon among the dtypes of the arguments."""
    dtypes = [jnp.result_type(x) for x in arguments]
    return max(float(jnp.finfo(d).eps) for d in dtypes if jnp.issubdtype(d, jnp.floating))


def _divergence(
    q: Array, t: Array, log_t: Array, axis: Axis, where: Array | None, *, eps: float
) -> Float[Array, "..."]:
    value = jnp.sum(nothing_times(t, log_t - q), axis, where=where)
    sizes = nothing_times(t, jnp.abs(log_t) + jnp.abs(q) + 1)
    # Log-probabilities are off by a few units in their last place, or in that of 1.
    rounding = jax.lax.stop_gradient(8 * eps * jnp.sum(sizes, axis, where=where))
    # 0 with the slope of ``value``: only the value is corrected.
    lifted = value - jax.lax.stop_gradient(value)
    return jnp.where((value < 0) & (value >= -rounding), lifted, value)
