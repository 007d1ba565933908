"""Tuning curves, performance profiles and pairwise differences of optimizers.

With t[c, w] the cost of optimizer c until the target of workload w, in each study:

    curve     geometric mean over w of t[c, w], for each budget of tuning
    profile   P[c](f) = share of w with t[c, w] <= f min over c of t[c, w]
    pair      d[a, b] = median over w of log(t[a, w] / t[b, w])
              p[a, b] = share of w with t[a, w] < t[b, w], where ties count one half

In a curve, a target that is never reached counts as twice the longest whole training of any
optimizer; in a pair, of the two optimizers. In a profile, no optimizer is within any factor on a
workload whose target none of them reached. A profile depends on which optimizers take part; a pair
does not.

Reference: Dolan & More, "Benchmarking Optimization Software with Performance Profiles",
Mathematical Programming 2002, https://arxiv.org/abs/cs/0102001.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64

from ._studies import NEVER, TuningStudies


FACTORS = np.geomspace(1.0, 16.0, 81)  # among them 1, 2, 4, 8 and 16

Curves = Float64[np.ndarray, "budgets optimizers"]
Each = Float64[np.ndarray, "budgets optimizers workloads"]
Shares = Float64[np.ndarray, "optimizers factors"]
Table = Float64[np.ndarray, "optimizers optimizers"]


class TuningCurves(NamedTuple):
    """Cost of each optimizer by budget, with the middle 95 % of the studies.

    optimizers, workloads, budgets: names and budgets along the axes; budget 1 is the defaults.
    clock, setting: arguments of :func:`tuning_curves`.
    costs: geometric mean over workloads, median over studies, in lengths of a training if the
        clock is steps, else in seconds.
    low, high: 2.5 % and 97.5 % quantiles of this mean over studies.
    reached: share of targets reached, mean over studies.
    each: median over studies of the steps or seconds on each workload; infinite where most studies
        never reach the target.
    each_low, each_high: 2.5 % and 97.5 % quantiles over studies.
    """

    optimizers: tuple[str, ...]
    workloads: tuple[str, ...]
    budgets: tuple[int, ...]
    clock: str
    setting: str
    costs: Curves
    low: Curves
    high: Curves
    reached: Curves
    each: Each
    each_low: Each
    each_high: Each


def tuning_curves(
    studies: Sequence[TuningStudies], *, clock: str = "steps", setting: str = "fresh_seed"
) -> TuningCurves:
    """The cost of each optimizer over budgets.

    Args:
        studies: results of :func:`tuning_studies` for the same comparison, one for each budget.
        clock: ``"steps"`` or ``"seconds"``.
        setting: ``"fresh_seed"`` for the base variants, or ``"held_out"``.
    """
    if not studies:
        raise ValueError("tuning_curves: `studies` must be of at least one budget, got none.")

    def row(own: TuningStudies) -> tuple[np.ndarray, ...]:
        costs = own.costs(clock, setting)
        unit = own.lengths if clock == "steps" else 1.0
        counted = _never_counted(costs, own.whole(clock, setting).max(0))
        means = np.exp(np.log(counted / unit).mean(2))
        ordered = np.sort(costs, 0)  # not interpolated: between a number and infinity lies NaN
        each = (ordered[int(share * (len(ordered) - 1))] for share in (0.5, 0.025, 0.975))
        return np.median(means, 0), *_interval(means), np.isfinite(costs).mean((0, 2)), *each

    first, budgets = studies[0], tuple(own.budget for own in studies)
    columns = map(np.array, zip(*map(row, studies), strict=True))
    return TuningCurves(first.optimizers, first.workloads, budgets, clock, setting, *columns)


class PerformanceProfiles(NamedTuple):
    """Share of workloads on which an optimizer is within a factor of the cheapest.

    optimizers: names, in the order of the first axis.
    budget, clock, setting: of the studies, and arguments of :func:`tuning_curves`.
    factors: the factors, from 1 to 16.
    shares: P, mean over studies.
    low, high: 2.5 % and 97.5 % quantiles over studies.
    """

    optimizers: tuple[str, ...]
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
    """The profiles for one budget; arguments are those of :func:`tuning_curves`."""
    costs = studies.costs(clock, setting)
    fastest = costs.min(1, keepdims=True)
    ratios = costs / np.where(np.isfinite(fastest), fastest, 1.0)
    # The ratio of the fastest may be rounded to a number just above 1.
    shares = (ratios[..., None] <= FACTORS * (1 + 1e-12)).mean(2)
    named = (studies.optimizers, studies.budget, clock, setting)
    return PerformanceProfiles(*named, FACTORS, shares.mean(0), *_interval(shares))


class PairwiseDifferences(NamedTuple):
    """Cost of each optimizer over that of each other one; ``print`` it for one line per pair.

    The intervals hold the middle 95 % of the studies. They do not include the randomness of the
    stored trials, which is large where these are few, nor the choice of workloads.

    optimizers: names, in the order of both axes.
    budget, clock, setting: of the studies, and arguments of :func:`tuning_curves`.
    log_ratios: d, median over studies; negative where the row costs less than the column.
    low, high: 2.5 % and 97.5 % quantiles of d over studies.
    wins: p, mean over studies.
    wins_low, wins_high: 2.5 % and 97.5 % quantiles of p over studies.
    """

    optimizers: tuple[str, ...]
    budget: int
    clock: str
    setting: str
    log_ratios: Table
    low: Table
    high: Table
    wins: Table
    wins_low: Table
    wins_high: Table

    @property
    def differ(self) -> Bool[np.ndarray, "optimizers optimizers"]:
        """Whether the interval of d excludes 0."""
        return (self.low > 0) | (self.high < 0)

    @property
    def all_equal(self) -> bool:
        """Whether every ratio and both ends of its interval are 1."""
        return not (self.low.any() or self.high.any())

    def ratio(self, a: int, b: int) -> str:
        """The cost of optimizer a over that of optimizer b, with its interval."""
        ratio, low, high = np.exp([x[a, b] for x in (self.log_ratios, self.low, self.high)])
        return f"{ratio:.2f} [{low:.2f}, {high:.2f}]"

    def __str__(self) -> str:
        places = itertools.combinations(range(len(self.optimizers)), 2)
        return "\n".join(
            f"{self.optimizers[a]} over {self.optimizers[b]}: {self.ratio(a, b)} in "
            f"{self.clock}, cheaper on {self.wins[a, b]:.0%} of the workloads"
            for a, b in places
        )


def pairwise_differences(
    studies: TuningStudies, *, clock: str = "steps", setting: str = "fresh_seed"
) -> PairwiseDifferences:
    """Compare each pair for one budget; arguments are those of :func:`tuning_curves`."""
    costs, whole = studies.costs(clock, setting), studies.whole(clock, setting)
    ours, theirs = costs[:, :, None], costs[:, None]  # [studies, row, column, workloads]
    longer = np.maximum(whole[:, None], whole)
    logs = np.log(_never_counted(ours, longer)) - np.log(_never_counted(theirs, longer))
    medians = np.median(logs, -1)
    wins = ((ours < theirs) + 0.5 * (ours == theirs)).mean(-1)
    named = (studies.optimizers, studies.budget, clock, setting)
    both = (np.median(medians, 0), *_interval(medians), wins.mean(0), *_interval(wins))
    return PairwiseDifferences(*named, *both)


def _never_counted(costs: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """``costs``, with twice the ``whole`` training where the target was never reached."""
    return np.where(np.isfinite(costs), costs, NEVER * whole)


def _interval(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The middle 95 % of the studies, which are the first axis."""
    low, high = np.quantile(values, (0.025, 0.975), axis=0)
    return np.asarray(low), np.asarray(high)
