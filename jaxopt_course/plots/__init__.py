"""Floor 8: figures of what the other packages return. No pyplot, no state.

A figure is named for the picture, not for the report it shows, so that both can be imported.
"""

from ._bias_variance_bars import bias_variance_bars
from ._confusion_heatmap import confusion_heatmap
from ._embedding import embedding
from ._gradient_bars import gradient_bars
from ._histograms import histograms
from ._image_page import image_page
from ._landscape_contours import landscape_contours
from ._learning_curves import learning_curves
from ._learning_rate_curve import learning_rate_curve
from ._optimizer_paths import optimizer_paths
from ._pairwise_matrix import pairwise_matrix
from ._parallel_coordinates import parallel_coordinates
from ._performance_profile_curves import performance_profile_curves
from ._rung_scores import rung_scores
from ._search_curves import search_curves
from ._slices import slices
from ._tuning_budget_curves import tuning_budget_curves, tuning_budget_page
from ._variance_curves import variance_curves
from ._verdict_figure import verdict_figure
from ._workload_curves import comparison_figures, workload_curves


__all__ = [
    "bias_variance_bars",
    "comparison_figures",
    "confusion_heatmap",
    "embedding",
    "gradient_bars",
    "histograms",
    "image_page",
    "landscape_contours",
    "learning_curves",
    "learning_rate_curve",
    "optimizer_paths",
    "pairwise_matrix",
    "parallel_coordinates",
    "performance_profile_curves",
    "rung_scores",
    "search_curves",
    "slices",
    "tuning_budget_curves",
    "tuning_budget_page",
    "variance_curves",
    "verdict_figure",
    "workload_curves",
]
