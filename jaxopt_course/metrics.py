"""Floor 1: metrics. How well outputs fit targets, in the units that people read.

Most give one value for each example, in float32 or wider, to be averaged by
:func:`weighted_mean` or added up over batches. Those of a whole data set (``r2_score``, and what
is read off a ``confusion_matrix``) need all of its rows at once. All of them can be jitted.

With C[i, j] the number of examples of class i that were called class j,

    precision_k = C[k, k] / sum_i C[i, k]        of those called k, the share that are
    recall_k    = C[k, k] / sum_j C[k, j]        of those that are k, the share called so
    f1_k        = 2 C[k, k] / (sum_i C[i, k] + sum_j C[k, j])
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Integer, Num, Real, ScalarLike, Shaped

from jaxopt_course.core import checks, numerics, tree


__all__ = [
    "accuracy",
    "binary_accuracy",
    "confusion_matrix",
    "exact_match",
    "f1_score",
    "mean_absolute_error",
    "precision",
    "r2_score",
    "recall",
    "top_k_accuracy",
    "weighted_mean",
]


def weighted_mean(values: Real[Array, "n"], weights: Real[Array, "n"]) -> Float[Array, ""]:
    """sum(weights * values) / sum(weights), in float32 or wider.

    Args:
        values: one for each row. Where the weight is 0 the value does not matter, NaN included.
        weights: non-negative; 0 marks a padding row.

    Returns:
        The mean; 0 where the weights sum to 0.

    Examples:
        >>> import jax.numpy as jnp
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
    """1 where the largest output is that of the right class, else 0.

    A class number outside [0, classes), or a row of targets without a positive entry, gives NaN.

    Args:
        outputs: logits or probabilities; of equal ones the first counts.
        targets: the number of the right class, or its one-hot row.

    Raises:
        ValueError: if the shapes do not go together.
    """
    labels, known = _class_numbers("accuracy", outputs, targets)
    right = jnp.argmax(outputs, -1).astype(labels.dtype) == labels
    return _nan_unless(known, _as_numbers(right, outputs))


def top_k_accuracy(
    outputs: Float[Array, "*batch classes"], targets: Shaped[Array, "..."], k: int
) -> Float[Array, "*batch"]:
    """1 where the right class is among those of the ``k`` largest outputs, else 0.

    A class number outside [0, classes), or a row of targets without a positive entry, gives NaN.

    Args:
        outputs: logits or probabilities; of equal ones the first come first.
        targets: the number of the right class, or its one-hot row.
        k: how many guesses are allowed, a static integer in [1, classes].

    Raises:
        ValueError: if ``k`` is out of range or the shapes do not go together.
        TypeError: if ``k`` is no integer, or traced.
    """
    checks.rank("top_k_accuracy", "outputs", outputs, 1)
    checks.integer("top_k_accuracy", "k", k, f"[1, {outputs.shape[-1]}]")
    labels, known = _class_numbers("top_k_accuracy", outputs, targets)
    guesses = jax.lax.top_k(outputs, k)[1].astype(labels.dtype)
    right = jnp.any(guesses == labels[..., None], -1)
    return _nan_unless(known, _as_numbers(right, outputs))


def binary_accuracy(
    outputs: Float[Array, "*shape"], targets: Shaped[Array, "*shape"], threshold: ScalarLike = 0.0
) -> Float[Array, "*shape"]:
    """1 where ``outputs > threshold`` says the same as the target, else 0; entry by entry.

    Over the labels of an example its mean is the share of labels that are right.

    Args:
        outputs: log-odds, or probabilities with their threshold.
        targets: 0 or 1, of the same shape; what lies above 1/2 counts as 1.
        threshold: 0 for log-odds, 0.5 for probabilities. It may be traced.

    Raises:
        ValueError: if the shapes differ.
    """
    return _as_numbers(_bits_agree("binary_accuracy", outputs, targets, threshold), outputs)


def exact_match(
    outputs: Float[Array, "*batch labels"],
    targets: Shaped[Array, "*batch labels"],
    threshold: ScalarLike = 0.0,
) -> Float[Array, "*batch"]:
    """1 where all labels of an example are right, else 0.

    Args:
        outputs: log-odds, or probabilities with their threshold.
        targets: 0 or 1, of the same shape; what lies above 1/2 counts as 1.
        threshold: 0 for log-odds, 0.5 for probabilities. It may be traced.

    Raises:
        ValueError: if the shapes differ.
    """
    agree = _bits_agree("exact_match", outputs, targets, threshold)
    return _as_numbers(jnp.all(agree, -1), outputs)


def mean_absolute_error(
    outputs: Float[Array, "batch *entries"], targets: Real[Array, "batch *entries"]
) -> Float[Array, "batch"]:
    """The mean of |output - target| over the entries of each example.

    Args:
        outputs: predictions.
        targets: what is true, of the same shape.

    Raises:
        ValueError: if the shapes differ.
    """
    y, t = _paired("mean_absolute_error", outputs, targets)
    return jnp.mean(jnp.abs(y - t), axis=tuple(range(1, y.ndim)))


