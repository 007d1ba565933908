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

import functools
import itertools
import math
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Float64, Key, PyTree

from jaxopt_course.core import check_choice, check_integer, check_number, global_norm
from jaxopt_course.training import Rows, Stages

from ._designs import Points, sobol_design
from ._space import Choice, Dimensions, Int, configuration_at, dimensions_of


__all__ = [
    "HalvingResult",
    "Rungs",
    "ScheduleWarning",
    "halving_rungs",
    "hyperband",
    "successive_halving",
    "top_k_rungs",
]

MOST_RUNGS = 16  # the length of the table in the program
DECAYED = 0.5  # of the step of the first budget: less is warned of


class ScheduleWarning(UserWarning):
    """Steps shrink within the budget, so that short trainings are judged at other rates."""


class Rungs(NamedTuple):
    """How many configurations train how far, rung by rung.

    sizes: configurations, falling.
    steps: in all, rising.
    """

    sizes: tuple[int, ...]
    steps: tuple[int, ...]


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


def halving_rungs(trials: int, *, eta: float = 3.0, min_steps: int, max_steps: int) -> Rungs:
    """The rungs of successive halving.

    Args:
        trials: configurations of the first rung, in [1, inf).
        eta: by how much each rung has fewer configurations and more steps, in (1, inf).
        min_steps: of the first rung, in [1, max_steps].
        max_steps: of the last.

    Examples:
        >>> halving_rungs(9, eta=3, min_steps=10, max_steps=90)
        Rungs(sizes=(9, 3, 1), steps=(10, 30, 90))
    """
    check_integer("halving_rungs", "trials", trials, "[1, inf)")
    check_number("halving_rungs", "eta", eta, "(1, inf)")
    check_integer("halving_rungs", "max_steps", max_steps, "[1, inf)")
    check_integer("halving_rungs", "min_steps", min_steps, f"[1, {max_steps}]")
    sizes, steps = [trials], [min_steps]
    while steps[-1] < max_steps and sizes[-1] > 1:
        rung = len(sizes)
        sizes.append(max(1, math.floor(trials / eta**rung + 1e-9)))
        steps.append(min(max_steps, math.floor(min_steps * eta**rung + 1e-9)))
    return Rungs(tuple(sizes), (*steps[:-1], max_steps))


