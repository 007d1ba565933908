"""Tuning by gradients: hyperparameters descend on the score of a whole training.

A training is a function of its hyperparameters h that can be differentiated. Each number is tuned
on the scale of its range, so that one step size serves rates and rounds of all sizes:

    h = low (high / low)^u    or    h = low + u (high - low)    with u in [0, 1]
    g = mean_s d score(train(key_s, h(u))) / du
    u <- clip(u + update(g), 0, 1)    with the update of an optimizer

One gradient costs a few trainings, however many numbers are tuned. Where trainings are chaotic, as
with rates beyond the edge of stability, the derivative along one trajectory says nothing about the
score. The gradients of different seeds then have unrelated directions, so their cosine is measured:

    agreement = mean over pairs of seeds of g_s . g_t / (|g_s| |g_t|)

Reference: Maclaurin, Duvenaud & Adams, "Gradient-based Hyperparameter Optimization through
Reversible Learning", 2015, https://arxiv.org/abs/1502.03492; on chaos: Metz et al., "Gradients are
Not All You Need", 2021, https://arxiv.org/abs/2111.05803.
"""

import os
import time
import warnings
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Key, PyTree

from jaxopt_course.checkpoints import fingerprint
from jaxopt_course.core import checks, on_host, remembered, show_progress, under_automatic_mesh
from jaxopt_course.optimizers import adam
from jaxopt_course.training import OutcomeCode, Rows, Run, make_population

from ._designs import sobol_design
from ._gradient_result import UNRELATED, GradientTuningResult
from ._space import Float, Points, Space
from ._study import Metric, Mode, Ranking, Study, best_text, digest, metric_name
from ._table import open_store


STARTS = 2**32 - 1  # folded into the key for the starts that are drawn; seeds are smaller
RATE = 0.05  # of Adam: a twentieth of the range in each step


class ChaosWarning(UserWarning):
    """The gradients of a training with different seeds disagree in direction."""


