"""The result of a search, and how certain the differences between its configurations are.

The trainings of a fold share its validation rows, so their scores are not independent. The seeds of
each fold are averaged first. With m_f the mean of fold f of k folds,

    mean = sum_f m_f / k      standard error = s / sqrt(k)      s^2 = sum_f (m_f - mean)^2 / (k - 1)

With a single fold the same is done over its seeds. Two configurations are compared fold by fold,
which removes what makes a fold easy or hard for both:

    d_f = m_f - m'_f        mean(d) +- t s_d / sqrt(k)     with t of Student's distribution, k - 1
                                                           degrees of freedom

Folds also share training rows, which these formulas ignore: intervals are somewhat too narrow.

Reference: Nadeau & Bengio, "Inference for the Generalization Error", Machine Learning 2003.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Float64, Int32, Key, PyTree

from jaxopt_course.core import checks
from jaxopt_course.training import Rows

from ._pareto import ParetoFront, front_of
from ._space import Choice, Range, option_name, space_of
from ._study import Metric, Mode, best_mode, columns_table, metric_name, ranked


class PairedDifferences(NamedTuple):
    """By how much each configuration scores higher than the reference; ``print`` it.

    The arrays are f64[configurations]. The intervals do not account for training rows that folds
    share, so they are somewhat too narrow.

    reference: number of the configuration that the others are compared with.
    level: probability that an interval contains the true difference.
    means: mean differences over folds, or over seeds if there is one fold. 0 for the reference
        itself, NaN where a training failed.
    standard_errors: standard errors of these means; NaN for a single training.
    low, high: ends of the interval; NaN for a single training.
    """

    reference: int
    level: float
    means: Float64[np.ndarray, "c"]
    standard_errors: Float64[np.ndarray, "c"]
    low: Float64[np.ndarray, "c"]
    high: Float64[np.ndarray, "c"]

    def __str__(self) -> str:
        """A line for each configuration but the reference."""
        lines = [
            f"{i} against {self.reference}: {mean:.4g}, {100 * self.level:.4g} % "
            f"[{low:.4g}, {high:.4g}]"
            for i, (mean, low, high) in enumerate(zip(self.means, self.low, self.high, strict=True))
            if i != self.reference
        ]
        return "\n".join(lines) or "There is no other configuration."


class SearchResult(NamedTuple):
    """Every training of a search; ``print`` it. Arrays have the axes configuration, fold, seed.

    space, metric, mode, key: the arguments of the search.
    points: points of the unit cube, f64[configurations, ranges].
    configurations: those at the points, as plain Python values in the structure of the space.
    scores: f64[configurations, folds, seeds]; NaN where a training failed.
    history: {name: f[configurations, folds, seeds, evaluations]}, the histories of the
        :class:`~jaxopt_course.training.Run`, and the ``metrics`` of the search as their first
        evaluation; padded with NaN where a run has fewer evaluations.
    outcomes: :class:`~jaxopt_course.training.OutcomeCode` of each training, i32.
    rows: the folds, or None.
    seeds: the trainings of seed s have the key ``fold_in(key, s)``.
    seconds: ``"compile"`` and ``"run"``; programs that were compiled before do not count.
    chunks: {chunk size: number of trainings}; chunk size 1 is "map".
    """

    space: PyTree
    points: Float64[np.ndarray, "c d"]
    configurations: tuple[PyTree, ...]
    scores: Float64[np.ndarray, "c f s"]
    history: dict[str, np.ndarray]
    outcomes: Int32[np.ndarray, "c f s"]
    metric: Metric
    mode: Mode
    rows: Rows | None
    key: Key[Array, ""]
    seeds: tuple[int, ...]
    seconds: dict[str, float]
    chunks: dict[int, int]

    @property
    def values(self) -> Float64[np.ndarray, "c"]:
        """The mean score of each configuration; NaN, which ranks last, if any training failed."""
        return self.scores.mean((1, 2))

    @property
    def standard_errors(self) -> Float64[np.ndarray, "c"]:
        """The standard errors of ``values``; NaN for a single training."""
        return standard_errors_of(self.scores)

    @property
    def differences(self) -> PairedDifferences:
        """Paired differences to the best configuration, with 95 % intervals.

        The lead of the best is overestimated, because the best score of many is partly luck.
        """
        return paired_differences(self.scores, self.best)

    @property
    def ranking(self) -> np.ndarray:
        """The numbers of the configurations, the best first, those with a failed training last."""
        return ranked(self.values, self.mode)

    @property
    def best(self) -> int:
        """The number of the best configuration."""
        return int(self.ranking[0])

    @property
    def ranges(self) -> dict[str, Range]:
        """The ranges of the space by name; those of an option follow its choice."""
        space = space_of(self.space)
        return dict(zip(space.names, space.ranges, strict=True))

    @property
    def active(self) -> Bool[np.ndarray, "c d"]:
        """Which ranges the values of a configuration are from; False for those of other options."""
        active = list(map(space_of(self.space).active, self.points.tolist()))
        return np.array(active, bool).reshape(self.points.shape)

    def pareto(
        self, first: str, second: str, modes: tuple[Mode, Mode] | None = None
    ) -> ParetoFront:
        """The configurations of which no other one is better in both of two metrics.

        The value of a training is that of its best evaluation, and that of a configuration is the
        mean over its trainings.

        Args:
            first: a name in ``history``, which includes the ``metrics`` of the search, or
                ``"score"``.
            second: another one.
            modes: "min" or "max" for each. None: the ``mode`` of the search for its score and its
                ``metric``, "max" for others such as accuracies, else "min".

        Examples:
            >>> import jax
            >>> from jaxopt_course.studies import Float, search
            >>> train = lambda key, hyperparameters, rows: hyperparameters["width"]
            >>> result = search(
            ...     train,
            ...     {"width": Float(0.0, 1.0)},
            ...     key=jax.random.key(0),
            ...     method=np.array([[0.0], [0.5], [1.0]]),
            ...     metric=lambda width: (width - 0.5) ** 2,
            ...     metrics={"width": lambda width: width},
            ... )
            >>> print(result.pareto("score", "width"))  # the third one is worse in both
            configuration  score  width
            1              0      0.5
            0              0.25   0
        """
        names = (first, second)
        for name in names:
            checks.choice("pareto", "metrics", name, ("score", *self.history))
        own = ("score", self.metric)
        default = lambda name: self.mode if name in own else best_mode(name)
        modes = modes or (default(first), default(second))
        for mode in modes:
            checks.choice("pareto", "modes", mode, ("min", "max"))
        columns = [self._best_of(name, mode) for name, mode in zip(names, modes, strict=True)]
        return front_of(names, modes, np.stack(columns, axis=1))

    def _best_of(self, name: str, mode: str) -> Float64[np.ndarray, "c"]:
        """The mean over trainings of the best evaluation; NaN if a training failed."""
        if name == "score":
            return self.values
        worst, best = (np.inf, np.min) if mode == "min" else (-np.inf, np.max)
        values = self.history[name].astype(np.float64)
        values = best(np.where(np.isfinite(values), values, worst), axis=-1)
        return np.where(np.isnan(self.scores) | np.isinf(values), np.nan, values).mean((1, 2))

    def __str__(self) -> str:
        columns, named = columns_of(self), {"standard_error": "standard error"}
        if not callable(self.metric):
            named["score"] = metric_name("search", self.metric, self.history).replace("_", " ")
        if np.isnan(self.standard_errors).all():
            del columns["standard_error"]
        first = self.ranking[:10].tolist()
        of_first = [(named.get(n, n), [column[i] for i in first]) for n, column in columns.items()]
        ranks = range(1, len(first) + 1)
        table = columns_table([("rank", ranks), ("configuration", first), *of_first])
        failed = int(np.isnan(self.values).sum())
        trainings = "x".join(map(str, self.scores.shape))
        return (
            f"{table}\n{trainings} trainings (configurations x folds x seeds) in "
            f"{self.seconds['run']:.1f} s, compiled in {self.seconds['compile']:.1f} s; "
            f"{checks.counted(failed, 'configuration')} with a failed training"
            f"{_close_ones(self.differences)}"
            f"{_best_of_options(self, named.get('score', 'score'))}"
        )


class BestConfiguration(NamedTuple):
    """A configuration and its scores; ``print`` it.

    number: number of the configuration in the search.
    configuration: its values.
    mean: mean score of its trainings.
    standard_error: standard error of the mean; NaN for a single training.
    trainings: number of scores.
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
            f"{checks.counted(self.trainings, 'training')}; the best score of many is partly luck: "
            "reevaluate it"
        )


