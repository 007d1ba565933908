"""Successive halving: train many configurations for a few steps, the best of them for more.

Rung r trains n_r configurations up to step s_r, with n_0 = trials, n_r = floor(n_0 / eta^r) and
s_r = min(s_0 eta^r, max_steps), until one configuration is left or the steps are spent. Each rung
continues the trainings of the rung before and passes its best n_{r+1} to the next.

Hyperband runs several such brackets, from many configurations with few steps to a few with all
steps. With s_max = floor(log_eta(max_steps / min_steps)), bracket s = s_max, ..., 0 starts with
ceil((s_max + 1) / (s + 1) eta^s) configurations and max_steps / eta^s steps.

One program, about as large as a single training, serves all brackets and budgets; the host selects
configurations between its calls. Whether a short budget predicts a long one is not known
beforehand, so every result reports the rank correlation of each rung with the next.

References: Jamieson & Talwalkar, "Non-stochastic Best Arm Identification and Hyperparameter
Optimization", AISTATS 2016; Li et al., "Hyperband", JMLR 2018, algorithm 1.
"""

import dataclasses
import itertools
import math
import os
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float64, Key, PyTree

from jaxopt_course.core import checks, under_automatic_mesh
from jaxopt_course.training import Rows, Training

from ._cohort import Cohort, check_rounds, correlation_texts, correlations
from ._designs import sobol_design
from ._optimizer_checks import warn_of_decay
from ._space import Points
from ._study import Mode, Ranking, Study, columns_table, digest, ranked


class Rungs(NamedTuple):
    """How many configurations train for how many steps, rung by rung.

    sizes: number of configurations, not increasing.
    steps: total number of steps of each configuration, increasing.
    """

    sizes: tuple[int, ...]
    steps: tuple[int, ...]


def halving_rungs(trials: int, *, eta: float = 3.0, min_steps: int, max_steps: int) -> Rungs:
    """The rungs of successive halving.

    Args:
        trials: number of configurations in the first rung, in [1, inf).
        eta: factor by which configurations decrease and steps increase from rung to rung, in
            (1, inf).
        min_steps: number of steps in the first rung, in [1, max_steps].
        max_steps: number of steps in the last rung.

    Examples:
        >>> halving_rungs(9, eta=3, min_steps=10, max_steps=90)
        Rungs(sizes=(9, 3, 1), steps=(10, 30, 90))
    """
    checks.integer("halving_rungs", "trials", trials, "[1, inf)")
    _check_steps("halving_rungs", eta, min_steps, max_steps)
    sizes, steps = [trials], [min_steps]
    while steps[-1] < max_steps and sizes[-1] > 1:
        rung = len(sizes)
        sizes.append(max(1, math.floor(trials / eta**rung + 1e-9)))
        steps.append(min(max_steps, math.floor(min_steps * eta**rung + 1e-9)))
    return Rungs(tuple(sizes), (*steps[:-1], max_steps))


def top_k_rungs(trials: int, k: int, *, min_steps: int, max_steps: int) -> Rungs:
    """Two rungs: all configurations for a few steps, the best ``k`` to the end.

    This is the baseline for successive halving. All arguments are positive integers, ``k`` is at
    most ``trials``, and ``min_steps``, for example one epoch, is below ``max_steps``.
    """
    checks.integer("top_k_rungs", "trials", trials, "[1, inf)")
    checks.integer("top_k_rungs", "max_steps", max_steps, "[1, inf)")
    checks.integer("top_k_rungs", "k", k, f"[1, {trials}]")
    checks.integer("top_k_rungs", "min_steps", min_steps, f"[1, {max_steps})")
    return Rungs((trials, k), (min_steps, max_steps))


