"""Successive halving: many configurations for a few steps, the best of them for more, and so on.

With a rung r of n_r configurations and s_r steps:  n_0 = trials, n_r = floor(n_0 / eta^r),
s_r = min(s_0 eta^r, max_steps), until one is left or the steps are spent. Each rung trains its
configurations on from where the last one left them, and hands the best n_{r+1} to the next.

Hyperband runs several such brackets, from many configurations with few steps to a few with all:
with s_max = floor(log_eta(max_steps / min_steps)), bracket s = s_max, ..., 0 starts with
ceil((s_max + 1) / (s + 1) eta^s) configurations of max_steps / eta^s steps.

The table of rungs is data: one program, about as large as one training, serves all brackets and
budgets; who goes on is chosen between its calls. What a short budget says of a long one is not
known beforehand: the rank correlation of each rung with the next is part of every result.

References: Jamieson & Talwalkar, "Non-stochastic Best Arm Identification and Hyperparameter
Optimization", AISTATS 2016; Li et al., "Hyperband", JMLR 2018, algorithm 1.
"""

import math
import os
import pathlib
import time
from collections.abc import Sequence
from typing import Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float64, Key, PyTree

from jaxopt_course.core import checks, under_automatic_mesh
from jaxopt_course.training import Rows, Stages

from ._designs import Points, sobol_design
from ._optimizer_checks import warn_of_decay
from ._rounds import Setting, correlation_text, correlations
from ._rungs import Rungs, check_rungs, halving_rungs
from ._saves import digest
from ._score import ranked
from ._space import configuration_at


class HalvingResult(NamedTuple):
    """What a bracket has found; ``print`` it.

    space: that was searched.
    points: of the unit cube, f64[configurations, ranges].
    configurations: at these points, as plain Python values.
    scores: f64[rungs, configurations]; NaN where a training failed or was given up before.
    rungs: that were run.
    mode: ``"min"`` or ``"max"``: which scores are best.
    correlations: Spearman's, of the scores of a rung with those of the next, among the
        configurations that reached it, f64[rungs - 1].
    key: of the trainings.
    seconds: of all trainings, compilation included if it was compiled for this.
    """

    space: PyTree
    points: Float64[np.ndarray, "c d"]
    configurations: tuple[PyTree, ...]
    scores: Float64[np.ndarray, "r c"]
    rungs: Rungs
    mode: Literal["min", "max"]
    correlations: Float64[np.ndarray, "r-1"]
    key: Key[Array, ""]
    seconds: float

    @property
    def survivors(self) -> tuple[np.ndarray, ...]:
        """The configurations of each rung, the best of it first."""
        return tuple(_trained(self.scores, self.rungs.sizes, self.mode))

    @property
    def best(self) -> int:
        """The best configuration of the last rung."""
        return int(self.survivors[-1][0])

    def __str__(self) -> str:
        """A line a rung."""
        pick = np.fmin if self.mode == "min" else np.fmax
        lines = ["rung  configurations   steps   best score   rank correlation with the next"]
        for r, (size, steps) in enumerate(zip(*self.rungs, strict=True)):
            after = correlation_text(self.correlations, r)
            best = pick.reduce(self.scores[r])
            lines.append(f"{r:4}  {size:14}  {steps:6}   {best:10.4g}   {after}")
        return "\n".join([*lines, f"best: {self.configurations[self.best]}"])


