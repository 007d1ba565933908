"""Floor 6: small problems with frozen targets, and the comparison of optimizers on them."""

from ._catalogue import WORKLOADS, workload
from ._compare import compare
from ._comparison import Comparison, Trials
from ._contenders import CONTENDERS, Contender, contender
from ._edges import EdgeShares, edge_shares
from ._pairs import PairwiseDifferences, pairwise_differences
from ._profiles import PerformanceProfiles, performance_profiles
from ._store import load_comparison
from ._studies import TuningStudies, tuning_studies
from ._summary import Summary, best_trials, summarize
from ._text import MarkovSource, draw_text, markov_source
from ._tuning import TuningCurves, tuning_curves
from ._workload import Parts, Workload


__all__ = [
    "CONTENDERS",
    "WORKLOADS",
    "Comparison",
    "Contender",
    "EdgeShares",
    "MarkovSource",
    "PairwiseDifferences",
    "Parts",
    "PerformanceProfiles",
    "Summary",
    "Trials",
    "TuningCurves",
    "TuningStudies",
    "Workload",
    "best_trials",
    "compare",
    "contender",
    "draw_text",
    "edge_shares",
    "load_comparison",
    "markov_source",
    "pairwise_differences",
    "performance_profiles",
    "summarize",
    "tuning_curves",
    "tuning_studies",
    "workload",
]
