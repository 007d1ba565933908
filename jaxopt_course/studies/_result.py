"""What a search has found: every score by configuration, fold and seed, and the best of them."""

from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Array, Float64, Int32, Key, PyTree

from jaxopt_course.core import checks
from jaxopt_course.training import Rows

from ._differences import PairedDifferences, paired_differences, standard_errors_of
from ._score import Metric, ranked, score_name
from ._space import Choice, dimensions_of


class SearchResult(NamedTuple):
    """Every training of a search. Arrays have the axes configuration, fold, seed; ``print`` it.

    space: that was searched.
    points: of the unit cube, f64[configurations, ranges].
    configurations: at these points, as plain Python values in the structure of the space.
    scores: f64[configurations, folds, seeds]; NaN where a training failed.
    history: {name: f[configurations, folds, seeds, evaluations]}, as of a
        :class:`~jaxopt_course.training.Run`; filled up with NaN where some have fewer evaluations.
    outcomes: an :class:`~jaxopt_course.training.OutcomeCode` each, i32, with the axes of scores.
    metric: what the scores are.
    mode: ``"min"`` or ``"max"``: which scores are best.
    rows: the folds, or None.
    key: of the study.
    seeds: their numbers; the trainings of seed number s have the key ``fold_in(key, s)``.
    seconds: ``"compile"`` and ``"run"``, the former without what was compiled before.
    chunks: how many trainings were done so many at a time, {chunk size: trainings}; 1 is "map".
    """

    space: PyTree
    points: Float64[np.ndarray, "c d"]
    configurations: tuple[PyTree, ...]
    scores: Float64[np.ndarray, "c f s"]
    history: dict[str, np.ndarray]
    outcomes: Int32[np.ndarray, "c f s"]
    metric: Metric
    mode: Literal["min", "max"]
    rows: Rows | None
    key: Key[Array, ""]
    seeds: tuple[int, ...]
    seconds: dict[str, float]
    chunks: dict[int, int]

    @property
    def values(self) -> Float64[np.ndarray, "c"]:
        """The mean score of each configuration; NaN, which is worst, if any training failed."""
        return self.scores.mean((1, 2))

    @property
    def standard_errors(self) -> Float64[np.ndarray, "c"]:
        """Of these means, over folds, whose seeds are averaged first; over seeds without folds.

        NaN of a single training. Folds share training rows, so over folds it is rather too small.
        """
        return standard_errors_of(self.scores)

    @property
    def differences(self) -> PairedDifferences:
        """To the best configuration, fold by fold, or seed by seed, with 95 % intervals.

        The best of many scores too well, so its lead is rather too large.
        """
        return paired_differences(self.scores, self.best)

    @property
    def ranking(self) -> np.ndarray:
        """The configurations, the best first; those with a failed training come last."""
        return ranked(self.values, self.mode)

    @property
    def best(self) -> int:
        """The first of the ranking."""
        return int(self.ranking[0])

    def __str__(self) -> str:
        """The ten best, one a line."""
        columns = columns_of(self)
        names = {
            "score": score_name(self.metric, self.history),
            "standard_error": "standard error",
        }
        if np.isnan(self.standard_errors).all():
            del columns["standard_error"]
        lines = [["rank", "configuration", *(names.get(name, name) for name in columns)]]
        for rank, number in enumerate(self.ranking[:10].tolist()):
            cells = [rank + 1, number, *(column[number] for column in columns.values())]
            lines.append(list(map(_short, cells)))
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        table = "\n".join(
            "  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True))
            for line in lines
        )
        failed = int(np.isnan(self.values).sum())
        trainings = "x".join(map(str, self.scores.shape))
        return (
            f"{table}\n{trainings} trainings (configurations x folds x seeds) in "
            f"{self.seconds['run']:.1f} s, compiled in {self.seconds['compile']:.1f} s; "
            f"{checks.counted(failed, 'configuration')} with a failed training"
            f"{_close_ones(self.differences)}"
        )


class BestConfiguration(NamedTuple):
    """A configuration and how it did.

    number: of it in the search.
    configuration: its values.
    mean: of the scores of its trainings.
    standard_error: of that mean, as ``SearchResult.standard_errors``; NaN of one training.
    trainings: how many.
    """

    number: int
    configuration: PyTree
    mean: float
    standard_error: float
    trainings: int

    def __str__(self) -> str:
        return (
            f"configuration {self.number}, {self.configuration}: "
            f"{with_error(self.mean, self.standard_error)} over "
            f"{checks.counted(self.trainings, 'training')}, the "
            "best of many and so too good: reevaluate it"
        )


def best_configuration(result: SearchResult) -> BestConfiguration:
    """The configuration of the best mean score.

    Its mean is the best of many, and so too good: :func:`reevaluate` tells by how much.

    Raises:
        ValueError: if every configuration has a failed training.
    """
    i = result.best
    if np.isnan(result.values[i]):
        raise ValueError(
            "best_configuration: every configuration has a failed training: "
            "lower the learning rates of the space, or look at the data."
        )
    return BestConfiguration(
        number=i,
        configuration=result.configurations[i],
        mean=float(result.values[i]),
        standard_error=float(result.standard_errors[i]),
        trainings=result.scores[i].size,
    )


def _close_ones(found: PairedDifferences) -> str:
    """A line on the configurations that the best one may not be better than."""
    if len(found.low) == 1 or np.isnan(found.low).all():
        return ""
    close = int(((found.low <= 0) & (found.high >= 0)).sum()) - 1  # the best is 0 behind itself
    return (
        f"\n{close} of the other {len(found.low) - 1} configurations cannot be told from the best: "
        "the 95 % interval of their paired difference contains 0"
    )


def columns_of(result: SearchResult) -> dict[str, list[Any]]:
    """One entry a configuration: its values under the ranges' names, and how it did."""
    dimensions = dimensions_of(result.space)
    columns: dict[str, list[Any]] = {}
    for i, (name, kind) in enumerate(zip(dimensions.names, dimensions.ranges, strict=True)):
        column = [kind.at(float(u)) for u in result.points[:, i]]
        columns[name] = list(map(_plain, column)) if isinstance(kind, Choice) else column
    columns["score"] = result.values.tolist()
    columns["standard_error"] = result.standard_errors.tolist()
    columns["failed"] = np.isnan(result.scores).sum((1, 2)).tolist()
    return columns


def with_error(mean: float, standard_error: float) -> str:
    """A mean, and its standard error where there is one."""
    return f"{mean:.4g}" + ("" if np.isnan(standard_error) else f" +- {standard_error:.2g}")


def _plain(value: Any) -> Any:
    """An option as a number or a string."""
    return value if isinstance(value, bool | int | float | str) else str(value)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
