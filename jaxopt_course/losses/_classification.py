"""Losses of logits: the outputs of a model before its sigmoid or softmax.

    sigmoid_binary_cross_entropy   -y log s(x) - (1 - y) log(1 - s(x))                  per entry
    multilabel_cross_entropy       its sum over the labels                              per example
    softmax_cross_entropy          -sum_k y_k log softmax(x)_k                          per example
    hinge_loss                     max(0, 1 - y x), y in {-1, 1}                        per entry
    ctc_loss                       -log sum over alignments of prod_t p_t(its label)    per example

with s the sigmoid and log the natural logarithm. The logarithm and the output function are computed
as one function (log s(x) = -softplus(-x)), so no logit overflows. Each loss is computed in float32
or wider and returned in the dtype of the logits.

References: Goodfellow et al., "Deep Learning", 2016, sections 6.2.2.2 and 6.2.2.3; Cortes & Vapnik,
"Support-Vector Networks", 1995 (hinge); Graves et al., "Connectionist temporal classification",
2006.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Integer, Real, ScalarLike, Shaped

from jaxopt_course.core import checks

from ._inputs import Axis, check_axis, check_where, nothing_times, safe_logits, wide, wide_pair


def sigmoid_binary_cross_entropy(
    logits: Float[Array, "*shape"], labels: Shaped[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """Binary cross-entropy of sigmoid(logits), entry by entry.

    Args:
        logits: log-odds of class 1.
        labels: 0 or 1, or a probability in [0, 1], of the same shape.

    Examples:
        >>> sigmoid_binary_cross_entropy(jnp.array([1e4, -1e4]), jnp.array([1, 1])).tolist()
        [0.0, 10000.0]
    """
    x, y, dtype = wide_pair("sigmoid_binary_cross_entropy", "logits", logits, labels, "labels")
    losses = nothing_times(y, jax.nn.softplus(-x)) + nothing_times(1 - y, jax.nn.softplus(x))
    return losses.astype(dtype)


def multilabel_cross_entropy(
    logits: Float[Array, "*shape"], labels: Shaped[Array, "*shape"], axis: Axis = -1
) -> Float[Array, "..."]:
    """Binary cross-entropy, summed over the labels that an example can have at the same time.

    The arguments are those of :func:`sigmoid_binary_cross_entropy`, and ``axis``, the axis of the
    labels. In float16 a sum above 65504 is infinite: pass float32 logits if this can happen.
    """
    x, y, dtype = wide_pair("multilabel_cross_entropy", "logits", logits, labels, "labels")
    check_axis("multilabel_cross_entropy", x, axis)
    return jnp.sum(sigmoid_binary_cross_entropy(x, y), axis).astype(dtype)


def softmax_cross_entropy(
    logits: Float[Array, "*shape"],
    labels: Shaped[Array, "*shape"],
    axis: Axis = -1,
    where: Bool[Array, "..."] | None = None,
) -> Float[Array, "..."]:
    """Categorical cross-entropy of softmax(logits) against a probability for each class.

    Args:
        logits: log-probabilities, up to a constant.
        labels: one-hot rows, or probabilities, of the same shape.
        axis: the axis or axes of the classes; None means all axes.
        where: mask of the entries to include, in the shape of ``logits`` or without ``axis``.

    Returns:
        One value for each example; 0 if no entry is included.

    Examples:
        >>> loss = softmax_cross_entropy(jnp.log(jnp.array([0.2, 0.8])), jnp.array([0.0, 1.0]))
        >>> round(float(loss), 4)  # -log(0.8)
        0.2231
    """
    x, y, dtype = wide_pair("softmax_cross_entropy", "logits", logits, labels, "labels")
    check_axis("softmax_cross_entropy", x, axis)
    mask = _mask("softmax_cross_entropy", where, x, axis)
    x = safe_logits(x if mask is None else jnp.where(mask, x, 0), axis)
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
    """Categorical cross-entropy of softmax(logits) against the index of the true class.

    Args:
        logits: log-probabilities, up to a constant.
        labels: the class of each example, in [0, classes), in the shape of the logits without
            ``axis``. A label outside this interval gives NaN.
        axis: the axis of the classes. With several axes, or None for all axes, a label is an index
            into their flattened entries.
        where: as in :func:`softmax_cross_entropy`.
    """
    owner = "softmax_cross_entropy_with_integer_labels"
    x, dtype = wide(owner, "logits", logits)
    check_axis(owner, x, axis)
    axis = tuple(range(x.ndim)) if axis is None else axis
    mask = _mask(owner, where, x, axis)
    shape, x = x.shape, _classes_last(x, axis)
    if x.shape[-1] == 0:
        raise ValueError(f"{owner}: `logits` must have at least one class, got shape {shape}.")
    labels = class_labels(owner, "logits", x, labels)
    mask = None if mask is None else _classes_last(mask, axis)
    kept = None if mask is None else _never_empty(mask, -1)
    # Relative to the largest logit: near 1e4, float32 would keep three decimals of log(sum(exp)).
    # A class whose logit is +inf has all the probability.
    top = jax.lax.stop_gradient(jnp.max(x, -1, keepdims=True, where=kept, initial=-jnp.inf))
    x = jnp.where(top == jnp.inf, jnp.where(x == jnp.inf, 0, -jnp.inf), x - top)
    # A negative index would count from the end; an index beyond the end gives NaN.
    places = jnp.where(labels < 0, x.shape[-1], labels.astype(int))
    chosen = jnp.take_along_axis(x, places[..., None], axis=-1, mode="fill")[..., 0]
    counted = x if kept is None else jnp.where(kept, x, -jnp.inf)
    values = jnp.log(jnp.sum(jnp.exp(counted), -1)) - chosen
    return (values if mask is None else jnp.where(jnp.any(mask, -1), values, 0)).astype(dtype)


def hinge_loss(
    predictor_outputs: Float[Array, "*shape"], targets: Real[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """max(0, 1 - y x): how far an output falls short of a margin of 1 on the side of its target.

    Args:
        predictor_outputs: values x of the decision function.
        targets: the class y of each, -1 or 1, of the same shape.
    """
    x, y, dtype = wide_pair("hinge_loss", "predictor_outputs", predictor_outputs, targets)
    return jnp.maximum(1 - y * x, 0).astype(dtype)


def ctc_loss_with_forward_probs(
    logits: Float[Array, "batch time classes"],
    logit_paddings: Real[Array, "batch time"],
    labels: Integer[Array, "batch labels"],
    label_paddings: Real[Array, "batch labels"],
    *,
    blank_id: int = 0,
    log_epsilon: ScalarLike = -1e5,
) -> tuple[Float[Array, "batch"], Array, Array]:
    """The CTC loss of each sequence, and the logarithms of its forward probabilities.

    An alignment gives every time one of the labels in order, or a blank. The sum over alignments
    is the recursion of optax on log-probabilities of at least ``log_epsilon``, in float32 or
    wider. If rounding makes the sum of the probabilities exceed 1, the loss is 0.

    Args:
        logits: log-probabilities of the classes at each time, up to a constant.
        logit_paddings: 1 where a time is padding, else 0.
        labels: the classes of each sequence, padded on the right.
        label_paddings: 1 where a label is padding, else 0.
        blank_id: the class that means no label.
        log_epsilon: the value used for the logarithm of 0, and the smallest log-probability.

    Returns:
        The losses in the dtype of the logits, and the logarithms of the probabilities of reaching
        each blank, f[time, batch, labels + 1], and each label, f[time, batch, labels].
    """
    x, dtype = wide("ctc_loss", "logits", logits)
    log_p = jax.nn.log_softmax(safe_logits(x, -1), -1)
    log_p = jnp.maximum(log_p, jnp.asarray(log_epsilon, x.dtype))
    with jax.numpy_dtype_promotion("standard"):
        losses, blanks, emitted = optax.losses.ctc_loss_with_forward_probs(
            log_p,
            jnp.asarray(logit_paddings, x.dtype),
            labels,
            jnp.asarray(label_paddings, x.dtype),
            blank_id=blank_id,
            log_epsilon=log_epsilon,
        )
    return jnp.maximum(losses, 0).astype(dtype), blanks, emitted


def ctc_loss(
    logits: Float[Array, "batch time classes"],
    logit_paddings: Real[Array, "batch time"],
    labels: Integer[Array, "batch labels"],
    label_paddings: Real[Array, "batch labels"],
    *,
    blank_id: int = 0,
    log_epsilon: ScalarLike = -1e5,
) -> Float[Array, "batch"]:
    """The loss of :func:`ctc_loss_with_forward_probs` alone, with the same arguments.

    Examples:
        >>> logits = jnp.zeros((1, 1, 2))  # one time, where a blank and a label are equally likely
        >>> loss = ctc_loss(logits, jnp.zeros((1, 1)), jnp.array([[1]]), jnp.zeros((1, 1)))
        >>> [round(float(x), 4) for x in loss]  # log(2)
        [0.6931]
    """
    args = (logits, logit_paddings, labels, label_paddings)
    return ctc_loss_with_forward_probs(*args, blank_id=blank_id, log_epsilon=log_epsilon)[0]


def class_labels(owner: str, what: str, outputs: Array, labels: Any) -> Array:
    """The checked ``labels``: one integer for each row of ``outputs``, whose classes come last."""
    labels = checks.as_array(owner, "labels", labels)
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise TypeError(f"{owner}: `labels` must be integers, got {labels.dtype}.")
    checks.like(owner, "`labels`", labels, outputs[..., 0], than=f"one class of the `{what}`")
    return labels


def _mask(owner: str, where: Array | None, x: Array, axis: Axis) -> Array | None:
    """``where`` in the shape of ``x``, or None."""
    if where is None:
        return None
    check_where(owner, where)
    if where.ndim != x.ndim:
        where = jnp.expand_dims(where, tuple(range(x.ndim)) if axis is None else axis)
    return jnp.broadcast_to(where, x.shape)


def _never_empty(mask: Bool[Array, "*shape"], axis: Axis) -> Bool[Array, "*shape"]:
    """``mask``, or all entries of an example without any: the log of an empty sum is -inf."""
    return mask | ~jnp.any(mask, axis, keepdims=True)


def _classes_last(x: Shaped[Array, "..."], axis: int | tuple[int, ...]) -> Shaped[Array, "..."]:
    """``x`` with the axes of the classes moved to the end and flattened into one."""
    axes = (axis,) if isinstance(axis, int | np.integer) else axis
    x = jnp.moveaxis(x, axes, tuple(range(-len(axes), 0)))
    return x.reshape(*x.shape[: x.ndim - len(axes)], -1)
