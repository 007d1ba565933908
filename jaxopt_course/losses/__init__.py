"""Floor 1: losses. Values per entry or per example; the caller reduces them."""

from jaxopt_course.core import handed_on

from ._classification import (
    hinge_loss,
    multilabel_cross_entropy,
    sigmoid_binary_cross_entropy,
    softmax_cross_entropy,
    softmax_cross_entropy_with_integer_labels,
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
from ._smoothing import smooth_labels


__all__ = [
    "absolute_error",
    "binary_cross_entropy",
    "categorical_cross_entropy",
    "half_squared_error",
    "hinge_loss",
    "huber_loss",
    "l2_loss",
    "log_cosh",
    "mean_squared_error",
    "multilabel_cross_entropy",
    "sigmoid_binary_cross_entropy",
    "smooth_labels",
    "softmax_cross_entropy",
    "softmax_cross_entropy_with_integer_labels",
    "squared_error",
]

__getattr__ = handed_on("losses")  # what optax has besides
