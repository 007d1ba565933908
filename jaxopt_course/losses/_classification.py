"""Losses for classes, from logits: the outputs of a model before its sigmoid or softmax.

    sigmoid_binary_cross_entropy    -y log s(x) - (1 - y) log(1 - s(x))     per entry
    multilabel_cross_entropy        its sum over the labels                 per example
    softmax_cross_entropy           -sum_k y_k log softmax(x)_k             per example
    hinge_loss                      max(0, 1 - y x), y in {-1, 1}           per entry

with s the sigmoid and log the natural logarithm. The logarithm and the output function are
formed as one (log s(x) = -jax.nn.softplus(-x)), so that no logit overflows. Each is computed in
float32 or wider and returned in the logits' dtype. The forms from probabilities are in
``_probabilities.py``.

Reference: Goodfellow et al., "Deep Learning", 2016, sections 6.2.2.2 and 6.2.2.3.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Integer, Real, Shaped

from jaxopt_course.core import checks

from ._inputs import check_reduction, check_where, infinite_alone, nothing_times, wide, wide_pair


Axis = int | tuple[int, ...] | None


def sigmoid_binary_cross_entropy(
    logits: Float[Array, "*shape"], labels: Shaped[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """Binary cross-entropy of sigmoid(logits), entry by entry.

    Args:
        logits: the log-odds of class 1.
        labels: 0 or 1, or a probability in [0, 1], of the same shape.

    Raises:
        ValueError: if the shapes differ.

    Examples:
        >>> import jax.numpy as jnp
        >>> sigmoid_binary_cross_entropy(jnp.array([1e4, -1e4]), jnp.array([1, 1])).tolist()
        [0.0, 10000.0]
    """
    x, y, dtype = wide_pair("sigmoid_binary_cross_entropy", "logits", logits, labels)
    losses = nothing_times(y, jax.nn.softplus(-x)) + nothing_times(1 - y, jax.nn.softplus(x))
    return losses.astype(dtype)


def multilabel_cross_entropy(
    logits: Float[Array, "*shape"], labels: Shaped[Array, "*shape"], axis: Axis = -1
) -> Float[Array, "..."]:
    """Binary cross-entropy summed over the labels that an example may carry at once.

    Args:
        logits: the log-odds of each label.
        labels: 0 or 1, or a probability in [0, 1], of the same shape.
        axis: the axis of the labels.

    Returns:
        One value for each example: the shape without ``axis``. In float16 a sum above 65504 is
        infinite; hand in float32 logits where that may happen.

    Raises:
        ValueError: if the shapes differ.
    """
    x, y, dtype = wide_pair("multilabel_cross_entropy", "logits", logits, labels)
    check_reduction("multilabel_cross_entropy", x, axis)
    return jnp.sum(sigmoid_binary_cross_entropy(x, y), axis).astype(dtype)


def softmax_cross_entropy(
    logits: Float[Array, "*shape"],
    labels: Shaped[Array, "*shape"],
    axis: Axis = -1,
    where: Bool[Array, "..."] | None = None,
) -> Float[Array, "..."]:
    """Categorical cross-entropy of softmax(logits) against one probability for each class.

    Args:
        logits: log-probabilities up to a constant.
        labels: one-hot rows, or probabilities, of the same shape.
        axis: the axis or axes of the classes; all where None.
        where: which entries take part, in the shape of ``logits``, or without ``axis``.

    Returns:
        One value for each example: the shape without ``axis``; 0 where nothing takes part.

    Raises:
        ValueError: if the shapes differ.

    Examples:
        >>> import jax.numpy as jnp
        >>> loss = softmax_cross_entropy(jnp.log(jnp.array([0.2, 0.8])), jnp.array([0.0, 1.0]))
        >>> round(float(loss), 4)  # -log(0.8)
        0.2231
    """
    x, y, dtype = wide_pair("softmax_cross_entropy", "logits", logits, labels)
    check_reduction("softmax_cross_entropy", x, axis)
    mask = _mask(where, x, axis)
    x = infinite_alone(x if mask is None else jnp.where(mask, x, 0), axis)
    if mask is None:
        return -jnp.sum(nothing_times(y, jax.nn.log_softmax(x, axis)), axis).astype(dtype)
    log_p = jax.nn.log_softmax(x, axis, _never_empty(mask, axis))
    return -jnp.sum(nothing_times(y, jnp.where(mask, log_p, 0)), axis).astype(dtype)


def softmax_cross_entropy_with_integer_labels(
    logits: Float[Array, "*shape"],
    labels: Integer[Array, "..."],
    axis: int | tuple[int, ...] = -1,
    where: Bool[Array, "..."] | None = None,
) -> Float[Array, "..."]:
    """Categorical cross-entropy of softmax(logits) against the number of the right class.

    Args:
        logits: log-probabilities up to a constant.
        labels: the right class of each example, in [0, classes); the logits' shape without
            ``axis``. A label outside of this range gives NaN.
        axis: the axis of the classes; of several, or of all where None, a label numbers their
            flattened entries.
        where: which entries take part, in the shape of ``logits``, or without ``axis``.

    Returns:
        One value for each example: the shape of ``labels``; 0 where nothing takes part.

    Raises:
        TypeError: if the labels are no integers.
        ValueError: if their shape is not the logits' without ``axis``.
    """
    owner = "softmax_cross_entropy_with_integer_labels"
    x, dtype = wide(owner, "logits", logits)
    check_reduction(owner, x, axis)
    axis = tuple(range(x.ndim)) if axis is None else axis
    labels, mask = checks.as_array(owner, "labels", labels), _mask(where, x, axis)
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise TypeError(f"{owner}: `labels` must be integers, got {labels.dtype}.")
    shape, x = x.shape, _classes_last(x, axis)
    if x.shape[-1] == 0:
        raise ValueError(f"{owner}: `logits` must have at least one class, got shape {shape}.")
    checks.like(owner, "`labels`", labels, x[..., 0], than="one class of the `logits`")
    mask = None if mask is None else _classes_last(mask, axis)
    kept = None if mask is None else _never_empty(mask, -1)
    # From the largest logit down: near 1e4, float32 would leave log(sum(exp)) three decimals. If it
    # is infinite, its class has all the probability.
    top = jax.lax.stop_gradient(jnp.max(x, -1, keepdims=True, where=kept, initial=-jnp.inf))
    x = jnp.where(top == jnp.inf, jnp.where(x == jnp.inf, 0, -jnp.inf), x - top)
    # A negative index would count from the end; one beyond the end is filled with NaN.
    places = jnp.where(labels < 0, x.shape[-1], labels.astype(int))
    chosen = jnp.take_along_axis(x, places[..., None], axis=-1, mode="fill")[..., 0]
    counted = x if kept is None else jnp.where(kept, x, -jnp.inf)
    values = jnp.log(jnp.sum(jnp.exp(counted), -1)) - chosen
    return (values if mask is None else jnp.where(jnp.any(mask, -1), values, 0)).astype(dtype)


def hinge_loss(
    predictor_outputs: Float[Array, "*shape"], targets: Real[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """How far an output falls short of a margin of 1 on the right side: max(0, 1 - y x).

    Args:
        predictor_outputs: the decision function.
        targets: -1 or 1, of the same shape.

    Raises:
        ValueError: if the shapes differ.

    Reference: Cortes & Vapnik, "Support-Vector Networks", 1995.
    """
    x, y, dtype = wide_pair("hinge_loss", "predictor_outputs", predictor_outputs, targets)
    return jnp.maximum(1 - y * x, 0).astype(dtype)


def _mask(where: Array | None, x: Array, axis: Axis) -> Array | None:
    """``where`` in the shape of ``x``; None stays None."""
    if where is None:
        return None
    check_where(where)
    if where.ndim != x.ndim:
        where = jnp.expand_dims(where, tuple(range(x.ndim)) if axis is None else axis)
    return jnp.broadcast_to(where, x.shape)


def _never_empty(mask: Bool[Array, "*shape"], axis: Axis) -> Bool[Array, "*shape"]:
    """``mask``, but all entries of an example that has none: the log of an empty sum is -inf."""
    return mask | ~jnp.any(mask, axis, keepdims=True)


def _classes_last(x: Shaped[Array, "..."], axis: int | tuple[int, ...]) -> Shaped[Array, "..."]:
    """``x`` with the axes of the classes moved to the end and flattened into one."""
    axes = (axis,) if isinstance(axis, int | np.integer) else axis
    x = jnp.moveaxis(x, axes, tuple(range(-len(axes), 0)))
    return x.reshape(*x.shape[: x.ndim - len(axes)], -1)
