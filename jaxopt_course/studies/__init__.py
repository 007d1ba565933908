"""Floor 5: many trainings that answer one question: searches, cross-validations, ensembles."""

from ._designs import grid_design, random_design, sobol_design
from ._result import BestConfiguration, SearchResult, best_configuration
from ._search import search
from ._space import Choice, Float, Int, configuration_at


__all__ = [
    "BestConfiguration",
    "Choice",
    "Float",
    "Int",
    "SearchResult",
    "best_configuration",
    "configuration_at",
    "grid_design",
    "random_design",
    "search",
    "sobol_design",
]
