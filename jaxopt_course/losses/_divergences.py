"""Divergences between distributions, from log-probabilities q and probabilities t.

    kl_divergence                    sum t (log t - q)
    kl_divergence_with_log_targets   the same, from log t
    generalized_kl_divergence        sum t (log t - q) - t + exp(q)

with 0 log 0 = 0. Each is computed in float32 or wider and returned in the dtype of q.

References: Kullback & Leibler, "On Information and Sufficiency", 1951; Bregman, "The relaxation
method of finding the common point of convex sets", 1967.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ._inputs import check_reduction, nothing_times, wide_pair


Axis = int | tuple[int, ...] | None
NEAR = 0.3  # up to here a series of TERMS terms leaves out less than 1e-16 of the sum
TERMS = 14


def kl_divergence(
    log_predictions: Float[Array, "*shape"],
    targets: Float[Array, "*shape"],
    axis: Axis = -1,
    where: Bool[Array, "*shape"] | None = None,
) -> Float[Array, "..."]:
    """The Kullback-Leibler divergence sum t (log t - q) of predictions from targets.

    Args:
        log_predictions: q, logarithms of probabilities.
        targets: t, probabilities in [0, 1], of the same shape.
        axis: the axis or axes of the classes; all where None.
        where: which entries take part, in the same shape.

    Returns:
        One value for each example: the shape without ``axis``. A value below 0 by no more than
        the rounding of its terms is 0.

    Raises:
        ValueError: if the shapes differ.

    Examples:
        >>> import jax.numpy as jnp
        >>> q = jnp.log(jnp.array([0.5, 0.5]))
        >>> round(float(kl_divergence(q, jnp.array([1.0, 0.0]))), 4)  # log(2)
        0.6931
    """
    q, t, dtype = wide_pair("kl_divergence", "log_predictions", log_predictions, targets)
    check_reduction("kl_divergence", q, axis, where)
    positive = t > 0
    log_t = jnp.where(positive, jnp.log(jnp.where(positive, t, 1)), 0)
    return _divergence(q, t, log_t, axis, where, eps=_eps(log_predictions, targets)).astype(dtype)


def kl_divergence_with_log_targets(
    log_predictions: Float[Array, "*shape"],
    log_targets: Float[Array, "*shape"],
    axis: Axis = -1,
    where: Bool[Array, "*shape"] | None = None,
) -> Float[Array, "..."]:
    """:func:`kl_divergence` from the logarithms of the targets.

    Args:
        log_predictions: q, logarithms of probabilities.
        log_targets: log t, of the same shape; -inf stands for a probability of 0.
        axis: the axis or axes of the classes; all where None.
        where: which entries take part, in the same shape.

    Raises:
        ValueError: if the shapes differ.
    """
    owner = "kl_divergence_with_log_targets"
    q, log_t, dtype = wide_pair(owner, "log_predictions", log_predictions, log_targets)
    check_reduction(owner, q, axis, where)
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
    """The divergence sum t (log t - q) - t + exp(q), also of what does not sum to 1.

    Every term is 0 or more, and is computed without cancellation.

    Args:
        log_predictions: q, logarithms of positive numbers.
        targets: t, in [0, inf), of the same shape.
        axis: the axis or axes of the classes; all where None.
        where: which entries take part, in the same shape.

    Raises:
        ValueError: if the shapes differ.

    Examples:
        >>> import jax.numpy as jnp
        >>> float(generalized_kl_divergence(jnp.zeros(2), jnp.array([1.0, 0.0])))
        1.0
    """
    owner = "generalized_kl_divergence"
    q, t, dtype = wide_pair(owner, "log_predictions", log_predictions, targets)
    check_reduction(owner, q, axis, where)
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


def convex_kl_divergence(
    log_predictions: Float[Array, "*shape"],
    targets: Float[Array, "*shape"],
    axis: Axis = -1,
    where: Bool[Array, "*shape"] | None = None,
) -> Float[Array, "..."]:
    """:func:`generalized_kl_divergence` under its older name."""
    return generalized_kl_divergence(log_predictions, targets, axis, where)


def _eps(*arguments: Any) -> float:
    """The relative rounding of arguments that were given in these dtypes."""
    dtypes = [jnp.result_type(x) for x in arguments]
    return max(float(jnp.finfo(d).eps) for d in dtypes if jnp.issubdtype(d, jnp.floating))


def _divergence(
    q: Array, t: Array, log_t: Array, axis: Axis, where: Array | None, *, eps: float
) -> Float[Array, "..."]:
    value = jnp.sum(nothing_times(t, log_t - q), axis, where=where)
    sizes = nothing_times(t, jnp.abs(log_t) + jnp.abs(q) + 1)
    # Log-probabilities are off by a few units in their last place, or in that of 1.
    rounding = jax.lax.stop_gradient(8 * eps * jnp.sum(sizes, axis, where=where))
    # The slope stays: only the value is lifted.
    lifted = value - jax.lax.stop_gradient(value)
    return jnp.where((value < 0) & (value >= -rounding), lifted, value)
