"""Metrics with one value for each example, to be averaged over a data set."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Real, ScalarLike, Shaped

from jaxopt_course.core import checks, numerics, tree


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

    Examples:
        >>> accuracy(jnp.array([[2.0, 1.0], [3.0, 0.0]]), jnp.array([0, 1])).tolist()
        [1.0, 0.0]
    """
    labels, known = _class_numbers("accuracy", outputs, targets)
    right = jnp.argmax(outputs, -1).astype(labels.dtype) == labels
    return jnp.where(known, _as_numbers(right, outputs), jnp.nan)


def top_k_accuracy(
    outputs: Float[Array, "*batch classes"], targets: Shaped[Array, "..."], k: int
) -> Float[Array, "*batch"]:
    """1 where the true class is among those of the ``k`` largest outputs, else 0.

    ``k`` is a static integer in [1, classes]. The other arguments are those of :func:`accuracy`.

    Examples:
        >>> outputs = jnp.array([[2.0, 1.0, 0.0], [3.0, 0.0, 1.0]])
        >>> top_k_accuracy(outputs, jnp.array([1, 1]), 2).tolist()
        [1.0, 0.0]
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

    Examples:
        >>> binary_accuracy(jnp.array([[2.0, 1.0]]), jnp.array([[1, 0]])).tolist()
        [[1.0, 0.0]]
    """
    return _as_numbers(_bits_agree("binary_accuracy", outputs, targets, threshold), outputs)


def exact_match(
    outputs: Float[Array, "*batch labels"],
    targets: Shaped[Array, "*batch labels"],
    threshold: ScalarLike = 0.0,
) -> Float[Array, "*batch"]:
    """1 where :func:`binary_accuracy` is 1 for all labels of an example, else 0.

    Examples:
        >>> exact_match(jnp.array([[2.0, 1.0], [2.0, -1.0]]), jnp.array([[1, 0], [1, 0]])).tolist()
        [0.0, 1.0]
    """
    agree = _bits_agree("exact_match", outputs, targets, threshold)
    return _as_numbers(jnp.all(agree, -1), outputs)


def mean_absolute_error(
    outputs: Float[Array, "batch *entries"], targets: Real[Array, "batch *entries"]
) -> Float[Array, "batch"]:
    """The mean of |output - target| over the entries of each example.

    Examples:
        >>> mean_absolute_error(jnp.array([[1.0, 5.0]]), jnp.array([[2.0, 2.0]])).tolist()
        [2.0]
    """
    y, t = paired("mean_absolute_error", outputs, targets)
    return jnp.mean(jnp.abs(y - t), axis=tuple(range(1, y.ndim)))


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


def _as_numbers(right: Bool[Array, "*shape"], outputs: Any) -> Float[Array, "*shape"]:
    """1 where ``right``, else 0, in float32 or wider."""
    return right.astype(numerics.wide_dtype(jnp.result_type(outputs)))


def arrays(owner: str, outputs: Any, targets: Any) -> tuple[Array, Array]:
    """Both as arrays; they may have different shapes."""
    return checks.as_array(owner, "outputs", outputs), checks.as_array(owner, "targets", targets)


def paired(owner: str, outputs: Any, targets: Any) -> tuple[Array, Array]:
    """Both as arrays of one shape, in float32 or wider."""
    outputs, targets = arrays(owner, outputs, targets)
    checks.like(owner, "`targets`", targets, outputs, than="`outputs`")
    outputs = tree.widened(outputs)
    return outputs, targets.astype(outputs.dtype)


def _bits_agree(owner: str, outputs: Any, targets: Any, threshold: ScalarLike) -> Array:
    checks.number(owner, "threshold", threshold)
    y, t = paired(owner, outputs, targets)
    return (y > jnp.asarray(threshold, y.dtype)) == (t > 0.5)


def _class_numbers(owner: str, outputs: Any, targets: Any) -> tuple[Array, Bool[Array, "..."]]:
    """The true classes, from their indices or one-hot rows, and where there is one."""
    outputs, targets = arrays(owner, outputs, targets)
    checks.rank(owner, "outputs", outputs, 1)
    if targets.ndim == jnp.ndim(outputs):
        checks.like(owner, "`targets`", targets, outputs, than="`outputs`")
        return jnp.argmax(targets, -1), jnp.any(targets > 0, -1)
    checks.like(owner, "`targets`", targets, outputs[..., 0], than="one class of the `outputs`")
    known = (targets >= 0) & (targets < jnp.shape(outputs)[-1])
    return targets if jnp.issubdtype(targets.dtype, jnp.floating) else targets.astype(int), known