def best_configuration(result: SearchResult) -> BestConfiguration:
    """The configuration with the best mean score.

    The best score of many is partly luck; :func:`reevaluate` measures by how much.

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


def paired_differences(
    scores: Float64[np.ndarray, "c folds seeds"], reference: int, level: float = 0.95
) -> PairedDifferences:
    """The differences of all configurations to one of them, with intervals.

    A configuration whose interval contains 0 cannot be distinguished from the reference.

    Args:
        scores: such as ``SearchResult.scores`` or ``Reevaluation.scores``.
        reference: number of the configuration that the others are compared with, such as
            ``result.best``.
        level: probability that an interval contains the true difference, in (0, 1).

    Examples:
        >>> scores = np.array([[[1.0], [2.0]], [[2.0], [3.5]]])  # of two folds
        >>> found = paired_differences(scores, 0)
        >>> found.means.tolist(), found.standard_errors.tolist()
        ([0.0, 1.25], [0.0, 0.25])
    """
    from scipy.stats import t

    scores = np.asarray(scores, np.float64)
    if scores.ndim != 3:
        raise ValueError(
            "paired_differences: `scores` must have the shape [configurations, folds, seeds], "
            f"got {scores.shape}."
        )
    checks.integer("paired_differences", "reference", reference, f"[0, {len(scores)})")
    checks.number("paired_differences", "level", level, "(0, 1)")
    differences = scores - scores[reference]
    means, errors = differences.mean((1, 2)), standard_errors_of(differences)
    freedom = _units_of(scores).shape[1] - 1
    width = errors * (t.ppf((1 + level) / 2, freedom) if freedom > 0 else np.nan)
    interval = {"low": means - width, "high": means + width}
    return PairedDifferences(int(reference), float(level), means, errors, **interval)


def standard_errors_of(scores: Float64[np.ndarray, "c folds seeds"]) -> Float64[np.ndarray, "c"]:
    """The standard error of each configuration's mean; NaN for a single training."""
    units = _units_of(scores)
    if units.shape[1] == 1:
        return np.full(len(units), np.nan)
    return units.std(1, ddof=1) / np.sqrt(units.shape[1])


