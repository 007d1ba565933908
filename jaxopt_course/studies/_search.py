"""A search: every configuration, fold and seed of a training, in as few programs as possible."""

import contextlib
import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Key, PyTree

from jaxopt_course.core import checks, show_progress, under_automatic_mesh
from jaxopt_course.data import Folds
from jaxopt_course.training import Rows

from ._designs import check_method, proposals
from ._result import SearchResult
from ._space import Points
from ._study import Metric, Mode, Ranking, Study, best_text, digest
from ._table import Table
from ._trainings import Trainings


Strategy = Literal["map", "chunk", "vmap", "auto"]

DESIGN = 2**32 - 1  # folded into the key for the design; seeds are smaller
BETWEEN = 0.2  # seconds between two updates of the progress display


@under_automatic_mesh
def search(
    train: Callable[..., Any],
    space: PyTree,
    *,
    key: Key[Array, ""],
    trials: int | None = None,
    seeds: int | Sequence[int] = 1,
    folds: Folds | Rows | None = None,
    method: str | Points = "sobol",
    rounds: int | None = None,
    metric: Metric = None,
    mode: Mode = "min",
    metrics: Mapping[str, Callable[[Any], Any]] | None = None,
    points: Sequence[PyTree] = (),
    strategy: Strategy = "auto",
    chunk_size: int | None = None,
    mesh: Mesh | None = None,
    resume: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> SearchResult:
    """Train with many configurations on every fold with every seed, and rank the configurations.

    Numbers are traced, so one program serves all trials; each combination of the options of
    choices is a program of its own. All configurations see the same folds and the same keys:

        score[c, f, s] = metric(train(fold_in(key, seed[s]), configuration[c], rows[f])).

    A training that diverges, or whose score is not finite, has failed. Its score is NaN, and its
    configuration ranks last.

    Args:
        train: ``train(key, hyperparameters, rows) -> Run``, such as
            :func:`~jaxopt_course.training.make_train` returns, or a function around it. The
            hyperparameters have the structure of ``space``: numbers are traced, options and fixed
            values are plain Python values.
        space: a pytree of :class:`Float`, :class:`Int`, :class:`Choice` and fixed values. The
            options of a choice may have spaces of their own.
        key: PRNG key of the seeds and the design.
        trials: number of configurations, in [1, inf); the largest number for a grid. None: the
            number of points in ``method``.
        seeds: number of seeds, in [1, inf), or the seeds themselves.
        folds: folds of :func:`~jaxopt_course.data.k_fold`, or rows that are one split. None: all
            rows train.
        method: ``"sobol"``, ``"random"`` or ``"grid"``; ``"tpe"`` or ``"gp"``, which are Optuna's
            and learn from round to round ("gp" needs torch); or points of the unit cube,
            f[trials, ranges].
        rounds: number of rounds of a method that learns, in [8, inf); 16 by default.
        metric: a name in the history, of which the best evaluation counts, or a function of what
            ``train`` returns. None: the validation loss if there is one, else the training loss.
        mode: whether the lowest or the highest score is best; for an accuracy it must be "max".
        metrics: names and functions of what ``train`` returns, whose scalar results are kept too;
            all metrics in the history are. See :meth:`SearchResult.pareto`.
        points: configurations to train first, such as the defaults. They count among the trials.
        strategy: as for :func:`~jaxopt_course.training.make_population`, or "auto", which measures
            "map" and chunks of 8, 32 and 128 while it works and continues with the fastest.
        chunk_size: with "chunk" only, in [1, inf); 8 by default.
        mesh: devices that share the trainings along the axis "pop". None: one device.
        resume: a directory in which results are saved every few seconds. A study that was killed
            resumes from there and ends with the same result. A study with other ``trials`` or
            ``rounds`` is another one and needs its own directory.
        progress: whether to show progress on stderr.

    Returns:
        The result; ``print`` it. It holds scores, histories and outcomes, but no parameters.

    Raises:
        CheckpointMismatchError: if ``resume`` holds another study.
        ValueError: if one of ``points`` does not lie in the space.

    Warns:
        UserWarning: if no result depends on a number of the space, as soon as each combination of
            options has been trained.

    Examples:
        >>> from jaxopt_course.studies import Float
        >>> space = {"rate": Float(0.0, 2.0)}
        >>> train = lambda key, hyperparameters, rows: (1 - hyperparameters["rate"]) ** 2
        >>> result = search(train, space, key=jax.random.key(0), trials=64, metric=lambda x: x)
        >>> result.scores.shape, round(result.configurations[result.best]["rate"], 1)
        ((64, 1, 1), 1.0)
    """
    ranking, rows = Ranking(metric, mode, tuple((metrics or {}).items())), _fold_table(folds)
    study = Study(
        "search", train, space, key, rows, ranking, mesh=mesh, resume=resume, progress=progress
    )
    chunk_size = _chunk_size(strategy, chunk_size)
    design = _design_of(study, method, trials, rounds, points)
    trainings = Trainings(study, _seed_numbers(seeds), warns=isinstance(method, str))
    table = Table.of_size(design.trials * trainings.each)
    return _result(trainings, _train_all(trainings, design, table, strategy, chunk_size), table)


class _Design(NamedTuple):
    """The points that a search tries.

    trials: their number.
    rounds: number of rounds of a method that learns.
    method: its name, or the digest of the points.
    start: points of the configurations that are trained first.
    tables: what :func:`proposals` returns.
    """

    trials: int
    rounds: int
    method: str
    start: Points
    tables: Generator[Points, np.ndarray, None]

    def about(self) -> dict[str, Any]:
        """What distinguishes this design from others, in terms of JSON."""
        begin = {"points": self.start.tolist()} if len(self.start) else {}
        return {"trials": self.trials, "rounds": self.rounds, "method": self.method, **begin}


def _design_of(
    study: Study,
    method: str | Points,
    trials: int | None,
    rounds: int | None,
    configurations: Sequence[PyTree],
) -> _Design:
    start = _starting_points(study, configurations, trials)
    left, rounds = check_method(method, study.space, trials, rounds, len(start))
    key, mode = jax.random.fold_in(study.key, DESIGN), study.ranking.mode
    tables = proposals(method, key, study.space, left, rounds, mode, start)
    name = method if isinstance(method, str) else digest(np.asarray(method, float))
    return _Design(left + len(start), rounds, name, start, tables)


def _train_all(
    trainings: Trainings, design: _Design, table: Table, strategy: str, chunk_size: int
) -> Points:
    """Fill ``table``, and return the points that were tried."""
    study = trainings.study
    about = lambda: study.about(**design.about(), **trainings.about())
    tried, scores = design.start[:0], None
    with table.saved(study, about) as save, _shown(trainings, table) as show:
        while len(tried) < design.trials:
            new = next(design.tables) if scores is None else design.tables.send(scores)
            first, tried = len(tried), np.concatenate([tried, new])
            for _ in trainings.run(tried, first, table, strategy, chunk_size):
                save()
                show()
            scores = trainings.values(table)[first : len(tried)]
    return tried


def _result(trainings: Trainings, points: Points, table: Table) -> SearchResult:
    study, axes = trainings.study, (len(points), *trainings.axes)
    return SearchResult(
        space=study.space,
        points=points,
        configurations=tuple(map(study.apart.configuration, points)),
        scores=table.scores.reshape(axes),
        history={name: x.reshape(*axes, -1) for name, x in table.history.items()},
        outcomes=table.outcomes.reshape(axes),
        metric=study.ranking.metric,
        mode=study.ranking.mode,
        rows=study.rows,
        key=study.key,
        seeds=trainings.seeds,
        seconds={"compile": table.compile_seconds, "run": table.run_seconds},
        chunks=dict(table.chunks),
    )


@contextlib.contextmanager
def _shown(trainings: Trainings, table: Table) -> Iterator[Callable[[], None]]:
    """A function that shows how many trials are done, and the best score so far."""
    total, study = len(table.done) // trainings.each, trainings.study
    finished = lambda: int(table.done.reshape(-1, trainings.each).all(1).sum())
    last, seen = 0.0, table.done.sum()

    def update(seconds: float = BETWEEN) -> None:
        nonlocal last, seen
        if time.monotonic() - last >= seconds:
            last, seen = time.monotonic(), table.done.sum()
            show(finished(), best_text(trainings.values(table), study.ranking.mode))

    position = lambda done: f"trial {done}/{total}"
    with show_progress(position, total, finished(), shown=study.progress) as show:
        yield update
        if seen < table.done.sum():
            update(0.0)


def _starting_points(study: Study, configurations: Sequence[PyTree], trials: int | None) -> Points:
    """The points of the configurations that are trained first; checks the number of trials."""
    if trials is not None:
        checks.integer("search", "trials", trials, f"[{len(configurations) + 1}, inf)")
    found = []
    for number, configuration in enumerate(configurations):
        try:
            found.append(study.apart.point(configuration))
        except (TypeError, ValueError) as error:
            text = str(error).removesuffix(".")
            raise ValueError(
                f"search: `points` must lie in `space`, but number {number} does not: {text}."
            ) from None
    return np.array(found, float).reshape(len(found), len(study.apart.ranges))


def _chunk_size(strategy: str, size: int | None) -> int:
    """The checked size of the chunks of the strategy "chunk"."""
    checks.choice("search", "strategy", strategy, get_args(Strategy))
    if size is not None:
        checks.integer("search", "chunk_size", size, "[1, inf)")
    in_chunks = strategy == "chunk"
    checks.beside("search", "`strategy='chunk'`", present=in_chunks, chunk_size=size)
    return 8 if size is None else size


def _fold_table(folds: Folds | Rows | None) -> Rows | None:
    """Rows with an axis of folds in front; a single split is one fold."""
    if folds is None:
        return None
    table: Rows = jax.tree.map(np.asarray, Rows(*folds))
    if table.train.ndim == 1:
        table = jax.tree.map(lambda x: x[None], table)
    shapes = {name: x.shape for name, x in table._asdict().items() if x is not None}
    if any(len(s) != 2 or s[0] != len(table.train) for s in shapes.values()) or not shapes:
        raise ValueError(
            f"search: all arrays of `folds` must have one fold a row, got the shapes {shapes}."
        )
    return table


def _seed_numbers(seeds: int | Iterable[int]) -> tuple[int, ...]:
    """The seeds: ``seeds`` itself, or 0, 1, ... for a number of seeds."""
    if isinstance(seeds, int):
        checks.integer("search", "seeds", seeds, "[1, inf)")
        return tuple(range(seeds))
    numbers = tuple(seeds)
    for number in numbers:
        checks.integer("search", "seeds", number, "[0, 4294967295)")
    if not numbers or len(set(numbers)) < len(numbers):
        raise ValueError(f"search: `seeds` must be at least one number, each once, got {numbers}.")
    return numbers
