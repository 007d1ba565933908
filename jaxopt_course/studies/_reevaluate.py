"""The best of many scores is too good; the same configuration with fresh seeds is not.

With n configurations alike and scores of standard deviation s, the best mean lies about
s sqrt(2 log n) below what it would be once more.

Reference: Cawley & Talbot, "On Over-fitting in Model Selection", JMLR 2010.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float64, PyTree

from jaxopt_course.core import checks

from ._result import SearchResult, with_error
from ._search import search
from ._study import Strategy


class Reevaluation(NamedTuple):
    """What the search said of the best configurations, and what fresh seeds say.

    configurations: the best of the search, best first, as its configurations.
    numbers: theirs in the search, i[n].
    selected: their mean scores in the search, f64[n]: too good, for they were chosen by them.
    means: their mean scores with the fresh seeds, f64[n]; NaN where a training failed.
    standard_errors: of these means, f64[n], as ``SearchResult.standard_errors``.
    scores: with the fresh seeds, f64[n, folds, seeds]; :func:`paired_differences` compares them.
    """

    configurations: tuple[PyTree, ...]
    numbers: np.ndarray
    selected: Float64[np.ndarray, "n"]
    means: Float64[np.ndarray, "n"]
    standard_errors: Float64[np.ndarray, "n"]
    scores: Float64[np.ndarray, "n folds seeds"]

    def __str__(self) -> str:
        lines = [
            f"configuration {number}, {configuration}: {with_error(mean, error)} with fresh seeds, "
            f"{selected:.4g} when it was chosen"
            for number, configuration, mean, error, selected in zip(
                self.numbers,
                self.configurations,
                self.means,
                self.standard_errors,
                self.selected,
                strict=True,
            )
        ]
        return "\n".join(lines)


def reevaluate(
    train: Callable[..., Any],
    result: SearchResult,
    *,
    seeds: int = 10,
    best: int = 1,
    strategy: Strategy = "auto",
    mesh: Mesh | None = None,
) -> Reevaluation:
    """Train the best configurations again, on the same folds, with seeds the search did not use.

    This removes what luck with seeds adds to a score. Luck with the validation rows, which are
    the same, stays: for that a test set is kept apart.

    Args:
        train: of the search.
        result: of the search.
        seeds: how many fresh ones, in [1, inf).
        best: how many configurations, in [1, configurations].
        strategy: as of :func:`search`.
        mesh: as of :func:`search`.

    Returns:
        Both scores; ``print`` them.
    """
    checks.integer("reevaluate", "seeds", seeds, "[1, inf)")
    checks.integer("reevaluate", "best", best, f"[1, {len(result.configurations)}]")
    numbers, first = result.ranking[:best], max(result.seeds) + 1
    fresh = search(
        train,
        result.space,
        key=result.key,
        seeds=range(first, first + seeds),
        folds=result.rows,
        method=result.points[numbers],
        metric=result.metric,
        mode=result.mode,
        strategy=strategy,
        mesh=mesh,
        progress=False,
    )
    return Reevaluation(
        configurations=fresh.configurations,
        numbers=numbers,
        selected=result.values[numbers],
        means=fresh.values,
        standard_errors=fresh.standard_errors,
        scores=fresh.scores,
    )
