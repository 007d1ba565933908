"""What is wrong with a training, and why. Reports are values; ``print`` them."""

from ._bias_variance import BiasVarianceReport as BiasVarianceReport
from ._bias_variance import bias_variance as bias_variance
from ._check_gradients import GradientCheckReport as GradientCheckReport
from ._check_gradients import check_gradients as check_gradients
from ._coordinate_check import CoordinateCheckReport as CoordinateCheckReport
from ._coordinate_check import coordinate_check as coordinate_check
from ._diagnose import DiagnosisReport as DiagnosisReport
from ._diagnose import Finding as Finding
from ._diagnose import diagnose as diagnose
from ._gradient_flow import HEALTHY_NORMS as HEALTHY_NORMS
from ._gradient_flow import GradientFlowReport as GradientFlowReport
from ._gradient_flow import LayerFlow as LayerFlow
from ._gradient_flow import LeafFlow as LeafFlow
from ._gradient_flow import gradient_flow as gradient_flow
from ._learning_rate_range import LearningRateRangeReport as LearningRateRangeReport
from ._learning_rate_range import learning_rate_range as learning_rate_range
from ._loss_landscape import LossLandscape as LossLandscape
from ._loss_landscape import filter_normalized_direction as filter_normalized_direction
from ._loss_landscape import loss_landscape as loss_landscape
from ._noise_scale import NoiseScaleReport as NoiseScaleReport
from ._noise_scale import noise_scale as noise_scale
from ._variance_through_depth import VarianceReport as VarianceReport
from ._variance_through_depth import variance_through_depth as variance_through_depth
from ._watch import WatchReport as WatchReport
from ._watch import watch as watch