def top_k_rungs(trials: int, k: int, *, min_steps: int, max_steps: int) -> Rungs:
    """Two rungs, all for a while and the best ``k`` to the end: what halving has to beat.

    Args:
        trials: configurations, in [1, inf).
        k: how many go on, in [1, trials].
        min_steps: of all, one epoch say, in [1, max_steps).
        max_steps: of those.
    """
    check_integer("top_k_rungs", "k", k, f"[1, {trials}]")
    check_integer("top_k_rungs", "min_steps", min_steps, f"[1, {max_steps})")
    return Rungs((trials, k), (min_steps, max_steps))


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
    _check_rungs("successive_halving", rungs)
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
        scores = _program_of(self.stages, self.metric, self.mode, self.dimensions)(
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
        ratio = _step_ratio(self.stages, configuration, rungs.steps)
        if ratio < DECAYED:
            warnings.warn(
                f"{self.owner}: at step {rungs.steps[-1]} the optimizer's steps are {ratio:.2g} "
                f"times as long as at step {rungs.steps[0]}, under the same gradient: where a "
                "schedule decays within the budget, short trainings never see its end.",
                ScheduleWarning,
                stacklevel=4,
            )


def _program_of(
    stages: Stages, metric: str | None, mode: str, dimensions: Dimensions
) -> Callable[..., Float[Array, "rungs members"]]:
    """The compiled bracket; the same again for equal arguments, as far as they can be compared."""
    try:
        hash(dimensions)
    except TypeError:  # a fixed array, say
        return _make_program(stages, metric, mode, dimensions)
    return _cached_program(stages, metric, mode, dimensions)


def _make_program(stages: Stages, metric: str | None, mode: str, dimensions: Dimensions) -> Any:
    sign = 1 if mode == "min" else -1

    @jax.jit
    def bracket(columns: list[Array], key: Any, rows: Any, table: Array, rungs: Array) -> Array:
        count = len(columns[0])
        sizes, steps = table
        hyperparameters = lambda member: dimensions.fill(
            {i: column[member] for i, column in enumerate(columns)}
        )
        begin = lambda member: stages.start(key, hyperparameters(member), rows)
        trainings = jax.lax.map(begin, jnp.arange(count, dtype=jnp.int32))

        def train_on(rung: Array, member: Array, trainings: Any) -> tuple[Any, Array]:
            mine, hp = jax.tree.map(lambda x: x[member], trainings), hyperparameters(member)
            mine = stages.advance(mine, hp, rows, steps[rung])
            mine, row = stages.evaluate(mine, hp, rows)
            name = metric or ("validation_loss" if "validation_loss" in row else "loss")
            score = jnp.where(mine.running, row[name], jnp.nan)
            return jax.tree.map(lambda x, y: x.at[member].set(y), trainings, mine), score

        def one_rung(rung: Array, carry: tuple[Any, Array, Array]) -> tuple[Any, Array, Array]:
            trainings, order, scores = carry

            def one(place: Array, carry: tuple[Any, Array]) -> tuple[Any, Array]:
                trainings, scores = carry
                member = order[place]
                trainings, score = train_on(rung, member, trainings)
                return trainings, scores.at[rung, member].set(score.astype(scores.dtype))

            trainings, scores = jax.lax.fori_loop(0, sizes[rung], one, (trainings, scores))
            known = jnp.nan_to_num(sign * scores[rung, order], nan=jnp.inf)
            is_out = jnp.arange(count, dtype=jnp.int32) >= sizes[rung]
            return trainings, order[jnp.lexsort((known, is_out))], scores

        scores = jnp.full((MOST_RUNGS, count), jnp.nan, jnp.result_type(float))
        start = (trainings, jnp.arange(count, dtype=jnp.int32), scores)
        return jax.lax.fori_loop(0, rungs, one_rung, start)[2]

    return bracket


_cached_program = functools.lru_cache(maxsize=16)(_make_program)


def _step_ratio(stages: Stages, configuration: PyTree, steps: Sequence[int]) -> float:
    """How long the last budget's last step is, in units of the first's, under one gradient.

    The parameters are shrunk to one entry each, and the gradient is 1 all the time.
    """
    task, optimizer = stages.build(configuration)
    shapes, _ = jax.eval_shape(task.init, jax.random.key(0))
    params = jax.tree.map(lambda x: jnp.zeros((1,) * x.ndim, x.dtype), shapes)
    grads = jax.tree.map(jnp.ones_like, params)
    extended = optax.with_extra_args_support(optimizer)
    one = jnp.ones(())

    def step(state: Any, _: None) -> tuple[Any, Array]:
        extra = {"value": one, "grad": grads, "value_fn": lambda params: one}
        updates, state = extended.update(grads, state, params, **extra)
        return state, global_norm(updates)

    run = jax.jit(lambda state: jax.lax.scan(step, state, length=steps[-1])[1])
    lengths = np.asarray(run(optimizer.init(params)))
    return float(lengths[-1] / max(lengths[steps[0] - 1], np.finfo(np.float32).tiny))


def _correlations(scores: np.ndarray) -> np.ndarray:
    """Spearman's rank correlation of each row with the next, where both are numbers."""
    from scipy.stats import spearmanr

    found = []
    for row, after in itertools.pairwise(scores):
        pair = [x[np.isfinite(row) & np.isfinite(after)] for x in (row, after)]
        varies = all(len(np.unique(x)) > 1 for x in pair)
        found.append(spearmanr(*pair)[0] if varies else np.nan)
    return np.asarray(found, np.float64)


def _check_rungs(owner: str, rungs: Rungs) -> None:
    sizes, steps = rungs
    falls = all(a >= b >= 1 for a, b in itertools.pairwise(sizes)) and sizes and sizes[-1] >= 1
    rises = all(a < b for a, b in itertools.pairwise(steps)) and steps and steps[0] >= 1
    if len(sizes) != len(steps) or len(sizes) > MOST_RUNGS or not falls or not rises:
        raise ValueError(
            f"{owner}: `rungs` must be at most {MOST_RUNGS} sizes that do not rise and as many "
            f"steps that do, all in [1, inf), got {rungs}."
        )
