"""Floor 8: figures of what the other packages return. No pyplot, no state.

A figure is named for the picture, not for the report it shows, so that both can be imported.
"""

from ._bias_variance_bars import bias_variance_bars as bias_variance_bars
from ._confusion_heatmap import confusion_heatmap as confusion_heatmap
from ._embedding import embedding as embedding
from ._gradient_bars import gradient_bars as gradient_bars
from ._histograms import histograms as histograms
from ._image_page import image_page as image_page
from ._landscape_contours import landscape_contours as landscape_contours
from ._learning_curves import learning_curves as learning_curves
from ._learning_rate_curve import learning_rate_curve as learning_rate_curve
from ._optimizer_paths import optimizer_paths as optimizer_paths
from ._pairwise_matrix import pairwise_matrix as pairwise_matrix
from ._parallel_coordinates import parallel_coordinates as parallel_coordinates
from ._performance_profile_curves import performance_profile_curves as performance_profile_curves
from ._rung_scores import rung_scores as rung_scores
from ._search_curves import search_curves as search_curves
from ._slices import slices as slices
from ._tuning_budget_curves import tuning_budget_curves as tuning_budget_curves
from ._tuning_budget_curves import tuning_budget_page as tuning_budget_page
from ._variance_curves import variance_curves as variance_curves
from ._workload_curves import comparison_figures as comparison_figures
from ._workload_curves import workload_curves as workload_curves
