"""Floor 5: many trainings that answer one question: searches, cross-validations, ensembles."""

from ._cross_validate import CrossValidationReport, cross_validate
from ._designs import grid_design, random_design, sobol_design
from ._differences import PairedDifferences, paired_differences
from ._ensemble import Ensemble, bagging, ensemble, out_of_bag
from ._export import importance, to_optuna, to_table, write_table
from ._halving import HalvingResult, hyperband, successive_halving
from ._optimizer_checks import ScheduleWarning
from ._population_based import PopulationResult, population_based_training
from ._reevaluate import Reevaluation, reevaluate
from ._result import BestConfiguration, SearchResult, best_configuration
from ._rungs import Rungs, halving_rungs, top_k_rungs
from ._search import search
from ._space import Choice, Float, Int, configuration_at


__all__ = [
    "BestConfiguration",
    "Choice",
    "CrossValidationReport",
    "Ensemble",
    "Float",
    "HalvingResult",
    "Int",
    "PairedDifferences",
    "PopulationResult",
    "Reevaluation",
    "Rungs",
    "ScheduleWarning",
    "SearchResult",
    "bagging",
    "best_configuration",
    "configuration_at",
    "cross_validate",
    "ensemble",
    "grid_design",
    "halving_rungs",
    "hyperband",
    "importance",
    "out_of_bag",
    "paired_differences",
    "population_based_training",
    "random_design",
    "reevaluate",
    "search",
    "sobol_design",
    "successive_halving",
    "to_optuna",
    "to_table",
    "top_k_rungs",
    "write_table",
]
