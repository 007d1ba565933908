"""How well a training does on rows that it has not seen: the mean over folds, and over seeds."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float64, Int32, Key, PyTree

from jaxopt_course.core import checks
from jaxopt_course.data import Folds

from ._result import with_error
from ._score import Metric
from ._search import search
from ._study import Strategy


class CrossValidationReport(NamedTuple):
    """The scores of one configuration on every fold with every seed.

    mean: of them; NaN if a training failed.
    standard_error: of the mean over folds, whose seeds are averaged first, for the seeds of a fold
        share its validation rows. Folds share training rows, so it is rather too small. NaN of a
        single training.
    scores: f64[folds, seeds]; NaN where a training failed.
    history: {name: f[folds, seeds, evaluations]}.
    outcomes: an :class:`~jaxopt_course.training.OutcomeCode` each, i32[folds, seeds].
    """

    mean: float
    standard_error: float
    scores: Float64[np.ndarray, "folds seeds"]
    history: dict[str, np.ndarray]
    outcomes: Int32[np.ndarray, "folds seeds"]

    def __str__(self) -> str:
        folds, seeds = self.scores.shape
        failed = int(np.isnan(self.scores).sum())
        said = f"; {checks.counted(failed, 'training')} failed" if failed else ""
        mean = with_error(self.mean, self.standard_error)
        return (
            f"{mean} over {checks.counted(folds, 'fold')} x {checks.counted(seeds, 'seed')}{said}"
        )


def cross_validate(
    train: Callable[..., Any],
    folds: Folds,
    *,
    key: Key[Array, ""],
    hyperparameters: PyTree = None,
    seeds: int | Sequence[int] = 1,
    metric: Metric = None,
    mode: Literal["min", "max"] = "min",
    strategy: Strategy = "auto",
    mesh: Mesh | None = None,
) -> CrossValidationReport:
    """Train on every fold with every seed, in one program.

    It is the :func:`search` of a single configuration, and has its arguments.

    Args:
        train: ``train(key, hyperparameters, rows) -> Run``.
        folds: of :func:`~jaxopt_course.data.k_fold`.
        key: of the seeds.
        hyperparameters: that ``train`` takes; they are part of the program.
        seeds: how many, in [1, inf), or their numbers.
        metric: what is taken the mean of: as of ``search``.
        mode: as of ``search``.
        strategy: as of ``search``.
        mesh: as of ``search``.

    Returns:
        The report; ``print`` it.

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
