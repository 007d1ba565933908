"""Two metrics at once: the configurations of which no other is better in both.

    i dominates j:  f_i <= f_j and g_i <= g_j, and one of them is less

Reference: Deb, "Multi-Objective Optimization using Evolutionary Algorithms", 2001, section 2.4.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int

from ._study import columns_table


class ParetoFront(NamedTuple):
    """The configurations of which no other one is better in both metrics; ``print`` it.

    names: the two metrics.
    modes: "min" or "max" for each of them.
    values: mean of the metrics of every configuration, f64[configurations, 2]; NaN if a training
        failed.
    numbers: numbers of the configurations of the front, the best in the first metric first.
    """

    names: tuple[str, str]
    modes: tuple[str, str]
    values: Float64[np.ndarray, "c 2"]
    numbers: Int[np.ndarray, " front"]

    def __str__(self) -> str:
        """A line for each configuration of the front."""
        columns = zip(self.names, self.values[self.numbers].T.tolist(), strict=True)
        return columns_table([("configuration", self.numbers.tolist()), *columns])


def front_of(
    names: tuple[str, str], modes: tuple[str, str], values: Float64[np.ndarray, "c 2"]
) -> ParetoFront:
    """The front of the configurations with these values."""
    signs = np.where(np.array(modes) == "max", -1.0, 1.0)
    chosen = np.flatnonzero(_is_undominated(values * signs))
    order = np.lexsort((values[chosen, 1] * signs[1], values[chosen, 0] * signs[0]))
    return ParetoFront(names, modes, values, chosen[order])


def _is_undominated(costs: Float64[np.ndarray, "c 2"]) -> Bool[np.ndarray, " c"]:
    """Whether no other row is at most equal in both columns and less in one; False for NaN."""
    known = np.isfinite(costs).all(1)
    no_worse = (costs[:, None] <= costs[None]).all(2)
    better = (costs[:, None] < costs[None]).any(2)
    return known & ~(no_worse & better & known[:, None]).any(0)
