"""Metrics of whole data sets, which are not means over examples.

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

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Integer, Num, Real, ScalarLike, Shaped

from jaxopt_course.core import checks, numerics, tree

from ._examples import arrays, paired, weighted_mean


def r2(
    outputs: Float[Array, "n *entries"],
    targets: Real[Array, "n *entries"],
    weights: Real[Array, "n"] | None = None,
) -> Float[Array, ""]:
    """Coefficient of determination, 1 - sum (t - y)^2 / sum (t - mean t)^2, of a whole data set.

    1 is perfect, and 0 is no better than the mean of the targets. For several entries in an example
    it is the mean of their scores. An entry whose targets are all equal scores 1 if the outputs are
    exact, else 0. The ``weights`` of the rows are nonnegative; None means 1.

    Examples:
        >>> float(r2(jnp.array([1.0, 2.0, 4.0]), jnp.array([1.0, 2.0, 3.0])))
        0.5
    """
    y, t = paired("r2", outputs, targets)
    y, t = y.reshape(len(y), -1), t.reshape(len(t), -1)
    weights = jnp.ones(len(y), y.dtype) if weights is None else weights
    mean = jax.vmap(weighted_mean, in_axes=(1, None))
    unexplained = mean(jnp.square(t - y), weights)
    total = mean(jnp.square(t - mean(t, weights)[None]), weights)
    missed = (total == 0) & (unexplained > 0)
    return jnp.mean(jnp.where(missed, 0, 1 - numerics.safe_divide(unexplained, total)))


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
    return jnp.mean(_each_class("roc_auc", _area, outputs, targets, weights))


def _area(s: Array, t: Array, w: Array) -> Array:
    order = jnp.argsort(s)
    others = jnp.concatenate([jnp.zeros(1, w.dtype), jnp.cumsum((w * (1 - t))[order])])
    below, up_to = (jnp.searchsorted(s[order], s, side=side) for side in ("left", "right"))
    wins = jnp.sum(w * t * (others[below] + others[up_to]) / 2)
    pairs = jnp.sum(w * t) * others[-1]
    return jnp.where(pairs > 0, numerics.safe_divide(wins, pairs), jnp.nan)


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
    return jnp.mean(_each_class("average_precision", _mean_precision, outputs, targets, weights))


def _mean_precision(s: Array, t: Array, w: Array) -> Array:
    order = jnp.argsort(-s)
    last = jnp.searchsorted(-s[order], -s, side="right") - 1
    found, all_of_them = jnp.cumsum((w * t)[order]), jnp.cumsum(w[order])
    precisions = numerics.safe_divide(found[last], all_of_them[last])
    return numerics.safe_divide(jnp.sum(w * t * precisions), jnp.sum(w * t))


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
    wide = tree.widened(outputs)
    guesses = wide > jnp.asarray(threshold, wide.dtype)
    if is_class:
        guesses = jax.nn.one_hot(jnp.argmax(wide, -1), wide.shape[-1])
    guesses = jnp.where(jnp.isnan(wide), jnp.nan, guesses.astype(wide.dtype))
    right, total = _each_class("f1", _counts, guesses, targets, weights).T
    scores = numerics.safe_divide(right, total)
    counted = total > 0 if is_class else jnp.ones_like(total, bool)
    return numerics.safe_divide(jnp.sum(scores), jnp.sum(counted.astype(total.dtype)))


def _counts(s: Array, t: Array, w: Array) -> Array:
    """Twice the hits, and the guesses and targets together."""
    return jnp.stack([2 * jnp.sum(w * s * t), jnp.sum(w * s) + jnp.sum(w * t)])


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
    """The share of the predictions of each class that are right; 0 for a class without any.

    Examples:
        >>> precision(jnp.array([[3, 1], [0, 1]])).tolist()
        [1.0, 0.5]
    """
    m = _confusion("precision", matrix)
    return numerics.safe_divide(jnp.diagonal(m), m.sum(0))


def recall(matrix: Real[Array, "classes classes"]) -> Float[Array, "classes"]:
    """The share of the examples of each class that are found; 0 for a class without any.

    Examples:
        >>> recall(jnp.array([[3, 1], [0, 1]])).tolist()
        [0.75, 1.0]
    """
    m = _confusion("recall", matrix)
    return numerics.safe_divide(jnp.diagonal(m), m.sum(1))


def f1_score(matrix: Real[Array, "classes classes"]) -> Float[Array, "classes"]:
    """The harmonic mean of precision and recall of each class; 0 for an absent class.

    Examples:
        >>> [round(x, 4) for x in f1_score(jnp.array([[3, 1], [0, 1]])).tolist()]
        [0.8571, 0.6667]
    """
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

    Targets are 1 for the rows of the class, else 0. Outputs of weight 0 are replaced by 0. The
    metric is compiled, which is several times faster than its operations one by one.
    """
    outputs, targets = arrays(owner, outputs, targets)
    s = tree.widened(outputs).reshape(len(outputs), -1)
    classes, is_bits = s.shape[1], targets.size == s.size
    if not is_bits:
        checks.like(owner, "`targets`", targets, s[:, 0], than="one class of the `outputs`")
    w = jnp.ones(len(s), s.dtype) if weights is None else jnp.asarray(weights, s.dtype)
    _check_classes(owner, targets, w, 2 if is_bits else classes)
    return _of_classes(metric, s, targets.astype(s.dtype), w)


@functools.partial(jax.jit, static_argnums=0)
def _of_classes(metric: Callable[..., Array], s: Array, t: Array, w: Array) -> Array:
    indices = jnp.arange(s.shape[1], dtype=s.dtype)
    t = t.reshape(s.shape) > 0.5 if t.size == s.size else t[:, None] == indices[None]
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