def columns_of(result: SearchResult) -> dict[str, list[Any]]:
    """One entry a configuration: its values under the names of the ranges, and its scores.

    The values of options that a configuration does not have are None.
    """
    columns = zip(result.points.T.tolist(), result.active.T.tolist(), strict=True)
    pairs = zip(result.ranges.items(), columns, strict=True)
    return {
        **{
            name: [
                plain_value(kind.at(u)) if is_active else None
                for u, is_active in zip(*column, strict=True)
            ]
            for (name, kind), column in pairs
        },
        "score": result.values.tolist(),
        "standard_error": result.standard_errors.tolist(),
        "failed": np.isnan(result.scores).sum((1, 2)).tolist(),
    }


def plain_value(value: Any) -> Any:
    """A value for tables."""
    value = option_name(value)
    return value if isinstance(value, bool | int | float | str) else str(value)


def _best_of_options(result: SearchResult, score: str) -> str:
    """A table of the best configuration with each option of each choice."""
    columns, rank = columns_of(result), np.argsort(result.ranking) + 1
    rows: list[tuple[Any, ...]] = []
    for name, kind in result.ranges.items():
        for option in map(plain_value, kind.options if isinstance(kind, Choice) else ()):
            having = [n for n, value in enumerate(columns[name]) if value == option]
            best = min(having, key=lambda n: rank[n], default=None)
            found = (None,) * 3 if best is None else (best, rank[best], columns["score"][best])
            rows.append((f"{name} {option}", len(having), *found))
    if not rows:
        return ""
    header = ("best of each option", "configurations", "configuration", "rank", score)
    return f"\n\n{columns_table(zip(header, zip(*rows, strict=True), strict=True))}"


def with_error(mean: float, standard_error: float) -> str:
    """A mean with its standard error, if there is one."""
    return f"{mean:.4g}" + ("" if np.isnan(standard_error) else f" +- {standard_error:.2g}")


def _units_of(scores: np.ndarray) -> Float64[np.ndarray, "c units"]:
    """The independent scores: the means of the folds, or the seeds of the only fold."""
    return scores[:, 0] if scores.shape[1] == 1 else scores.mean(2)


def _close_ones(found: PairedDifferences) -> str:
    """A line on the configurations that may be as good as the best one."""
    if len(found.low) == 1 or np.isnan(found.low).all():
        return ""
    close = int(((found.low <= 0) & (found.high >= 0)).sum()) - 1  # without the best itself
    return (
        f"\n{close} of the other {len(found.low) - 1} configurations cannot be distinguished from "
        "the best: the 95 % interval of their paired difference contains 0"
    )
