"""A search: every configuration x fold x seed of a training, in as few programs as possible."""

import contextlib
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Key, PyTree

from jaxopt_course.core import under_automatic_mesh
from jaxopt_course.data import Folds
from jaxopt_course.training import Rows

from ._designs import Points
from ._progress import show_trials
from ._proposals import check_method, describe_method, proposals
from ._result import SearchResult
from ._score import Metric
from ._space import dimensions_of
from ._study import Strategy, Study, fold_table, seed_numbers
from ._table import Table, saved_in


DESIGN = 2**32 - 1  # the use of the key that is no seed's
BETWEEN = 0.2  # seconds from one look at the table to the next


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
    mode: Literal["min", "max"] = "min",
    strategy: Strategy = "auto",
    chunk_size: int | None = None,
    mesh: Mesh | None = None,
    resume: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> SearchResult:
    """Train with many configurations on every fold with every seed, and rank them.

    Numbers are traced, so one program serves all trials; each combination of the options of
    choices is a program of its own. All configurations see the same folds and the same keys:

        score[c, f, s] = metric(train(fold_in(key, seed[s]), configuration[c], rows[f])).

    A training that fails, by diverging or by a score that is no finite number, scores NaN; one
    such training puts its configuration last, and disturbs no other.

    Args:
        train: ``train(key, hyperparameters, rows) -> Run``, of
            :func:`~jaxopt_course.training.make_train` or a function around it. Its
            hyperparameters have the structure of ``space``; ranges of numbers come traced,
            options and fixed values as they are, so that they can set a batch size.
        space: a pytree of :class:`Float`, :class:`Int`, :class:`Choice` and fixed values.
        key: of the study: of its seeds and of the design.
        trials: how many configurations, in [1, inf); of a grid, at most so many. None: as many
            as ``method`` has points.
        seeds: how many, in [1, inf), or their numbers.
        folds: of :func:`~jaxopt_course.data.k_fold`, or rows that are one split. None: all rows
            train, and the training loss is ranked.
        method: ``"sobol"``, ``"random"``, ``"grid"``; ``"tpe"`` or ``"gp"``, Optuna's, which
            learn from round to round ("gp" needs torch); or points of the unit cube,
            f[trials, ranges].
        rounds: of a method that learns alone, in [8, inf); 16 by default. Each is
            ``trials / rounds`` configurations.
        metric: what is ranked: a name in the history, of which the best evaluation counts, or a
            function of what ``train`` returns. None: the validation loss, if there is one.
        mode: whether the lowest or the highest is best; of an accuracy it must be "max".
        strategy: "map": one training after the other, each with the bits that it has alone.
            "chunk": ``chunk_size`` at a time; "vmap": all at a time, in memory too; both round
            differently. "auto": whichever of "map" and chunks of 8, 32 and 128 is measured to be
            fastest; it measures while it works.
        chunk_size: of "chunk" alone, in [1, inf); 8 by default.
        mesh: trainings are shared out over its axis "pop". None: one device.
        resume: a directory, in which what is done is saved every few seconds. A search that was
            killed goes on from there, and ends as it would have ended. It is not extended: with
            other ``trials`` it is another study, which needs a directory of its own.
        progress: show it on stderr: a bar on a terminal, else a line every five seconds.

    Returns:
        The result; ``print`` it. Of the trainings it keeps scores, histories and outcomes, no
        parameters.

    Raises:
        ValueError: if an argument is not as said.
        CheckpointMismatchError: if ``resume`` holds another study, another ``train`` for one.

    Examples:
        >>> from jaxopt_course.studies import Float
        >>> space = {"rate": Float(0.0, 2.0)}
        >>> train = lambda key, hyperparameters, rows: (1 - hyperparameters["rate"]) ** 2
        >>> result = search(train, space, key=jax.random.key(0), trials=64, metric=lambda x: x)
        >>> result.scores.shape, round(result.configurations[result.best]["rate"], 1)
        ((64, 1, 1), 1.0)
    """
    study = Study(
        train=train,
        space=space,
        key=key,
        seeds=seed_numbers(seeds),
        rows=fold_table(folds),
        metric=metric,
        mode=mode,
        strategy=strategy,
        chunk_size=chunk_size,
        mesh=mesh,
    )
    trials, rounds = check_method(method, space, trials, rounds)
    described = {"trials": trials, "rounds": rounds, "method": describe_method(method)}
    about = lambda: {**described, **study.about()}
    table = Table.of_size(trials * math.prod(study.trainings))
    tables = proposals(method, jax.random.fold_in(key, DESIGN), space, trials, rounds, mode)
    points = np.empty((0, len(dimensions_of(space).ranges)))
    with saved_in(resume, about, table) as save, _shown(study, table, shown=progress) as show:

        def after() -> None:
            save()
            show()

        scores = None
        while len(points) < trials:
            new = next(tables) if scores is None else tables.send(scores)
            study.run(new, table, len(points), after)
            scores = study.values(table)[len(points) : len(points) + len(new)]
            points = np.concatenate([points, new])
    return study.result(points, table)


@contextlib.contextmanager
def _shown(study: Study, table: Table, *, shown: bool) -> Iterator[Callable[[], None]]:
    """A function that shows how far the table is filled, and the best so far."""
    each = math.prod(study.trainings)
    finished = lambda: int(table.done.reshape(-1, each).all(1).sum())
    last = 0.0

    with show_trials(len(table.done) // each, finished(), mode=study.mode, shown=shown) as show:

        def update():
            nonlocal last
            if time.monotonic() - last < BETWEEN:
                return
            last = time.monotonic()
            show(finished(), study.values(table))

        yield update
