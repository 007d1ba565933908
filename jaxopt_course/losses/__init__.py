"""Floor 1: losses. Values per entry or per example; the caller reduces them."""

from jaxopt_course.core import handed_on

from ._classification import (
    hinge_loss,
    multilabel_cross_entropy,
    sigmoid_binary_cross_entropy,
    softmax_cross_entropy,
    softmax_cross_entropy_with_integer_labels,
)
from ._divergences import (
    convex_kl_divergence,
    generalized_kl_divergence,
    kl_divergence,
    kl_divergence_with_log_targets,
)
from ._margins import (
    multiclass_hinge_loss,
    multiclass_perceptron_loss,
    poly_loss_cross_entropy,
    safe_softmax_cross_entropy,
    sigmoid_focal_loss,
    sparsemax_loss,
)
from ._probabilities import binary_cross_entropy, categorical_cross_entropy
from ._regression import (
    absolute_error,
    half_squared_error,
    huber_loss,
    l2_loss,
    log_cosh,
    mean_squared_error,
    squared_error,
)
from ._sequences import (
    ctc_loss,
    ctc_loss_with_forward_probs,
)
from ._similarity import (
    cosine_distance,
    cosine_similarity,
    triplet_margin_loss,
)
from ._smoothing import smooth_labels


__all__ = [
    "absolute_error",
    "binary_cross_entropy",
    "categorical_cross_entropy",
    "convex_kl_divergence",
    "cosine_distance",
    "cosine_similarity",
    "ctc_loss",
    "ctc_loss_with_forward_probs",
    "generalized_kl_divergence",
    "half_squared_error",
    "hinge_loss",
    "huber_loss",
    "kl_divergence",
    "kl_divergence_with_log_targets",
    "l2_loss",
    "log_cosh",
    "mean_squared_error",
    "multiclass_hinge_loss",
    "multiclass_perceptron_loss",
    "multilabel_cross_entropy",
    "poly_loss_cross_entropy",
    "safe_softmax_cross_entropy",
    "sigmoid_binary_cross_entropy",
    "sigmoid_focal_loss",
    "smooth_labels",
    "softmax_cross_entropy",
    "softmax_cross_entropy_with_integer_labels",
    "sparsemax_loss",
    "squared_error",
    "triplet_margin_loss",
]

__getattr__ = handed_on("losses")  # what optax has besides
