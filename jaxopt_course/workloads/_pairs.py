"""Pairs of contenders: how much the one costs over the other, whoever else takes part.

    d[a, b] = median over workloads of log(t[a, w] / t[b, w])
    p[a, b] = share of workloads with t[a, w] < t[b, w], ties counting one half

in each study, with t the cost to the target. One that is never reached counts, in d, as twice the
longer of the two whole trainings; where neither reaches it, the two are equal.
"""

import itertools
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64

from ._studies import TuningStudies, check_view, interval, never_counted


Table = Float64[np.ndarray, "contenders contenders"]


class PairwiseDifferences(NamedTuple):
    """All pairs; an interval holds the middle 95 % of the studies. ``print`` it.

    That is the luck of drawing from the stored trials. It says nothing of the luck of storing them,
    which is large where they are few, nor of workloads that are not here.

    contenders: names, of both axes.
    budget: of the studies.
    clock: ``"steps"`` or ``"seconds"``.
    setting: ``"fresh_seed"`` or ``"held_out"``.
    log_ratios: d, median over studies; below 0 where the row costs less than the column.
    low: 2.5 % of the studies lie below.
    high: 2.5 % of the studies lie above.
    wins: p, mean over studies.
    wins_low: 2.5 % of the studies lie below.
    wins_high: 2.5 % of the studies lie above.
    """

    contenders: tuple[str, ...]
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
    def differ(self) -> Bool[np.ndarray, "contenders contenders"]:
        """Whether the interval of d leaves 0 out."""
        return (self.low > 0) | (self.high < 0)

    def __str__(self) -> str:
        """A line a pair."""
        places = itertools.combinations(range(len(self.contenders)), 2)
        return "\n".join(
            f"{self.contenders[a]} over {self.contenders[b]}: {ratio_of(self, a, b)} in "
            f"{self.clock}, cheaper on {self.wins[a, b]:.0%} of the workloads"
            for a, b in places
        )


def pairwise_differences(
    studies: TuningStudies, *, clock: str = "steps", setting: str = "fresh_seed"
) -> PairwiseDifferences:
    """Compare each contender with each other.

    Args:
        studies: of one budget.
        clock: ``"steps"`` or ``"seconds"``.
        setting: ``"fresh_seed"``, or ``"held_out"`` for the held-out variants.
    """
    check_view("pairwise_differences", clock, setting)
    costs, whole = studies.costs(clock, setting), studies.whole(clock, setting)
    n = len(studies.contenders)
    tables = {name: np.zeros((n, n)) for name in PairwiseDifferences._fields[4:]}
    for a in range(n):
        for b in range(n):
            ours, theirs = costs[:, a], costs[:, b]
            longer = np.maximum(whole[a], whole[b])
            logs = np.log(never_counted(ours, longer)) - np.log(never_counted(theirs, longer))
            medians = np.median(logs, 1)
            wins = ((ours < theirs) + 0.5 * (ours == theirs)).mean(1)
            tables["log_ratios"][a, b], tables["wins"][a, b] = np.median(medians), wins.mean()
            tables["low"][a, b], tables["high"][a, b] = interval(medians)
            tables["wins_low"][a, b], tables["wins_high"][a, b] = interval(wins)
    return PairwiseDifferences(studies.contenders, studies.budget, clock, setting, **tables)


def ratio_of(pairs: PairwiseDifferences, a: int, b: int) -> str:
    """What a costs over b, with its interval."""
    ratio, low, high = np.exp([x[a, b] for x in (pairs.log_ratios, pairs.low, pairs.high)])
    return f"{ratio:.2f} [{low:.2f}, {high:.2f}]"
