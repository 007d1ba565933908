"""Successive halving: many configurations for a few steps, the best of them for more, and so on.

With a rung r of n_r configurations and s_r steps:  n_0 = trials, n_r = floor(n_0 / eta^r),
s_r = min(s_0 eta^r, max_steps), until one is left or the steps are spent. Each rung trains its
configurations on from where the last one left them, and hands the best n_{r+1} to the next.

Hyperband runs several such brackets, from many configurations with few steps to a few with all:
with s_max = floor(log_eta(max_steps / min_steps)), bracket s = s_max, ..., 0 starts with
ceil((s_max + 1) / (s + 1) eta^s) configurations of max_steps / eta^s steps.

The table of rungs is data: one program, about as large as one training, serves all brackets and
budgets. What a short budget says of a long one is not known beforehand: the rank correlation of
each rung with the next is part of every result.

References: Jamieson & Talwalkar, "Non-stochastic Best Arm Identification and Hyperparameter
Optimization", AISTATS 2016; Li et al., "Hyperband", JMLR 2018, algorithm 1.
"""

import itertools
import math
import time
import warnings
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Array, Float64, Key, PyTree

from jaxopt_course.core import check_choice, check_integer, check_number
from jaxopt_course.training import Rows, Stages

from ._bracket import bracket_program, step_ratio
from ._designs import Points, sobol_design
from ._rungs import MOST_RUNGS, Rungs, check_rungs, halving_rungs
from ._space import Choice, Int, configuration_at, dimensions_of


__all__ = [
    "HalvingResult",
    "ScheduleWarning",
    "hyperband",
    "successive_halving",
]

DECAYED = 0.5  # of the step of the first budget: less is warned of


class ScheduleWarning(UserWarning):
    """Steps shrink within the budget, so that short trainings are judged at other rates."""


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
    seconds: of the program, compilation included if it was compiled for this.
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
        sign = 1 if self.mode == "min" else -1
        order = [np.argsort(sign * row, kind="stable") for row in self.scores]
        return tuple(o[:n] for o, n in zip(order, self.rungs.sizes, strict=True))

    @property
    def best(self) -> int:
        """The best configuration of the last rung."""
        return int(self.survivors[-1][0])

    def __str__(self) -> str:
        """A line a rung."""
        pick = np.nanmin if self.mode == "min" else np.nanmax
        lines = ["rung  configurations   steps   best score   rank correlation with the next"]
        for r, (size, steps) in enumerate(zip(*self.rungs, strict=True)):
            after = f"{self.correlations[r]:.2f}" if r < len(self.correlations) else ""
            lines.append(f"{r:4}  {size:14}  {steps:6}   {pick(self.scores[r]):10.4g}   {after}")
        return "\n".join([*lines, f"best: {self.configurations[self.best]}"])


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
) -> HalvingResult:
    """One bracket, in one program.

    All configurations start from the same key. A training that diverges scores NaN and is never
    among those that go on, unless too few are left.

    Args:
        stages: of the training, by :func:`~jaxopt_course.training.make_stages`. The program is
            compiled once for these stages and so many configurations; other rungs run in it too.
        space: of numbers; choices are programs of their own and are refused.
        key: of the trainings, and of the design.
        rungs: of :func:`halving_rungs`, :func:`top_k_rungs`, or by hand, at most 16.
        rows: which rows train and which validate. None: all train.
        points: of the unit cube, f[configurations, ranges]. None: a Sobol sequence.
        metric: a name of the rows of the history. None: the validation loss, if there is one.
        mode: whether the lowest or the highest is best.

    Raises:
        ValueError: if the rungs are no table as said, or the space has a choice.

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
    if points is None:
        points = sobol_design(key, space, rungs.sizes[0])
    brackets = _Brackets("successive_halving", stages, space, key, rows, metric, mode)
    return brackets.run(rungs, points)


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
        mode: whether the lowest or the highest is best.
    """
    check_number("hyperband", "eta", eta, "(1, inf)")
    check_integer("hyperband", "max_steps", max_steps, "[1, inf)")
    check_integer("hyperband", "min_steps", min_steps, f"[1, {max_steps}]")
    most = math.floor(math.log(max_steps / min_steps, eta) + 1e-9)
    brackets = []
    for s in range(most, -1, -1):
        trials = math.ceil((most + 1) / (s + 1) * eta**s - 1e-9)
        steps = max(min_steps, math.floor(max_steps / eta**s + 1e-9))
        rungs = halving_rungs(trials, eta=eta, min_steps=steps, max_steps=max_steps)
        brackets.append(Rungs(rungs.sizes[: s + 1], rungs.steps[: s + 1]))
    ends = np.cumsum([rungs.sizes[0] for rungs in brackets])
    design = sobol_design(key, space, int(ends[-1]))
    shared = _Brackets("hyperband", stages, space, key, rows, metric, mode)
    shared.size = max(rungs.sizes[0] for rungs in brackets)
    parts = zip(brackets, ends, strict=True)
    return tuple(shared.run(r, design[end - r.sizes[0] : end]) for r, end in parts)


