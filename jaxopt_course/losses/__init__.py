"""Losses. They return one value for each entry or each example; the caller reduces them."""

from jaxopt_course.core import handed_on as _handed_on

from ._classification import ctc_loss as ctc_loss
from ._classification import ctc_loss_with_forward_probs as ctc_loss_with_forward_probs
from ._classification import hinge_loss as hinge_loss
from ._classification import multilabel_cross_entropy as multilabel_cross_entropy
from ._classification import sigmoid_binary_cross_entropy as sigmoid_binary_cross_entropy
from ._classification import softmax_cross_entropy as softmax_cross_entropy
from ._classification import (
    softmax_cross_entropy_with_integer_labels as softmax_cross_entropy_with_integer_labels,
)
from ._margins import multiclass_hinge_loss as multiclass_hinge_loss
from ._margins import multiclass_perceptron_loss as multiclass_perceptron_loss
from ._margins import poly_loss_cross_entropy as poly_loss_cross_entropy
from ._margins import safe_softmax_cross_entropy as safe_softmax_cross_entropy
from ._margins import sigmoid_focal_loss as sigmoid_focal_loss
from ._margins import sparsemax_loss as sparsemax_loss
from ._probabilities import binary_cross_entropy as binary_cross_entropy
from ._probabilities import categorical_cross_entropy as categorical_cross_entropy
from ._probabilities import convex_kl_divergence as convex_kl_divergence
from ._probabilities import generalized_kl_divergence as generalized_kl_divergence
from ._probabilities import kl_divergence as kl_divergence
from ._probabilities import kl_divergence_with_log_targets as kl_divergence_with_log_targets
from ._probabilities import smooth_labels as smooth_labels
from ._regression import absolute_error as absolute_error
from ._regression import half_squared_error as half_squared_error
from ._regression import huber_loss as huber_loss
from ._regression import l2_loss as l2_loss
from ._regression import log_cosh as log_cosh
from ._regression import mean_squared_error as mean_squared_error
from ._regression import squared_error as squared_error
from ._similarity import cosine_distance as cosine_distance
from ._similarity import cosine_similarity as cosine_similarity
from ._similarity import triplet_margin_loss as triplet_margin_loss


__getattr__ = _handed_on("losses")  # the other losses of optax
