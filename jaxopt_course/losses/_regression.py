"""Losses for real-valued targets, functions of the residual r = prediction - target.

    squared_error          r^2                            per entry
    l2_loss                r^2 / 2                        per entry
    absolute_error         |r|                            per entry
    huber_loss             r^2 / 2, linear in the tails   per entry
    log_cosh               log(cosh(r))                   per entry
    mean_squared_error     mean of r^2                    per example
    half_squared_error     sum of r^2 / 2                 per example

Each is computed in float32 or wider and returned in the dtype of the predictions. Predictions and
targets must have equal shapes; shapes that merely broadcast raise a ValueError. Targets of None are
zeros.

Reference: Huber, "Robust Estimation of a Location Parameter", 1964.
"""

import math
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Real, ScalarLike

from jaxopt_course.core import checks, numerics

from ._inputs import wide, wide_pair


def squared_error(
    predictions: Float[Array, "*shape"], targets: Real[Array, "*shape"] | None = None
) -> Float[Array, "*shape"]:
    """The squared residual r^2, entry by entry."""
    r, dtype = _residual("squared_error", predictions, targets)
    return jnp.square(r).astype(dtype)


def l2_loss(
    predictions: Float[Array, "*shape"], targets: Real[Array, "*shape"] | None = None
) -> Float[Array, "*shape"]:
    """Half the squared residual, r^2 / 2, entry by entry. Its slope is the residual."""
    r, dtype = _residual("l2_loss", predictions, targets)
    return (jnp.square(r) / 2).astype(dtype)


def absolute_error(
    predictions: Float[Array, "*shape"], targets: Real[Array, "*shape"] | None = None
) -> Float[Array, "*shape"]:
    """The absolute residual |r|, entry by entry. Its slope at 0 is 0."""
    r, dtype = _residual("absolute_error", predictions, targets)
    return numerics.magnitude(r).astype(dtype)


def huber_loss(
    predictions: Float[Array, "*shape"],
    targets: Real[Array, "*shape"] | None = None,
    *,
    delta: ScalarLike = 1.0,
) -> Float[Array, "*shape"]:
    """Squared error near zero, absolute error in the tails.

    The loss is r^2 / 2 where |r| <= delta, and delta (|r| - delta / 2) elsewhere. Value and slope
    are continuous at |r| = delta, and no slope exceeds delta.

    Args:
        predictions: the outputs of a model.
        targets: the true values, of the same shape; None means zeros.
        delta: where the tails begin, in (0, inf), in the unit of the targets.

    Examples:
        >>> huber_loss(jnp.array([0.5, 3.0]), jnp.zeros(2), delta=1.0).tolist()
        [0.125, 2.5]
    """
    checks.number("huber_loss", "delta", delta, "(0, inf)")
    r, dtype = _residual("huber_loss", predictions, targets)
    size = jnp.abs(r)
    bound = jnp.asarray(delta, r.dtype)
    near = jnp.minimum(size, bound)
    return (jnp.square(near) / 2 + bound * (size - near)).astype(dtype)


def log_cosh(
    predictions: Float[Array, "*shape"], targets: Real[Array, "*shape"] | None = None
) -> Float[Array, "*shape"]:
    """log(cosh(r)), entry by entry: r^2 / 2 near zero, |r| - log(2) in the tails.

    Near zero it is computed as log1p(2 sinh(r / 2)^2), which keeps the digits that
    log(exp(r) + exp(-r)) - log(2) loses.
    """
    r, dtype = _residual("log_cosh", predictions, targets)
    size = jnp.abs(r)
    small = size < 1
    near = jnp.log1p(2 * jnp.square(jnp.sinh(jnp.where(small, r, 0) / 2)))
    far = size + jnp.log1p(jnp.exp(-2 * size)) - math.log(2)
    return jnp.where(small, near, far).astype(dtype)


def mean_squared_error(
    predictions: Float[Array, "batch *entries"], targets: Real[Array, "batch *entries"]
) -> Float[Array, "batch"]:
    """The mean of r^2 over the entries of each example, whose axis is the first.

    It is ``2 / entries`` times :func:`half_squared_error`.

    Examples:
        >>> mean_squared_error(jnp.array([[1.0, 2.0]]), jnp.array([[0.0, 0.0]])).tolist()
        [2.5]
    """
    r, entries, dtype = _residual_rows("mean_squared_error", predictions, targets)
    return jnp.mean(jnp.square(r), entries).astype(dtype)


def half_squared_error(
    predictions: Float[Array, "batch *entries"], targets: Real[Array, "batch *entries"]
) -> Float[Array, "batch"]:
    """Half the sum of r^2 over the entries of each example, whose axis is the first.

    Its mean over N examples is the course's 1/(2N) sum ||y - a||^2.
    """
    r, entries, dtype = _residual_rows("half_squared_error", predictions, targets)
    return (jnp.sum(jnp.square(r), entries) / 2).astype(dtype)


def _residual(owner: str, predictions: Any, targets: Any) -> tuple[Array, Any]:
    """Predictions minus targets, float32 or wider, and the dtype the predictions came in."""
    if targets is None:
        return wide(owner, "predictions", predictions)
    y, t, dtype = wide_pair(owner, "predictions", predictions, targets)
    return y - t, dtype


def _residual_rows(
    owner: str, predictions: Any, targets: Any
) -> tuple[Array, tuple[int, ...], Any]:
    """The residual, its axes other than that of the examples, and the dtype of the predictions."""
    y, t, dtype = wide_pair(owner, "predictions", predictions, targets)
    if y.ndim == 0:
        raise ValueError(f"{owner}: `predictions` must have an axis of examples, got a scalar.")
    return y - t, tuple(range(1, y.ndim)), dtype
