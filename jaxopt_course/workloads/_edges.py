"""How often the pick of a study lies at the edge of a range: where it may well want to go on."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from ._comparison import Comparison
from ._studies import TuningStudies


EDGE = 0.05  # of a range
OFTEN = 0.25  # five times as often as chance


class EdgeShares(NamedTuple):
    """The share of studies whose pick lies within 5 % of an end of a range.

    ranges: (contender, name), of the first axis.
    workloads: names, of the second axis.
    budget: of the studies.
    low: shares at the lower end, f64[ranges, workloads].
    high: shares at the upper end, f64[ranges, workloads].
    """

    ranges: tuple[tuple[str, str], ...]
    workloads: tuple[str, ...]
    budget: int
    low: Float64[np.ndarray, "ranges workloads"]
    high: Float64[np.ndarray, "ranges workloads"]

    @property
    def flags(self) -> list[tuple[str, str, str, float]]:
        """(contender, name, "lower" or "upper", share) where a quarter of all picks lies there."""
        return [
            (*own, end, float(row.mean()))
            for end, table in (("lower", self.low), ("upper", self.high))
            for own, row in zip(self.ranges, table, strict=True)
            if row.mean() >= OFTEN
        ]


def edge_shares(comparison: Comparison, studies: TuningStudies) -> EdgeShares:
    """Where the picks of ``studies`` lie, which were drawn from ``comparison``."""
    ranges, low, high = [], [], []
    for i, contender in enumerate(comparison.contenders):
        places = comparison.points[contender][studies.picks[:, i]]  # [studies, workloads, ranges]
        for k, name in enumerate(comparison.numbers[contender]):
            ranges.append((contender, name))
            low.append((places[..., k] < EDGE).mean(0))
            high.append((places[..., k] > 1 - EDGE).mean(0))
    return EdgeShares(
        tuple(ranges), comparison.workloads, studies.budget, np.array(low), np.array(high)
    )