@under_automatic_mesh
def successive_halving(
    stages: Stages,
    space: PyTree,
    *,
    key: Key[Array, ""],
    rungs: Rungs,
    rows: Rows | None = None,
    points: Points | None = None,
    metric: str | None = None,
    mode: Literal["min", "max"] = "min",
    mesh: Mesh | None = None,
    resume: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> HalvingResult:
    """One bracket.

    All configurations start from the same key. A training that diverges scores NaN and is never
    among those that go on, unless too few are left.

    Args:
        stages: of the training, by :func:`~jaxopt_course.training.make_stages`. The program is
            compiled once for these stages and so many configurations; other rungs run in it too.
        space: of numbers; choices are programs of their own and are refused.
        key: of the trainings, and of the design.
        rungs: of :func:`halving_rungs`, :func:`top_k_rungs`, or by hand.
        rows: which rows train and which validate. None: all train.
        points: of the unit cube, f[configurations, ranges]. None: a Sobol sequence.
        metric: a name of the rows of the history. None: the validation loss, if there is one.
        mode: whether the lowest or the highest is best; of an accuracy it must be "max".
        mesh: the configurations of each rung are dealt out over its axis "pop", which gives the
            same result, to the bit. None: one device.
        resume: a directory, in which each rung is saved. A bracket that was killed goes on from
            there, and ends as it would have ended. It is not extended: other ``rungs`` are another
            study, which needs a directory of its own.
        progress: show it on stderr.

    Raises:
        ValueError: if the rungs are no table as said, or the space has a choice.
        CheckpointMismatchError: if ``resume`` holds another study.

    Warns:
        ScheduleWarning: if the optimizer's steps shrink between the first budget and the last.

    Examples:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> import optax
        >>> from jaxopt_course.problems import problem
        >>> from jaxopt_course.studies import Float
        >>> from jaxopt_course.tasks import function_task
        >>> from jaxopt_course.training import make_stages
        >>> init = lambda key: {"w": jnp.zeros((1, 1))}
        >>> task = function_task(init, lambda p, x: x @ p["w"], problem("regression"))
        >>> x = jnp.array([[1.0], [2.0], [3.0]])
        >>> build = lambda h: (task, optax.sgd(h["rate"]))
        >>> stages = make_stages(build, (x, 2 * x), batch_size=3)
        >>> rungs = halving_rungs(9, min_steps=1, max_steps=9)
        >>> space = {"rate": Float(1e-3, 1.0, log=True)}
        >>> result = successive_halving(stages, space, key=jax.random.key(0), rungs=rungs)
        >>> 0.03 < result.configurations[result.best]["rate"] < 0.3
        True
    """
    check_rungs("successive_halving", rungs)
    setting = Setting(
        "successive_halving", stages, space, key, rows, metric, mode, mesh, resume, progress
    )
    setting = setting.checked()
    if points is None:
        points = sobol_design(key, space, rungs.sizes[0])
    return _bracket(setting, rungs, setting.first(points, rungs.sizes[0]))


@under_automatic_mesh
def hyperband(
    stages: Stages,
    space: PyTree,
    *,
    key: Key[Array, ""],
    eta: float = 3.0,
    min_steps: int,
    max_steps: int,
    rows: Rows | None = None,
    metric: str | None = None,
    mode: Literal["min", "max"] = "min",
    mesh: Mesh | None = None,
    resume: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> tuple[HalvingResult, ...]:
    """All brackets, each a :class:`HalvingResult`, in one program that is compiled once.

    Args:
        stages: as for :func:`successive_halving`.
        space: of numbers.
        key: of the trainings, and of the design, from which each bracket takes its own part.
        eta: as for :func:`halving_rungs`.
        min_steps: of the first rung of the first bracket, in [1, max_steps].
        max_steps: of the last rung of each.
        rows: which rows train and which validate. None: all train.
        metric: a name of the rows of the history. None: the validation loss, if there is one.
        mode: whether the lowest or the highest is best; of an accuracy it must be "max".
        mesh: as for :func:`successive_halving`.
        resume: a directory, in which each bracket has one of its own. As of
            :func:`successive_halving`, none is extended.
        progress: show it on stderr.
    """
    checks.number("hyperband", "eta", eta, "(1, inf)")
    checks.integer("hyperband", "max_steps", max_steps, "[1, inf)")
    checks.integer("hyperband", "min_steps", min_steps, f"[1, {max_steps}]")
    most = math.floor(math.log(max_steps / min_steps, eta) + 1e-9)
    brackets = []
    for s in range(most, -1, -1):
        trials = math.ceil((most + 1) / (s + 1) * eta**s - 1e-9)
        steps = max(min_steps, math.floor(max_steps / eta**s + 1e-9))
        rungs = halving_rungs(trials, eta=eta, min_steps=steps, max_steps=max_steps)
        sizes = rungs.sizes[: s + 1]
        brackets.append(Rungs(sizes, (*rungs.steps[: len(sizes) - 1], max_steps)))
    ends = np.cumsum([rungs.sizes[0] for rungs in brackets])
    design = sobol_design(key, space, int(ends[-1]))
    setting = Setting("hyperband", stages, space, key, rows, metric, mode, mesh, resume, progress)
    setting = setting.checked()
    results = []
    for number, (rungs, end) in enumerate(zip(brackets, ends, strict=True)):
        directory = None if resume is None else pathlib.Path(resume, f"bracket-{number}")
        points = design[end - rungs.sizes[0] : end]
        size = max(rungs.sizes[0] for rungs in brackets)
        results.append(_bracket(setting._replace(resume=directory), rungs, points, size))
    return tuple(results)


def _bracket(setting: Setting, rungs: Rungs, points: Points, size: int = 0) -> HalvingResult:
    """One bracket, in programs for ``size`` configurations; 0: for those of the bracket."""
    count = rungs.sizes[0]
    configurations = tuple(configuration_at(setting.space, point) for point in points)
    warn_of_decay(setting.owner, setting.stages, configurations[0], rungs.steps, stacklevel=3)
    begun = time.perf_counter()
    keys = jnp.broadcast_to(setting.key, (count,))
    cohort = setting.cohort(points, keys, size)
    scores = np.full((len(rungs.sizes), count), np.nan)
    trained = lambda rungs_done: _trained(scores[:rungs_done], rungs.sizes, setting.mode)

    def one_rung(rung: int) -> None:
        members = trained(rung)[-1][: rungs.sizes[rung]] if rung > 0 else np.arange(count)
        scores[rung, members] = cohort.advance(points[members], rungs.steps[rung])
        if rung + 1 < len(rungs.sizes):
            best = trained(rung + 1)[-1][: rungs.sizes[rung + 1]]
            cohort.take(np.array([members.tolist().index(member) for member in best]))

    about = {"rungs": [list(row) for row in rungs], "points": digest(points)}
    going = [*rungs.sizes[1:], 0]
    setting.run(cohort, {"scores": scores}, one_rung, going, unit="rung", about=about)
    return HalvingResult(
        space=setting.space,
        points=points,
        configurations=configurations,
        scores=scores,
        rungs=rungs,
        mode=setting.mode,
        correlations=correlations(scores),
        key=setting.key,
        seconds=time.perf_counter() - begun,
    )


def _trained(scores: np.ndarray, sizes: Sequence[int], mode: str) -> list[np.ndarray]:
    """Who trained in each rung, the best first; of equal ones who was better in the rung before."""
    members, found = np.arange(sizes[0]), []
    for row, size in zip(scores, sizes, strict=False):
        members = members[:size]
        members = members[ranked(row[members], mode)]
        found.append(members)
    return found
