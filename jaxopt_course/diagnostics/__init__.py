"""Floor 5: what is wrong with a training, and why. Reports are values; ``print`` them."""

from ._bias_variance import BiasVarianceReport, bias_variance
from ._check_gradients import GradientCheckReport, check_gradients
from ._diagnose import DiagnosisReport, Finding, diagnose
from ._gradient_flow import GradientFlowReport, LayerFlow, LeafFlow, gradient_flow
from ._learning_rate_range import LearningRateRangeReport, learning_rate_range
from ._loss_landscape import LossLandscape, filter_normalized_direction, loss_landscape
from ._variance_through_depth import VarianceReport, variance_through_depth


__all__ = [
    "BiasVarianceReport",
    "DiagnosisReport",
    "Finding",
    "GradientCheckReport",
    "GradientFlowReport",
    "LayerFlow",
    "LeafFlow",
    "LearningRateRangeReport",
    "LossLandscape",
    "VarianceReport",
    "bias_variance",
    "check_gradients",
    "diagnose",
    "filter_normalized_direction",
    "gradient_flow",
    "learning_rate_range",
    "loss_landscape",
    "variance_through_depth",
]
