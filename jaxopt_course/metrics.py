"""Metrics: how well outputs fit targets, in units that people read.

Most metrics give one value for each example, in float32 or wider, to be averaged by
:func:`weighted_mean` or summed over batches. ``roc_auc``, ``average_precision``, ``f1``, ``r2``,
and the metrics of a ``confusion_matrix``, need all rows of a data set at once; trainings compute
them by :func:`~jaxopt_course.tasks.with_metrics`. All of them can be jitted.

With C[i, j] the number of examples of class i that were predicted as class j,

    precision_k = C[k, k] / sum_i C[i, k]
    recall_k    = C[k, k] / sum_j C[k, j]
    f1_k        = 2 C[k, k] / (sum_i C[i, k] + sum_j C[k, j])

and with the rows weighted by w, P the rows of a class and N the others,

    roc_auc           = sum_{i in P, j in N} w_i w_j (1[s_i > s_j] + 1[s_i = s_j] / 2)
                        / (sum_{i in P} w_i sum_{j in N} w_j)
    average_precision = sum_{i in P} w_i precision(s >= s_i) / sum_{i in P} w_i

References: Fawcett, "An Introduction to ROC Analysis", 2006, sections 7 and 8; scikit-learn, whose
definitions of ties, weights and means over classes these are.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Integer, Num, Real, ScalarLike, Shaped

from jaxopt_course.core import checks, numerics, tree


__all__ = [
    "accuracy",
    "average_precision",
    "binary_accuracy",
    "bits_per_byte",
    "confusion_matrix",
    "exact_match",
    "f1",
    "f1_score",
    "mean_absolute_error",
    "perplexity",
    "precision",
    "r2",
    "recall",
    "roc_auc",
    "top_k_accuracy",
    "weighted_mean",
]


def weighted_mean(values: Real[Array, "n"], weights: Real[Array, "n"]) -> Float[Array, ""]:
    """sum(weights * values) / sum(weights), in float32 or wider, or 0 if the weights sum to 0.

    Args:
        values: one for each row. Rows of weight 0 are ignored, even if their value is NaN.
        weights: nonnegative; 0 marks a padding row.

    Examples:
        >>> float(weighted_mean(jnp.array([1.0, 3.0, jnp.nan]), jnp.array([1.0, 1.0, 0.0])))
        2.0
    """
    values = checks.as_array("weighted_mean", "values", values)
    weights = checks.as_array("weighted_mean", "weights", weights)
    checks.like("weighted_mean", "`weights`", weights, values, than="`values`")
    v = tree.widened(values)
    w = weights.astype(v.dtype)
    return numerics.safe_divide(jnp.sum(w * jnp.where(w != 0, v, 0)), jnp.sum(w))


def accuracy(
    outputs: Float[Array, "*batch classes"], targets: Shaped[Array, "..."]
) -> Float[Array, "*batch"]:
    """1 where the largest output is that of the true class, else 0.

    Args:
        outputs: logits or probabilities; the first of equal ones counts as the largest.
        targets: the index of the true class, or its one-hot row. An index outside [0, classes), or
            a row without a positive entry, gives NaN.
    """
    labels, known = _class_numbers("accuracy", outputs, targets)
    right = jnp.argmax(outputs, -1).astype(labels.dtype) == labels
    return jnp.where(known, _as_numbers(right, outputs), jnp.nan)


def top_k_accuracy(
    outputs: Float[Array, "*batch classes"], targets: Shaped[Array, "..."], k: int
) -> Float[Array, "*batch"]:
    """1 where the true class is among those of the ``k`` largest outputs, else 0.

    ``k`` is a static integer in [1, classes]. The other arguments are those of :func:`accuracy`.
    """
    checks.rank("top_k_accuracy", "outputs", outputs, 1)
    checks.integer("top_k_accuracy", "k", k, f"[1, {outputs.shape[-1]}]")
    labels, known = _class_numbers("top_k_accuracy", outputs, targets)
    guesses = jax.lax.top_k(outputs, k)[1].astype(labels.dtype)
    right = jnp.any(guesses == labels[..., None], -1)
    return jnp.where(known, _as_numbers(right, outputs), jnp.nan)


def binary_accuracy(
    outputs: Float[Array, "*shape"], targets: Shaped[Array, "*shape"], threshold: ScalarLike = 0.0
) -> Float[Array, "*shape"]:
    """1 where ``outputs > threshold`` agrees with the target, else 0, entry by entry.

    The mean over the labels of an example is the share of correct labels.

    Args:
        outputs: log-odds, or probabilities with their threshold.
        targets: 0 or 1, of the same shape; values above 1/2 count as 1.
        threshold: 0 for log-odds, 0.5 for probabilities. It may be traced.
    """
    return _as_numbers(_bits_agree("binary_accuracy", outputs, targets, threshold), outputs)


def exact_match(
    outputs: Float[Array, "*batch labels"],
    targets: Shaped[Array, "*batch labels"],
    threshold: ScalarLike = 0.0,
) -> Float[Array, "*batch"]:
    """1 where :func:`binary_accuracy` is 1 for all labels of an example, else 0."""
    agree = _bits_agree("exact_match", outputs, targets, threshold)
    return _as_numbers(jnp.all(agree, -1), outputs)


def mean_absolute_error(
    outputs: Float[Array, "batch *entries"], targets: Real[Array, "batch *entries"]
) -> Float[Array, "batch"]:
    """The mean of |output - target| over the entries of each example."""
    y, t = _paired("mean_absolute_error", outputs, targets)
    return jnp.mean(jnp.abs(y - t), axis=tuple(range(1, y.ndim)))


def r2(
    outputs: Float[Array, "n *entries"],
    targets: Real[Array, "n *entries"],
    weights: Real[Array, "n"] | None = None,
) -> Float[Array, ""]:
    """Coefficient of determination, 1 - sum (t - y)^2 / sum (t - mean t)^2, of a whole data set.

    1 is perfect, and 0 is no better than the mean of the targets. For several entries in an example
    it is the mean of their scores. An entry whose targets are all equal scores 1 if the outputs are
    exact, else 0. The ``weights`` of the rows are nonnegative; None means 1.
    """
    y, t = _paired("r2", outputs, targets)
    y, t = y.reshape(len(y), -1), t.reshape(len(t), -1)
    weights = jnp.ones(len(y), y.dtype) if weights is None else weights
    mean = jax.vmap(weighted_mean, in_axes=(1, None))
    unexplained = mean(jnp.square(t - y), weights)
    total = mean(jnp.square(t - mean(t, weights)[None]), weights)
    missed = (total == 0) & (unexplained > 0)
    return jnp.mean(jnp.where(missed, 0, 1 - numerics.safe_divide(unexplained, total)))


def perplexity(
    losses: Real[Array, "*shape"], weights: Real[Array, "*shape"] | None = None
) -> Float[Array, ""]:
    """exp(mean loss): the perplexity of a language model on a whole data set.

    A model that hesitates between k equally probable tokens has the perplexity k. The mean of the
    perplexities of batches would be larger: take the mean loss first.

    Args:
        losses: cross-entropies in nats, of tokens or of rows with equally many tokens; or their
            mean, such as ``run.history["validation_loss"][-1]``.
        weights: as in :func:`weighted_mean`. None means 1.

    Examples:
        >>> round(float(perplexity(jnp.log(jnp.array([2.0, 8.0])))), 4)
        4.0
    """
    losses = tree.widened(checks.as_array("perplexity", "losses", losses))
    weights = jnp.ones_like(losses) if weights is None else weights
    return jnp.exp(weighted_mean(losses, weights))


def bits_per_byte(
    losses: Real[Array, "*shape"], bytes_per_token: ScalarLike = 1.0
) -> Float[Array, "*shape"]:
    """Cross-entropies in bits per byte of the text: loss / (log 2 * bytes per token).

    Unlike the perplexity, it compares models with different tokens.

    Args:
        losses: cross-entropies of tokens, or means of them, in nats.
        bytes_per_token: mean number of bytes of a token, in (0, inf). It is 1 if tokens are bytes.

    Examples:
        >>> bits_per_byte(jnp.log(jnp.array([2.0, 256.0]))).tolist()
        [1.0, 8.0]
    """
    checks.number("bits_per_byte", "bytes_per_token", bytes_per_token, "(0, inf)")
    losses = tree.widened(checks.as_array("bits_per_byte", "losses", losses))
    return losses / (math.log(2) * jnp.asarray(bytes_per_token, losses.dtype))


def roc_auc(
    outputs: Real[Array, "n *classes"],
    targets: Shaped[Array, "n *labels"],
    weights: Real[Array, "n"] | None = None,
) -> Float[Array, ""]:
    """The probability that a row of a class scores higher than a row outside it, ties counting 1/2.

    It is the area under the ROC curve; for several classes, the mean of those of each class against
    the rest.

    Args:
        outputs: scores, of which only the order matters: [n] or [n, 1] for the class 1 of two
            classes, else [n, classes].
        targets: class indices [n], or 0 and 1 in the shape of the outputs.
        weights: weight of each row; 0 for padding rows. None means 1.

    Returns:
        The area, f[]. It is NaN if a class or its rest has no row, or a score is NaN.

    Examples:
        >>> float(roc_auc(jnp.array([0.1, 0.4, 0.35, 0.8]), jnp.array([0, 0, 1, 1])))
        0.75
    """

    def area(s: Array, t: Array, w: Array) -> Array:
        order = jnp.argsort(s)
        others = jnp.concatenate([jnp.zeros(1, w.dtype), jnp.cumsum((w * (1 - t))[order])])
        below, up_to = (jnp.searchsorted(s[order], s, side=side) for side in ("left", "right"))
        wins = jnp.sum(w * t * (others[below] + others[up_to]) / 2)
        pairs = jnp.sum(w * t) * others[-1]
        return jnp.where(pairs > 0, numerics.safe_divide(wins, pairs), jnp.nan)

    return jnp.mean(_each_class("roc_auc", area, outputs, targets, weights))


def average_precision(
    outputs: Real[Array, "n *classes"],
    targets: Shaped[Array, "n *labels"],
    weights: Real[Array, "n"] | None = None,
) -> Float[Array, ""]:
    """The mean over the rows of a class of the precision at the threshold of their score.

    It is the area under the steps of the precision-recall curve; for several classes, the mean of
    those of each class. The arguments are those of :func:`roc_auc`.

    Returns:
        The area, f[]. A class without a row counts 0. It is NaN if a score is NaN.

    Examples:
        >>> round(float(average_precision(jnp.array([0.1, 0.4, 0.3]), jnp.array([1, 0, 1]))), 4)
        0.5833
    """

    def area(s: Array, t: Array, w: Array) -> Array:
        order = jnp.argsort(-s)
        last = jnp.searchsorted(-s[order], -s, side="right") - 1
        found, all_of_them = jnp.cumsum((w * t)[order]), jnp.cumsum(w[order])
        precisions = numerics.safe_divide(found[last], all_of_them[last])
        return numerics.safe_divide(jnp.sum(w * t * precisions), jnp.sum(w * t))

    return jnp.mean(_each_class("average_precision", area, outputs, targets, weights))


def f1(
    outputs: Real[Array, "n *classes"],
    targets: Shaped[Array, "n *labels"],
    weights: Real[Array, "n"] | None = None,
    threshold: ScalarLike = 0.5,
) -> Float[Array, ""]:
    """The harmonic mean of precision and recall, from predictions.

    Of two classes it is that of the class 1. Of several classes it is the mean over those that
    occur among the targets or the predictions, and of several labels the mean over all.

    Args:
        outputs: [n] or [n, 1] for two classes and [n, labels] for several labels, which are
            predicted where the output exceeds ``threshold``; or [n, classes], of which the largest
            is predicted.
        targets: class indices [n], or 0 and 1 in the shape of the outputs, which are labels.
        weights: weight of each row; 0 for padding rows. None means 1.
        threshold: 0.5 for probabilities and labels, 0 for log-odds. It may be traced.

    Examples:
        >>> round(float(f1(jnp.array([0.9, 0.2, 0.8]), jnp.array([1, 1, 0]))), 2)
        0.5
    """
    checks.number("f1", "threshold", threshold)
    is_class = jnp.ndim(targets) == 1 and jnp.shape(outputs)[1:] not in ((), (1,))
    outputs = checks.as_array("f1", "outputs", outputs)

    def counts(s: Array, t: Array, w: Array) -> Array:
        guessed = jnp.sum(w * s)
        return jnp.stack([2 * jnp.sum(w * s * t), guessed + jnp.sum(w * t)])

    wide = tree.widened(outputs)
    guesses = wide > jnp.asarray(threshold, wide.dtype)
    if is_class:
        guesses = jax.nn.one_hot(jnp.argmax(wide, -1), wide.shape[-1])
    guesses = jnp.where(jnp.isnan(wide), jnp.nan, guesses.astype(wide.dtype))
    right, total = _each_class("f1", counts, guesses, targets, weights).T
    scores = numerics.safe_divide(right, total)
    counted = total > 0 if is_class else jnp.ones_like(total, bool)
    return numerics.safe_divide(jnp.sum(scores), jnp.sum(counted.astype(total.dtype)))


def confusion_matrix(
    predicted: Integer[Array, "n"],
    targets: Integer[Array, "n"],
    n_classes: int,
    weights: Real[Array, "n"] | None = None,
) -> Num[Array, "classes classes"]:
    """How often class i (row) was predicted as class j (column). Matrices of batches can be added.

    Args:
        predicted: predicted class of each row. Rows outside [0, n_classes) are not counted.
        targets: true class of each row. Rows outside [0, n_classes) are not counted.
        n_classes: a static positive integer.
        weights: weight of each row; 0 for padding rows. None means 1, and integer counts.

    Examples:
        >>> confusion_matrix(jnp.array([0, 1, 1]), jnp.array([0, 0, 1]), 2).tolist()
        [[1, 1], [0, 1]]
    """
    checks.integer("confusion_matrix", "n_classes", n_classes, "[1, inf)")
    predicted = checks.as_array("confusion_matrix", "predicted", predicted)
    targets = checks.as_array("confusion_matrix", "targets", targets)
    checks.like("confusion_matrix", "`targets`", targets, predicted, than="`predicted`")
    if weights is None:
        weights = jnp.ones(predicted.shape, jnp.int32)
    else:
        weights = tree.widened(checks.as_array("confusion_matrix", "weights", weights))
    checks.like("confusion_matrix", "`weights`", weights, predicted, than="`predicted`")
    outside = [(x < 0) | (x >= n_classes) for x in (predicted, targets)]
    counted = jnp.where(outside[0] | outside[1], 0, weights)
    return jnp.zeros((n_classes, n_classes), weights.dtype).at[targets, predicted].add(counted)


def precision(matrix: Real[Array, "classes classes"]) -> Float[Array, "classes"]:
    """The share of the predictions of each class that are right; 0 for a class without any."""
    m = _confusion("precision", matrix)
    return numerics.safe_divide(jnp.diagonal(m), m.sum(0))


def recall(matrix: Real[Array, "classes classes"]) -> Float[Array, "classes"]:
    """The share of the examples of each class that are found; 0 for a class without any."""
    m = _confusion("recall", matrix)
    return numerics.safe_divide(jnp.diagonal(m), m.sum(1))


def f1_score(matrix: Real[Array, "classes classes"]) -> Float[Array, "classes"]:
    """The harmonic mean of precision and recall of each class; 0 for an absent class."""
    m = _confusion("f1_score", matrix)
    return numerics.safe_divide(2 * jnp.diagonal(m), m.sum(0) + m.sum(1))


def _each_class(
    owner: str,
    metric: Callable[[Array, Array, Array], Array],
    outputs: Any,
    targets: Any,
    weights: Any,
) -> Float[Array, "classes ..."]:
    """``metric(outputs [n], targets [n], weights [n])`` of each class; NaN if an output is NaN.

    Targets are 1 for the rows of the class, else 0. Outputs of weight 0 are replaced by 0.
    """
    outputs, targets = _arrays(owner, outputs, targets)
    s = tree.widened(outputs).reshape(len(outputs), -1)
    classes, is_bits = s.shape[1], targets.size == s.size
    if not is_bits:
        checks.like(owner, "`targets`", targets, s[:, 0], than="one class of the `outputs`")
    w = jnp.ones(len(s), s.dtype) if weights is None else jnp.asarray(weights, s.dtype)
    _check_classes(owner, targets, w, 2 if is_bits else classes)
    t = targets.astype(s.dtype)
    indices = jnp.arange(classes, dtype=s.dtype)
    t = t.reshape(s.shape) > 0.5 if is_bits else t[:, None] == indices[None]
    s = jnp.where(w[:, None] > 0, s, 0)
    values = jax.vmap(metric, in_axes=(1, 1, None))(s, t.astype(s.dtype), w)
    return jnp.where(jnp.any(jnp.isnan(s)), jnp.nan, values)


def _check_classes(owner: str, targets: Array, weights: Array, classes: int) -> None:
    """Raise unless the targets of rows that count lie in [0, classes), or are traced."""
    if checks.is_traced(targets) or checks.is_traced(weights):
        return
    values = np.asarray(targets)[np.asarray(weights) > 0]
    outside = values[~((values >= 0) & (values <= classes - 1))]
    if outside.size:
        raise ValueError(
            f"{owner}: `targets` must lie in [0, {classes - 1}], got {outside[0].item()!r}."
        )


def _confusion(owner: str, matrix: Any) -> Array:
    checks.rank(owner, "matrix", matrix, 2)
    return tree.widened(matrix)


def _as_numbers(right: Bool[Array, "*shape"], outputs: Any) -> Float[Array, "*shape"]:
    """1 where ``right``, else 0, in float32 or wider."""
    return right.astype(numerics.wide_dtype(jnp.result_type(outputs)))


def _arrays(owner: str, outputs: Any, targets: Any) -> tuple[Array, Array]:
    return checks.as_array(owner, "outputs", outputs), checks.as_array(owner, "targets", targets)


def _paired(owner: str, outputs: Any, targets: Any) -> tuple[Array, Array]:
    outputs, targets = _arrays(owner, outputs, targets)
    checks.like(owner, "`targets`", targets, outputs, than="`outputs`")
    outputs = tree.widened(outputs)
    return outputs, targets.astype(outputs.dtype)


def _bits_agree(owner: str, outputs: Any, targets: Any, threshold: ScalarLike) -> Array:
    checks.number(owner, "threshold", threshold)
    y, t = _paired(owner, outputs, targets)
    return (y > jnp.asarray(threshold, y.dtype)) == (t > 0.5)


def _class_numbers(owner: str, outputs: Any, targets: Any) -> tuple[Array, Bool[Array, "..."]]:
    """The true classes, from their indices or one-hot rows, and where there is one."""
    outputs, targets = _arrays(owner, outputs, targets)
    checks.rank(owner, "outputs", outputs, 1)
    if targets.ndim == jnp.ndim(outputs):
        checks.like(owner, "`targets`", targets, outputs, than="`outputs`")
        return jnp.argmax(targets, -1), jnp.any(targets > 0, -1)
    checks.like(owner, "`targets`", targets, outputs[..., 0], than="one class of the `outputs`")
    known = (targets >= 0) & (targets < jnp.shape(outputs)[-1])
    return targets if jnp.issubdtype(targets.dtype, jnp.floating) else targets.astype(int), known