@under_automatic_mesh
def tune_by_gradient(
    train: Callable[..., Any],
    start: PyTree,
    space: PyTree,
    *,
    key: Key[Array, ""],
    steps: int,
    starts: int = 1,
    seeds: int = 2,
    rows: Rows | None = None,
    optimizer: optax.GradientTransformation | None = None,
    metric: Metric = None,
    mode: Mode = "min",
    strategy: Literal["map", "chunk", "vmap"] = "vmap",
    chunk_size: int | None = None,
    resume: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> GradientTuningResult:
    """Tune many numbers at once by gradients of the final score through the whole training.

    All starts and seeds are one program, and a step of the study runs it once. A gradient of all
    numbers takes a few times as long as a training. Make ``train`` with ``remat=True`` if its
    derivatives need too much memory. A start whose score or gradient is not finite is discarded.

    The best score is the lowest one of the validation rows that were tuned on, so it is optimistic,
    and the more so the more numbers are tuned: measure the result on other rows and seeds.

    Args:
        train: ``train(key, hyperparameters, rows) -> Run``, such as
            :func:`~jaxopt_course.training.make_train` returns without early stopping, or a function
            around it. Its hyperparameters have the structure of ``space``.
        start: the configuration to begin with, of ``space``. None: all starts are drawn.
        space: a pytree of :class:`Float` and fixed values, such as
            ``{"rates": [Float(1e-4, 1.0, log=True)] * 20}``. Numbers stay in their ranges.
        key: PRNG key. The training of seed s has the key ``fold_in(key, s)``, as in :func:`search`.
        steps: number of gradients, in [1, inf).
        starts: number of starts, in [1, inf). Those besides ``start`` are Sobol points.
        seeds: number of seeds whose mean score is tuned, in [1, inf). With a single seed it is
            unknown whether trainings are chaotic.
        rows: rows to train and to validate on. None: all rows train.
        optimizer: transforms the gradients with respect to the places of the numbers in their
            ranges, from 0 to 1; each start has its own state. None: Adam with the rate 0.05.
        metric: a name in the history, of which the last evaluation counts, or a function of what
            ``train`` returns. None: the validation loss if there is one, else the training loss.
        mode: as for :func:`search`.
        strategy: as for :func:`~jaxopt_course.training.make_population`. "map" and "chunk" need
            less memory than "vmap".
        chunk_size: as for :func:`~jaxopt_course.training.make_population`.
        resume: a directory in which the study is saved after each step, and from which it resumes.
        progress: as for :func:`search`.

    Raises:
        CheckpointMismatchError: if ``resume`` holds another study.
        ValueError: if ``space`` holds something else than :class:`Float`, or does not hold
            ``start``.

    Warns:
        ChaosWarning: if the gradients of the seeds disagree in direction at a start.

    Examples:
        >>> space = {"x": Float(1e-3, 1e3, log=True), "y": Float(-1.0, 1.0)}
        >>> train = lambda key, h, rows: jnp.log(h["x"]) ** 2 + (h["y"] - 0.5) ** 2
        >>> result = tune_by_gradient(
        ...     train, {"x": 10.0, "y": 0.0}, space, key=jax.random.key(0), steps=100,
        ...     metric=lambda value: value, progress=False,
        ... )  # fmt: skip
        >>> {name: round(value, 1) for name, value in result.configuration.items()}
        {'x': 1.0, 'y': 0.5}
    """
    owner = "tune_by_gradient"
    for name, number in {"steps": steps, "starts": starts, "seeds": seeds}.items():
        checks.integer(owner, name, number, "[1, inf)")
    ranking = Ranking(metric, mode)
    study = Study(
        owner, train, space, key, rows, ranking, mesh=None, resume=resume, progress=progress
    )
    begin = _begin(study, start, starts)
    optimizer = adam(RATE) if optimizer is None else optimizer
    init, step = _programs_of(train, ranking, study.apart, optimizer, strategy, chunk_size)
    begun = time.perf_counter()
    keys = jax.vmap(lambda s: jax.random.fold_in(key, s))(np.arange(seeds, dtype=np.uint32))
    record = {
        "points": np.repeat(begin[None], steps, axis=0),
        "scores": np.full((steps, starts, seeds), np.nan),
        "agreement": np.full((steps, starts), np.nan),
    }
    _run(study, init, step, keys, record)
    _warn_of_chaos(record["agreement"][0])
    return GradientTuningResult(
        space=space, **record, mode=mode, key=key, seconds=time.perf_counter() - begun
    )


class _Searcher(NamedTuple):
    """The starts between two steps.

    points: where they are, f[starts, ranges].
    states: states of the optimizer, one for each start.
    alive: which of them were not discarded, bool[starts].
    """

    points: Array
    states: PyTree
    alive: Array


def _run(study: Study, init: Any, step: Any, keys: Array, record: dict[str, np.ndarray]) -> None:
    """Fill ``record`` row by row; save and show the progress after each step."""
    searcher, steps = init(jnp.asarray(record["points"][0])), len(record["scores"])
    rows = study.copied(study.rows)

    def about() -> dict[str, Any]:
        program = fingerprint(lambda *given: step(*given), searcher, keys, rows)
        begin = digest(record["points"][0])
        return study.about(steps=steps, points=begin, rows=digest(rows), program=program)

    like = lambda info: {**record, "searcher": on_host(searcher)}
    position = lambda done: f"step {done}/{steps}"
    with open_store(study, about, like) as (saved, save):
        done = 0 if saved is None else saved.step
        if saved is not None:
            for name, values in record.items():
                values[...] = saved.tree[name]
            searcher = jax.tree.map(jnp.asarray, saved.tree["searcher"])
        with show_progress(position, steps, done, shown=study.progress) as show:
            for number in range(done, steps):
                record["points"][number] = on_host(searcher.points)
                searcher, (scores, agreement) = step(searcher, keys, rows)
                record["scores"][number] = on_host(scores)
                record["agreement"][number] = on_host(agreement)
                if study.resume is not None:
                    save(number + 1, {**record, "searcher": on_host(searcher)})
                means = record["scores"][: number + 1].mean(2)
                show(number + 1, best_text(means, study.ranking.mode))


@remembered
def _programs_of(
    train: Callable[..., Any],
    ranking: Ranking,
    space: Space,
    optimizer: optax.GradientTransformation,
    strategy: Literal["map", "chunk", "vmap"],
    chunk_size: int | None,
) -> Any:
    """The compiled ``init(points) -> searcher`` and ``step``, which measures and then moves it."""
    ranges: Any = space.ranges  # of the type Float
    sign = 1 if ranking.mode == "min" else -1

    def loss(point: Array, key: Any, rows: Any) -> Array:
        values = [_at(kind, u) for kind, u in zip(ranges, point, strict=True)]
        return sign * _score(train(key, space.fill(values), rows), ranking.metric)

    measure = make_population(
        lambda key, point, rows: jax.value_and_grad(loss)(point, key, rows),
        ("hyperparameters", "key"),
        strategy=strategy,
        chunk_size=chunk_size,
    )

    def init(points: Array) -> _Searcher:
        return _Searcher(points, jax.vmap(optimizer.init)(points), jnp.ones(len(points), bool))

    def step(searcher: _Searcher, keys: Any, rows: Any) -> tuple[_Searcher, tuple[Array, Array]]:
        points, states, alive = searcher
        losses, gradients = measure(keys, points, rows)  # [starts, seeds], [starts, seeds, ranges]
        finite = jnp.isfinite(losses).all(1) & jnp.isfinite(gradients).all((1, 2))
        gradients = jnp.where(finite[:, None, None], gradients, 0)
        updates, moved = jax.vmap(optimizer.update)(gradients.mean(1), states, points)
        new = jnp.clip(optax.apply_updates(points, updates), 0, 1)
        points, states = _where(finite & alive, (new, moved), (points, states))
        scores = jnp.where(alive[:, None], sign * losses, jnp.nan)
        agreement = jnp.where(finite & alive, _agreement(gradients), jnp.nan)
        return _Searcher(points, states, finite & alive), (scores, agreement)

    return jax.jit(init), jax.jit(step)


def _begin(study: Study, start: PyTree, starts: int) -> Points:
    """The points of all starts, after checks of the space."""
    owner, space = study.owner, study.apart
    others = [
        name for name, r in zip(space.names, space.ranges, strict=True) if type(r) is not Float
    ]
    if others or not space.ranges:
        found = f"others at {others}" if others else "no range"
        raise ValueError(
            f"{owner}: `space` must hold ranges of the type Float, which have derivatives, and "
            f"fixed values, got {found}."
        )
    given = np.empty((0, len(space.ranges)))
    if start is not None:
        try:
            given = np.array([space.point(start)], float)
        except (TypeError, ValueError) as error:
            text = str(error).removesuffix(".")
            raise ValueError(f"{owner}: `start` must lie in `space`, but: {text}.") from None
    missing = starts - len(given)
    if missing == 0:
        return given
    key = jax.random.fold_in(study.key, STARTS)
    return np.concatenate([given, sobol_design(key, study.space, missing)])


def _at(kind: Float, u: Array) -> Array:
    """``kind.at(u)`` of a traced place."""
    if kind.log:
        return kind.low * (kind.high / kind.low) ** u
    return kind.low + u * (kind.high - kind.low)


def _score(result: Any, metric: Metric) -> Array:
    """The final score of a training; NaN if it has diverged."""
    if callable(metric):
        score = jnp.asarray(metric(result))
        if score.shape != ():
            raise ValueError(
                f"tune_by_gradient: `metric` must return a scalar, got shape {score.shape}."
            )
    elif isinstance(result, Run):
        score = result.history[metric_name("tune_by_gradient", metric, result.history)][-1]
    else:
        raise TypeError(
            "tune_by_gradient: `train` must return a Run, or `metric` be a function of what it "
            f"returns, got {type(result).__name__}."
        )
    if isinstance(result, Run):
        score = jnp.where(result.outcome.code == OutcomeCode.DIVERGED, jnp.nan, score)
    return score


def _agreement(gradients: Array) -> Array:
    """The mean cosine between the gradients of two seeds, f[starts]; NaN for a single seed."""
    seeds = gradients.shape[1]
    if seeds == 1:
        return jnp.full(len(gradients), jnp.nan)
    largest = jnp.max(jnp.abs(gradients), -1, keepdims=True)
    scaled = gradients / jnp.where(largest > 0, largest, 1)
    lengths = jnp.sqrt(jnp.sum(scaled**2, -1, keepdims=True))
    directions = scaled / jnp.where(lengths > 0, lengths, 1)
    cosines = jnp.einsum("psd,ptd->pst", directions, directions)
    pairs = jnp.triu_indices(seeds, 1)
    return cosines[:, *pairs].mean(1)


def _where(which: Array, new: PyTree, old: PyTree) -> PyTree:
    """The entries of ``new`` for these starts, else those of ``old``."""
    along = lambda x: which.reshape(-1, *[1] * (x.ndim - 1))
    return jax.tree.map(lambda x, y: jnp.where(along(x), x, y), new, old)


def _warn_of_chaos(agreement: np.ndarray) -> None:
    chaotic = np.flatnonzero(agreement < UNRELATED)
    if len(chaotic):
        least = agreement[chaotic].min()
        warnings.warn(
            f"tune_by_gradient: at {len(chaotic)} of {checks.counted(len(agreement), 'start')} the "
            f"gradients of the seeds disagree in direction (mean cosine {least:.2g}, start "
            f"{chaotic[agreement[chaotic].argmin()]}). The trainings are chaotic there, or their "
            "noise exceeds what the numbers change: begin with lower learning rates or use "
            "shorter trainings or more seeds.",
            ChaosWarning,
            stacklevel=4,
        )
