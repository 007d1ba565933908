"""Performance profiles: on what share of workloads a contender is within a factor of the fastest.

    r[c, w] = t[c, w] / min over c of t[c, w]        P[c](f) = share of w with r[c, w] <= f

with t the cost to the target. A target that nobody reached counts for nobody. The profile of a
contender depends on who else is there; :func:`pairwise_differences` do not.

Reference: Dolan & More, "Benchmarking Optimization Software with Performance Profiles",
Mathematical Programming 2002, https://arxiv.org/abs/cs/0102001.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from ._studies import TuningStudies, check_view, interval


FACTORS = np.geomspace(1.0, 16.0, 81)  # among them 1, 2, 4, 8 and 16

Shares = Float64[np.ndarray, "contenders factors"]


class PerformanceProfiles(NamedTuple):
    """The profile of each contender, on average over studies.

    contenders: names, of the first axis.
    budget: of the studies.
    clock: ``"steps"`` or ``"seconds"``.
    setting: ``"fresh_seed"`` or ``"held_out"``.
    factors: f64[factors].
    shares: of the workloads, in [0, 1].
    low: 2.5 % of the studies lie below.
    high: 2.5 % of the studies lie above.
    """

    contenders: tuple[str, ...]
    budget: int
    clock: str
    setting: str
    factors: Float64[np.ndarray, "factors"]
    shares: Shares
    low: Shares
    high: Shares


def performance_profiles(
    studies: TuningStudies, *, clock: str = "steps", setting: str = "fresh_seed"
) -> PerformanceProfiles:
    """The profiles, with a band over studies.

    Args:
        studies: of one budget.
        clock: ``"steps"`` or ``"seconds"``.
        setting: ``"fresh_seed"``, or ``"held_out"`` for the held-out variants.
    """
    check_view("performance_profiles", clock, setting)
    costs = studies.costs(clock, setting)
    fastest = costs.min(1, keepdims=True)
    ratios = costs / np.where(np.isfinite(fastest), fastest, 1.0)
    # The fastest is at 1, whatever a division of equal numbers may round to.
    shares = (ratios[..., None] <= FACTORS * (1 + 1e-12)).mean(2)
    return PerformanceProfiles(
        studies.contenders,
        studies.budget,
        clock,
        setting,
        FACTORS,
        shares.mean(0),
        *interval(shares),
    )