class _Brackets:
    """What brackets of one search share: where they look, how they train, what they rank.

    size: how many configurations the program is made for; 0: those of the bracket.
    """

    def __init__(
        self,
        owner: str,
        stages: Stages,
        space: PyTree,
        key: Key[Array, ""],
        rows: Rows | None,
        metric: str | None,
        mode: Literal["min", "max"],
    ) -> None:
        check_choice(owner, "mode", mode, ("min", "max"))
        self.owner, self.stages, self.space, self.key = owner, stages, space, key
        self.rows, self.metric, self.mode, self.size = rows, metric, mode, 0
        self.dimensions = dimensions_of(space)
        if any(isinstance(r, Choice) for r in self.dimensions.ranges):
            raise ValueError(
                f"{owner}: `space` must hold numbers only, for a choice is a program of its own; "
                "search each option, or use `search`."
            )

    def run(self, rungs: Rungs, points: Points) -> HalvingResult:
        """One bracket, which starts from ``points``."""
        count = rungs.sizes[0]
        if count > len(points):
            raise ValueError(f"{self.owner}: `points` must be at least {count}, got {len(points)}.")
        points = np.asarray(points, np.float64)[:count]
        configurations = tuple(configuration_at(self.space, point) for point in points)
        self._warn_of_decay(configurations[0], rungs)
        begun = time.perf_counter()
        table = np.zeros((2, MOST_RUNGS), np.int32)
        table[:, : len(rungs.sizes)] = rungs
        scores = bracket_program(self.stages, self.metric, self.mode, self.dimensions)(
            self._columns(points), self.key, self.rows, table, np.int32(len(rungs.sizes))
        )
        found = np.asarray(scores, np.float64)[: len(rungs.sizes), :count]
        return HalvingResult(
            space=self.space,
            points=points,
            configurations=configurations,
            scores=found,
            rungs=rungs,
            mode=self.mode,
            correlations=_correlations(found),
            key=self.key,
            seconds=time.perf_counter() - begun,
        )

    def _columns(self, points: Points) -> list[np.ndarray]:
        """The values of each range at ``points``, filled up to the size of the program."""
        missing = max(0, self.size - len(points))
        filled = np.concatenate([points, np.repeat(points[:1], missing, axis=0)])
        kinds = [np.int32 if isinstance(r, Int) else float for r in self.dimensions.ranges]
        return [
            np.asarray([r.at(float(u)) for u in column], kind)
            for r, column, kind in zip(self.dimensions.ranges, filled.T, kinds, strict=True)
        ]

    def _warn_of_decay(self, configuration: PyTree, rungs: Rungs) -> None:
        """Compare the update for one gradient at the first budget and at the last."""
        ratio = step_ratio(self.stages, configuration, rungs.steps)
        if ratio < DECAYED:
            warnings.warn(
                f"{self.owner}: at step {rungs.steps[-1]} the optimizer's steps are {ratio:.2g} "
                f"times as long as at step {rungs.steps[0]}, under the same gradient: where a "
                "schedule decays within the budget, short trainings never see its end.",
                ScheduleWarning,
                stacklevel=4,
            )


def _correlations(scores: np.ndarray) -> np.ndarray:
    """Spearman's rank correlation of each row with the next, where both are numbers."""
    from scipy.stats import spearmanr

    found = []
    for row, after in itertools.pairwise(scores):
        pair = [x[np.isfinite(row) & np.isfinite(after)] for x in (row, after)]
        varies = all(len(np.unique(x)) > 1 for x in pair)
        found.append(spearmanr(*pair)[0] if varies else np.nan)
    return np.asarray(found, np.float64)