class HalvingResult(NamedTuple):
    """The result of one bracket; ``print`` it.

    space, mode, key: arguments of the study; all trainings have this key.
    points: points of the unit cube, f64[configurations, ranges].
    configurations: those at the points, as plain Python values.
    scores: f64[rungs, configurations]; NaN where a training failed or was dropped before.
    rungs: the rungs of this bracket.
    correlations: Spearman's rank correlation of the scores of each rung with those of the next,
        among the configurations that reached it, f64[rungs - 1].
    seconds: duration of the bracket, with compilation.
    """

    space: PyTree
    points: Float64[np.ndarray, "c d"]
    configurations: tuple[PyTree, ...]
    scores: Float64[np.ndarray, "r c"]
    rungs: Rungs
    mode: Mode
    correlations: Float64[np.ndarray, "r-1"]
    key: Key[Array, ""]
    seconds: float

    @property
    def survivors(self) -> tuple[np.ndarray, ...]:
        """The configurations that each rung trained, the best first."""
        return tuple(_trained(self.scores, self.rungs.sizes, self.mode))

    @property
    def best(self) -> int:
        """The best configuration of the last rung."""
        return int(self.survivors[-1][0])

    def __str__(self) -> str:
        pick = np.fmin if self.mode == "min" else np.fmax
        columns = [
            ("rung", range(len(self.scores))),
            ("configurations", self.rungs.sizes),
            ("steps", self.rungs.steps),
            ("best score", pick.reduce(self.scores, axis=1)),
            ("rank correlation with the next", correlation_texts(self.correlations)),
        ]
        return f"{columns_table(columns)}\nbest: {self.configurations[self.best]}"


