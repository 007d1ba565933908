"""Figures of what the other packages return, without pyplot and its global state."""

from ._classes import confusion_heatmap as confusion_heatmap
from ._classes import embedding as embedding
from ._comparisons import comparison_figures as comparison_figures
from ._comparisons import pairwise_matrix as pairwise_matrix
from ._comparisons import performance_profile_curves as performance_profile_curves
from ._comparisons import tuning_budget_curves as tuning_budget_curves
from ._comparisons import tuning_budget_page as tuning_budget_page
from ._comparisons import workload_curves as workload_curves
from ._contours import landscape_contours as landscape_contours
from ._contours import optimizer_paths as optimizer_paths
from ._diagnoses import bias_variance_bars as bias_variance_bars
from ._diagnoses import coordinate_curves as coordinate_curves
from ._diagnoses import gradient_bars as gradient_bars
from ._diagnoses import layer_norms as layer_norms
from ._diagnoses import learning_rate_curve as learning_rate_curve
from ._diagnoses import variance_curves as variance_curves
from ._learning_curves import learning_curves as learning_curves
from ._pages import histograms as histograms
from ._pages import image_page as image_page
from ._searches import parallel_coordinates as parallel_coordinates
from ._searches import pareto_front as pareto_front
from ._searches import rung_scores as rung_scores
from ._searches import search_curves as search_curves
from ._searches import slices as slices
