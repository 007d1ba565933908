"""Further evaluations of single configurations: cross-validation, and reevaluation after a search.

The best score of many is partly luck. Of n equally good configurations whose scores have the
standard deviation s, the best mean lies about s sqrt(2 log n) below what fresh seeds would give.

Reference: Cawley & Talbot, "On Over-fitting in Model Selection", JMLR 2010.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float64, Int32, Key, PyTree

from jaxopt_course.core import checks
from jaxopt_course.data import Folds

from ._result import SearchResult, with_error
from ._search import Strategy, search
from ._study import Metric, Mode


class CrossValidationReport(NamedTuple):
    """The scores of one configuration on every fold with every seed; ``print`` it.

    The fields are those of :class:`SearchResult` for one configuration.

    mean: mean of the scores; NaN if a training failed.
    standard_error: standard error of the mean. Folds share training rows, so it is too small.
    scores: f64[folds, seeds].
    history: {name: f[folds, seeds, evaluations]}.
    outcomes: i32[folds, seeds].
    """

    mean: float
    standard_error: float
    scores: Float64[np.ndarray, "folds seeds"]
    history: dict[str, np.ndarray]
    outcomes: Int32[np.ndarray, "folds seeds"]

    def __str__(self) -> str:
        folds, seeds = map(checks.counted, self.scores.shape, ("fold", "seed"))
        failed = int(np.isnan(self.scores).sum())
        failures = f"; {checks.counted(failed, 'training')} failed" if failed else ""
        return f"{with_error(self.mean, self.standard_error)} over {folds} x {seeds}{failures}"


def cross_validate(
    train: Callable[..., Any],
    folds: Folds,
    *,
    key: Key[Array, ""],
    hyperparameters: PyTree = None,
    seeds: int | Sequence[int] = 1,
    metric: Metric = None,
    mode: Mode = "min",
    strategy: Strategy = "auto",
    mesh: Mesh | None = None,
) -> CrossValidationReport:
    """Train on every fold with every seed, in one program: a :func:`search` of one configuration.

    Args:
        train: as for :func:`search`.
        folds: folds of :func:`~jaxopt_course.data.k_fold`.
        key: PRNG key of the seeds.
        hyperparameters: those of ``train``; they are constants of the program.
        seeds: as for :func:`search`.
        metric: as for :func:`search`.
        mode: as for :func:`search`.
        strategy: as for :func:`search`.
        mesh: as for :func:`search`.

    Examples:
        >>> import jax
        >>> from jaxopt_course.data import k_fold
        >>> y = np.arange(6.0)
        >>> def error_of_the_mean(key, hyperparameters, rows):
        ...     predicted = jax.numpy.asarray(y)[rows.train].mean()
        ...     return ((jax.numpy.asarray(y)[rows.validation] - predicted) ** 2).mean()
        >>> folds = k_fold(jax.random.key(0), np.arange(6), 3)
        >>> key, metric = jax.random.key(1), lambda error: error
        >>> cross_validate(error_of_the_mean, folds, key=key, metric=metric).scores.shape
        (3, 1)
    """
    result = search(
        train,
        hyperparameters,
        key=key,
        trials=1,
        seeds=seeds,
        folds=folds,
        metric=metric,
        mode=mode,
        strategy=strategy,
        mesh=mesh,
        progress=False,
    )
    return CrossValidationReport(
        mean=float(result.values[0]),
        standard_error=float(result.standard_errors[0]),
        scores=result.scores[0],
        history={name: values[0] for name, values in result.history.items()},
        outcomes=result.outcomes[0],
    )


class Reevaluation(NamedTuple):
    """The scores of the best configurations in the search, and with fresh seeds; ``print`` it.

    configurations: the best of the search, the best first.
    numbers: their numbers in the search, i[n].
    selected: mean scores in the search, f64[n]. The configurations were chosen by them, so they
        are partly luck.
    means: mean scores with the fresh seeds, f64[n]; NaN where a training failed.
    standard_errors: standard errors of ``means``, f64[n].
    scores: scores with the fresh seeds, f64[n, folds, seeds]; :func:`paired_differences` compares
        them.
    """

    configurations: tuple[PyTree, ...]
    numbers: np.ndarray
    selected: Float64[np.ndarray, "n"]
    means: Float64[np.ndarray, "n"]
    standard_errors: Float64[np.ndarray, "n"]
    scores: Float64[np.ndarray, "n folds seeds"]

    def __str__(self) -> str:
        means = map(with_error, self.means, self.standard_errors)
        rows = zip(self.numbers, self.configurations, means, self.selected, strict=True)
        return "\n".join(
            f"configuration {number}, {configuration}: {mean} with fresh seeds, "
            f"{selected:.4g} when it was chosen"
            for number, configuration, mean, selected in rows
        )


def reevaluate(
    train: Callable[..., Any],
    result: SearchResult,
    *,
    seeds: int = 10,
    best: int = 1,
    strategy: Strategy = "auto",
    mesh: Mesh | None = None,
) -> Reevaluation:
    """Train the best configurations again on the same folds, with seeds the search did not use.

    This removes the luck with seeds from the scores. The luck with the validation rows, which are
    the same, remains; a separate test set removes it.

    Args:
        train: the training that was searched.
        result: the result of the search.
        seeds: number of fresh seeds, in [1, inf).
        best: number of configurations, in [1, configurations].
        strategy: as for :func:`search`.
        mesh: as for :func:`search`.
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