@under_automatic_mesh
def successive_halving(
    training: Callable[..., Training],
    space: PyTree,
    *,
    key: Key[Array, ""],
    rungs: Rungs,
    rows: Rows | None = None,
    points: Points | None = None,
    metric: str | None = None,
    mode: Mode = "min",
    mesh: Mesh | None = None,
    resume: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> HalvingResult:
    """Search with one bracket of successive halving.

    All configurations start from the same key. A training that diverges scores NaN and does not
    reach the next rung, unless too few others are left. On several devices the result is bitwise
    the same. It is saved after each rung.

    Args:
        training: the training to search, by :func:`~jaxopt_course.training.make_training`. Its
            program is compiled once for this number of configurations, whatever the rungs.
        space: a pytree of :class:`Float`, :class:`Int` and fixed values. Choices are refused,
            because each option is a program of its own.
        key: PRNG key of the trainings and the design.
        rungs: the result of :func:`halving_rungs` or :func:`top_k_rungs`, or your own rungs.
        rows: which rows train and which validate. None: all train.
        points: points of the unit cube, f[configurations, ranges]. None: a Sobol sequence.
        metric: a name in the history, or None, as for :func:`search`.
        mode: as for :func:`search`.
        mesh: as for :func:`search`.
        resume: as for :func:`search`; a study with other ``rungs`` is another one.
        progress: as for :func:`search`.

    Warns:
        ScheduleWarning: if the optimizer's steps shrink between the first budget and the last.

    Examples:
        >>> import jax
        >>> import jaxopt_course as jc
        >>> init = lambda key: {"w": jax.numpy.zeros((1, 1))}
        >>> regression = jc.problems.problem("regression")
        >>> task = jc.function_task(init, lambda p, x: x @ p["w"], regression)
        >>> x = jax.numpy.arange(1.0, 4.0)[:, None]
        >>> build = lambda h: (task, jc.sgd(h["rate"]))
        >>> training = jc.training.make_training(build, (x, 2 * x), batch_size=3)
        >>> rungs = halving_rungs(9, min_steps=1, max_steps=9)
        >>> space = {"rate": jc.studies.Float(1e-3, 1.0, log=True)}
        >>> result = successive_halving(training, space, key=jax.random.key(0), rungs=rungs)
        >>> 0.03 < result.configurations[result.best]["rate"] < 0.3
        True
    """
    owner, ranking = "successive_halving", Ranking(metric, mode)
    _check_rungs(owner, rungs)
    study = Study(
        owner, training, space, key, rows, ranking, mesh=mesh, resume=resume, progress=progress
    )
    return _bracket(study, rungs, points)


@under_automatic_mesh
def hyperband(
    training: Callable[..., Training],
    space: PyTree,
    *,
    key: Key[Array, ""],
    eta: float = 3.0,
    min_steps: int,
    max_steps: int,
    rows: Rows | None = None,
    metric: str | None = None,
    mode: Mode = "min",
    mesh: Mesh | None = None,
    resume: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> tuple[HalvingResult, ...]:
    """Search with all brackets of Hyperband, in one program; returns one result a bracket.

    The arguments are those of :func:`halving_rungs` and :func:`successive_halving`. Each bracket
    uses its own part of one Sobol sequence, and its own directory in ``resume``. ``min_steps`` is
    the number of steps in the first rung of the first bracket, and ``max_steps`` that in the last
    rung of every bracket.
    """
    owner, ranking = "hyperband", Ranking(metric, mode)
    brackets = _brackets(owner, eta, min_steps, max_steps)
    study = Study(
        owner, training, space, key, rows, ranking, mesh=mesh, resume=resume, progress=progress
    )
    trials = [rungs.sizes[0] for rungs in brackets]
    design = np.split(sobol_design(key, space, sum(trials)), np.cumsum(trials)[:-1])
    results = []
    for number, (rungs, points) in enumerate(zip(brackets, design, strict=True)):
        directory = None if resume is None else pathlib.Path(resume, f"bracket-{number}")
        own = dataclasses.replace(study, resume=directory)
        results.append(_bracket(own, rungs, points, max(trials)))
    return tuple(results)


def _brackets(owner: str, eta: float, min_steps: int, max_steps: int) -> list[Rungs]:
    """The rungs of each bracket of Hyperband."""
    _check_steps(owner, eta, min_steps, max_steps)
    most = math.floor(math.log(max_steps / min_steps, eta) + 1e-9)
    brackets = []
    for s in range(most, -1, -1):
        count = math.ceil((most + 1) / (s + 1) * eta**s - 1e-9)
        steps = max(min_steps, math.floor(max_steps / eta**s + 1e-9))
        rungs = halving_rungs(count, eta=eta, min_steps=steps, max_steps=max_steps)
        sizes = rungs.sizes[: s + 1]
        brackets.append(Rungs(sizes, (*rungs.steps[: len(sizes) - 1], max_steps)))
    return brackets


def _bracket(study: Study, rungs: Rungs, points: Points | None, size: int = 0) -> HalvingResult:
    """One bracket, in programs for at least ``size`` configurations."""
    count, mode = rungs.sizes[0], study.ranking.mode
    points = check_rounds(study, points, count)
    configurations = tuple(map(study.apart.configuration, points))
    warn_of_decay(study, configurations[0], rungs.steps)
    begun = time.perf_counter()
    cohort = Cohort(study, points, jnp.broadcast_to(study.key, (count,)), size)
    scores = np.full((len(rungs.sizes), count), np.nan)
    trained = lambda rungs_done: _trained(scores[:rungs_done], rungs.sizes, mode)

    def one_rung(rung: int) -> None:
        members = trained(rung)[-1][: rungs.sizes[rung]] if rung > 0 else np.arange(count)
        scores[rung, members] = cohort.advance(points[members], rungs.steps[rung])
        if rung + 1 < len(rungs.sizes):
            best = trained(rung + 1)[-1][: rungs.sizes[rung + 1]]
            cohort.take(np.array([members.tolist().index(member) for member in best]))

    about = {"rungs": [list(row) for row in rungs], "points": digest(points)}
    cohort.run({"scores": scores}, one_rung, [*rungs.sizes[1:], 0], "rung", **about)
    return HalvingResult(
        space=study.space,
        points=points,
        configurations=configurations,
        scores=scores,
        rungs=rungs,
        mode=mode,
        correlations=correlations(scores),
        key=study.key,
        seconds=time.perf_counter() - begun,
    )


def _trained(scores: np.ndarray, sizes: Sequence[int], mode: str) -> list[np.ndarray]:
    """The members of each rung, the best first; ties are in the order of the rung before."""
    members, found = np.arange(sizes[0]), []
    for row, size in zip(scores, sizes, strict=False):
        members = members[:size]
        members = members[ranked(row[members], mode)]
        found.append(members)
    return found


def _check_steps(owner: str, eta: float, min_steps: int, max_steps: int) -> None:
    checks.number(owner, "eta", eta, "(1, inf)")
    checks.integer(owner, "max_steps", max_steps, "[1, inf)")
    checks.integer(owner, "min_steps", min_steps, f"[1, {max_steps}]")


def _check_rungs(owner: str, rungs: Rungs) -> None:
    sizes, steps = rungs
    falls = all(a >= b >= 1 for a, b in itertools.pairwise(sizes)) and sizes and sizes[-1] >= 1
    rises = all(a < b for a, b in itertools.pairwise(steps)) and steps and steps[0] >= 1
    if len(sizes) != len(steps) or not falls or not rises:
        raise ValueError(
            f"{owner}: `rungs` must be sizes that do not rise and as many steps that do, all in "
            f"[1, inf), got {rungs}."
        )
