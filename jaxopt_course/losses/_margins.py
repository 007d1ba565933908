"""Margin losses and modulated cross-entropies, with s the sigmoid and m_j = x_j - x_y.

    multiclass_hinge_loss        max_j (m_j + [j != y])                        per example
    multiclass_perceptron_loss   max_j m_j                                     per example
    sparsemax_loss               0, (z + 1)^2 / 4 or z by z = -(2y - 1) x      per entry
    poly_loss_cross_entropy      sum_k y_k (-log p_k + epsilon (1 - p_k))      per example
    sigmoid_focal_loss           alpha_t (1 - p_t)^gamma times cross-entropy   per entry

Each is computed in float32 or wider and returned in the dtype of the logits.

References: Crammer & Singer, "On the Algorithmic Implementation of Multiclass Kernel-based Vector
Machines", 2001; Collins, "Discriminative training methods for Hidden Markov Models", 2002
(perceptron); Blondel, Martins & Niculae, "Learning with Fenchel-Young Losses", 2020, section 4.4
(sparsemax); Leng et al., "PolyLoss", 2022, https://arxiv.org/abs/2204.12511; Lin et al., "Focal
Loss for Dense Object Detection", 2017, https://arxiv.org/abs/1708.02002.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Integer, ScalarLike, Shaped

from jaxopt_course.core import checks

from ._classification import class_labels, sigmoid_binary_cross_entropy, softmax_cross_entropy
from ._inputs import Axis, broadcast_pair, check_axis, nothing_times, safe_logits, wide, wide_pair


def safe_softmax_cross_entropy(
    logits: Float[Array, "*shape"], labels: Shaped[Array, "..."]
) -> Float[Array, "..."]:
    """:func:`softmax_cross_entropy` along the last axis, with labels that may broadcast."""
    pair = broadcast_pair("safe_softmax_cross_entropy", "logits", logits, labels, "labels")
    return softmax_cross_entropy(*pair)


def multiclass_hinge_loss(
    scores: Float[Array, "*batch classes"], labels: Integer[Array, "*batch"]
) -> Float[Array, "*batch"]:
    """How far the score of the true class falls short of the largest other score plus 1.

    Args:
        scores: one score for each class.
        labels: the class of each example, in [0, classes). Other labels give NaN.

    Examples:
        >>> float(multiclass_hinge_loss(jnp.array([1.0, 0.5]), jnp.array(0)))
        0.5
    """
    margins, is_right, dtype = _margins("multiclass_hinge_loss", scores, labels)
    return jnp.max(jnp.where(is_right, margins, margins + 1), -1).astype(dtype)


def multiclass_perceptron_loss(
    scores: Float[Array, "*batch classes"], labels: Integer[Array, "*batch"]
) -> Float[Array, "*batch"]:
    """How far the score of the true class lies below the largest score.

    Arguments are those of :func:`multiclass_hinge_loss`.
    """
    margins, _, dtype = _margins("multiclass_perceptron_loss", scores, labels)
    return jnp.max(margins, -1).astype(dtype)


def sparsemax_loss(
    logits: Float[Array, "*shape"], labels: Shaped[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """The binary sparsemax loss, which is 0 for margins of at least 1.

    Args:
        logits: scores of class 1.
        labels: 0 or 1, of the same shape.
    """
    x, y, dtype = wide_pair("sparsemax_loss", "logits", logits, labels, "labels")
    z = jnp.where(y != 0, -x, x)
    near = jnp.clip(z, -1, 1)
    return (jnp.square(near + 1) / 4 + jnp.maximum(z - 1, 0)).astype(dtype)


def poly_loss_cross_entropy(
    logits: Float[Array, "*shape"],
    labels: Shaped[Array, "*shape"],
    *,
    epsilon: ScalarLike = 2.0,
    axis: Axis = -1,
    where: Bool[Array, "*shape"] | None = None,
) -> Float[Array, "..."]:
    """Cross-entropy with a modified first coefficient of its expansion in 1 - p.

    Args:
        logits: log-probabilities, up to a constant.
        labels: one-hot rows, or probabilities, of the same shape.
        epsilon: number added to the coefficient. The loss is nonnegative if it is at least -1.
        axis: the axis or axes of the classes; None means all axes.
        where: mask of the entries to include, of the same shape.
    """
    owner = "poly_loss_cross_entropy"
    x, y, dtype = wide_pair(owner, "logits", logits, labels, "labels")
    checks.number(owner, "epsilon", epsilon)
    check_axis(owner, x, axis, where)
    x = safe_logits(x if where is None else jnp.where(where, x, -jnp.inf), axis)
    log_p = jax.nn.log_softmax(x, axis)
    strength = jnp.asarray(epsilon, x.dtype)
    terms = -log_p - strength * jnp.expm1(log_p)
    # -log p >= 1 - p, so for a strength of at least -1 a negative term is rounding.
    terms = jnp.where((terms < 0) & (strength >= -1), 0, terms)
    return jnp.sum(nothing_times(y, terms), axis, where=where).astype(dtype)


def sigmoid_focal_loss(
    logits: Float[Array, "*shape"],
    labels: Shaped[Array, "..."],
    *,
    alpha: ScalarLike | None = None,
    gamma: ScalarLike = 2.0,
) -> Float[Array, "*shape"]:
    """Binary cross-entropy in which well-classified examples count less.

    The factor is (1 - p_t)^gamma with p_t = y s(x) + (1 - y) s(-x).

    Args:
        logits: log-odds of class 1.
        labels: 0 or 1, or a probability in [0, 1], of a shape that broadcasts.
        alpha: weight of class 1, in [0, 1]; class 0 has the weight 1 - alpha. None: no weights.
        gamma: exponent of the factor, in [0, inf).
    """
    owner = "sigmoid_focal_loss"
    logits, labels = broadcast_pair(owner, "logits", logits, labels, "labels")
    x, y, dtype = wide_pair(owner, "logits", logits, labels, "labels")
    checks.number(owner, "gamma", gamma, "[0, inf)")
    if alpha is not None:
        checks.number(owner, "alpha", alpha, "[0, 1]")
    entropy = sigmoid_binary_cross_entropy(x, y)
    # Outside, the sigmoid is 0 or 1, and the product of slopes would be 0 * inf.
    inner = jnp.clip(x, -1e30, 1e30)
    mixed = (y > 0) & (y < 1)
    missed = jnp.where(mixed, y * jax.nn.sigmoid(-inner) + (1 - y) * jax.nn.sigmoid(inner), 0.5)
    certain = jax.nn.log_sigmoid(jnp.where(y > 0.5, -inner, inner))
    log_missed = jnp.where(mixed, jnp.log(missed), certain)
    factor = jnp.exp(jnp.asarray(gamma, x.dtype) * log_missed)
    finite = jnp.where(jnp.isinf(entropy), 0, entropy)
    loss = jnp.where(jnp.isinf(entropy), entropy, factor * finite)
    if alpha is not None:
        weight = jnp.asarray(alpha, x.dtype)
        loss = (weight * y + (1 - weight) * (1 - y)) * loss
    return loss.astype(dtype)


def _margins(
    owner: str, scores: Float[Array, "*batch classes"], labels: Integer[Array, "*batch"]
) -> tuple[Array, Array, Any]:
    """The scores minus that of the true class (exactly 0 there), a mask of it, and the dtype."""
    x, dtype = wide(owner, "scores", scores)
    check_axis(owner, x, -1)
    labels = class_labels(owner, "scores", x, labels)
    n_classes = x.shape[-1]
    known = (labels >= 0) & (labels < n_classes)
    place = jnp.where(known, labels, 0).astype(jnp.int32)
    right = jnp.take_along_axis(x, place[..., None], -1)
    is_right = jax.nn.one_hot(place, n_classes, dtype=bool)
    margins = jnp.where(is_right, 0, x - jnp.where(is_right, 0, right))
    return jnp.where(known[..., None], margins, jnp.nan), is_right, dtype