def r2_score(
    outputs: Float[Array, "n *entries"],
    targets: Real[Array, "n *entries"],
    weights: Real[Array, "n"] | None = None,
) -> Float[Array, ""]:
    """Coefficient of determination, 1 - sum (t - y)^2 / sum (t - mean t)^2, of a whole data set.

    1 is perfect, 0 no better than the targets' mean. Of several entries an example, it is the
    mean of their scores. An entry whose targets are all equal scores 1 if met exactly, else 0.

    Args:
        outputs: predictions of all rows.
        targets: what is true, of the same shape.
        weights: of the rows, non-negative; 1 where None.

    Raises:
        ValueError: if the shapes differ.
    """
    y, t = _paired("r2_score", outputs, targets)
    y, t = y.reshape(len(y), -1), t.reshape(len(t), -1)
    weights = jnp.ones(len(y), y.dtype) if weights is None else weights
    mean = jax.vmap(weighted_mean, in_axes=(1, None))
    unexplained = mean(jnp.square(t - y), weights)
    total = mean(jnp.square(t - mean(t, weights)[None]), weights)
    missed = (total == 0) & (unexplained > 0)
    return jnp.mean(jnp.where(missed, 0, 1 - numerics.safe_divide(unexplained, total)))


def confusion_matrix(
    predicted: Integer[Array, "n"],
    targets: Integer[Array, "n"],
    n_classes: int,
    weights: Real[Array, "n"] | None = None,
) -> Num[Array, "classes classes"]:
    """How often class i (row) was called class j (column). Matrices of batches add up.

    Args:
        predicted: what each row was called, in [0, n_classes). Others are not counted.
        targets: what each row is, in [0, n_classes). Others are not counted.
        n_classes: a static positive integer.
        weights: what each row counts; 0 for padding rows. 1, in integers, where None.

    Raises:
        ValueError: if the shapes differ.

    Examples:
        >>> import jax.numpy as jnp
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
    """Of the examples called a class, the share that belong to it; 0 where none was called so.

    Args:
        matrix: a confusion matrix, true classes in rows.
    """
    checks.rank("precision", "matrix", matrix, 2)
    m = tree.widened(matrix)
    return numerics.safe_divide(jnp.diagonal(m), m.sum(0))


def recall(matrix: Real[Array, "classes classes"]) -> Float[Array, "classes"]:
    """Of the examples of a class, the share that were called so; 0 where there are none.

    Args:
        matrix: a confusion matrix, true classes in rows.
    """
    checks.rank("recall", "matrix", matrix, 2)
    m = tree.widened(matrix)
    return numerics.safe_divide(jnp.diagonal(m), m.sum(1))


def f1_score(matrix: Real[Array, "classes classes"]) -> Float[Array, "classes"]:
    """The harmonic mean of precision and recall, class by class; 0 for an unseen class.

    Args:
        matrix: a confusion matrix, true classes in rows.
    """
    checks.rank("f1_score", "matrix", matrix, 2)
    m = tree.widened(matrix)
    return numerics.safe_divide(2 * jnp.diagonal(m), m.sum(0) + m.sum(1))


def _as_numbers(right: Bool[Array, "*shape"], outputs: Any) -> Float[Array, "*shape"]:
    """1 where ``right``, else 0, in float32 or wider."""
    return right.astype(numerics.wide_dtype(jnp.result_type(outputs)))


def _paired(owner: str, outputs: Any, targets: Any) -> tuple[Array, Array]:
    outputs, targets = (
        checks.as_array(owner, "outputs", outputs),
        checks.as_array(owner, "targets", targets),
    )
    checks.like(owner, "`targets`", targets, outputs, than="`outputs`")
    outputs = tree.widened(outputs)
    return outputs, targets.astype(outputs.dtype)


def _bits_agree(owner: str, outputs: Any, targets: Any, threshold: ScalarLike) -> Array:
    checks.number(owner, "threshold", threshold)
    y, t = _paired(owner, outputs, targets)
    return (y > jnp.asarray(threshold, y.dtype)) == (t > 0.5)


def _nan_unless(known: Bool[Array, "*batch"], values: Float[Array, "*batch"]) -> Array:
    return jnp.where(known, values, jnp.nan)


def _class_numbers(owner: str, outputs: Any, targets: Any) -> tuple[Array, Bool[Array, "..."]]:
    """The right classes, from their numbers or one-hot rows, and where there is one."""
    outputs, targets = (
        checks.as_array(owner, "outputs", outputs),
        checks.as_array(owner, "targets", targets),
    )
    checks.rank(owner, "outputs", outputs, 1)
    if targets.ndim == jnp.ndim(outputs):
        checks.like(owner, "`targets`", targets, outputs, than="`outputs`")
        return jnp.argmax(targets, -1), jnp.any(targets > 0, -1)
    checks.like(owner, "`targets`", targets, outputs[..., 0], than="one class of the `outputs`")
    known = (targets >= 0) & (targets < jnp.shape(outputs)[-1])
    return targets if jnp.issubdtype(targets.dtype, jnp.floating) else targets.astype(int), known
