"""The trainings of a search: which function, on which rows, by which method, and the best again."""

import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from jaxopt_course.core import GradientTransformationExtraArgs
from jaxopt_course.data import Dataset, Folds, k_fold
from jaxopt_course.studies import (
    HalvingResult,
    Reevaluation,
    ScheduleWarning,
    SearchResult,
    halving_rungs,
    hyperband,
    reevaluate,
    search,
    successive_halving,
)
from jaxopt_course.tasks import Task
from jaxopt_course.training import Rows, make_stages, make_train

from ._errors import usage_errors
from ._options import TrainOptions
from ._progress import show_stage
from ._report import say
from ._setup import (
    Examples,
    describe_model,
    make_optimizer,
    make_rule,
    make_task,
    total_steps,
)
from ._space import Range, traced_apart, with_values


FOLDS, TRIALS = 1, 2  # uses of the key
ETA, SHORTEST = 3.0, 27  # of halving: its factor, and the first rung as a share of all steps
SMOKE_STEPS = 2


class Plan(NamedTuple):
    """What a search does.

    options: of the trainings, but for what is searched.
    ranges: what is searched.
    dataset: the data as they are.
    examples: the same as the model takes them.
    method: which trials, and how long.
    trials: how many.
    seeds: how many a trial.
    folds: how many a trial; 1: the split of the options.
    fresh: with how many fresh seeds the best is trained again.
    strategy: how many trainings at a time.
    mesh: of devices, or None.
    resume: where what is done is kept, or None.
    """

    options: TrainOptions
    ranges: Mapping[str, Range]
    dataset: Dataset
    examples: Examples
    method: str
    trials: int
    seeds: int
    folds: int
    fresh: int
    strategy: Any
    mesh: Mesh | None
    resume: Any


class Found(NamedTuple):
    """What a search has found, whatever its method.

    values: mean scores, f64[trials], of the last rung that a trial reached; NaN where failed.
    errors: their standard errors.
    steps: that each was trained for.
    ranking: of the trials, the best first.
    again: the best with fresh seeds, or None.
    trials: the whole search of sobol, random, grid, tpe and gp; None of the others.
    brackets: of halving and hyperband.
    points: of the unit cube.
    configurations: at these.
    seconds: of all of it but ``again``.
    """

    values: np.ndarray
    errors: np.ndarray
    steps: np.ndarray
    ranking: np.ndarray
    again: Reevaluation | None
    trials: SearchResult | None
    brackets: tuple[HalvingResult, ...]
    points: np.ndarray
    configurations: tuple[Any, ...]
    seconds: float

    @property
    def best(self) -> int:
        """The number of the best trial."""
        return int(self.ranking[0])

    @property
    def all_failed(self) -> bool:
        """Whether not one trial came to an end."""
        return bool(np.isnan(self.values).all())


def find(plan: Plan) -> Found:
    """Search, and train the best again with fresh seeds.

    Raises:
        UsageError: if the method cannot do what the plan asks for.
    """
    rows, key = _rows(plan), jax.random.fold_in(plan.examples.key, TRIALS)
    train = _train_function(plan)
    if plan.method in ("halving", "hyperband"):
        found = _of_brackets(_brackets(plan, rows, key))
        best = found.points[found.ranking[:1]]
        once = lambda: search(train, plan.ranges, key=key, folds=rows, method=best, progress=False)
    else:
        with usage_errors():
            result = search(
                train,
                dict(plan.ranges),
                key=key,
                trials=plan.trials,
                seeds=plan.seeds,
                folds=rows,
                method=plan.method,
                strategy=plan.strategy,
                mesh=plan.mesh,
                resume=plan.resume,
            )
        found, once = _of_search(result, plan), lambda: result
    if found.all_failed or plan.fresh == 0:
        return found
    with show_stage(f"training the best again with {plan.fresh} fresh seeds"):
        again = reevaluate(train, once(), seeds=plan.fresh, strategy=plan.strategy, mesh=plan.mesh)
    return found._replace(again=again)


def _rows(plan: Plan) -> Rows | Folds:
    """The split of a training, or folds of its training and validation rows."""
    if plan.folds == 1:
        return plan.examples.rows
    parts = plan.examples.parts
    pool = np.sort(np.concatenate([parts.train, parts.validation]))
    classes = None if plan.dataset.problem == "regression" else plan.dataset.targets[pool]
    key = jax.random.fold_in(plan.examples.key, FOLDS)
    with usage_errors():
        return k_fold(key, pool, plan.folds, stratify=classes)


def _build(plan: Plan) -> Callable[[Any, int], tuple[Task, GradientTransformationExtraArgs]]:
    """``build(configuration, rows of an epoch)``, to be traced."""
    shape, problem = plan.examples.inputs.shape[1:], plan.dataset.problem

    def build(configuration: Any, n_train: int) -> tuple[Task, GradientTransformationExtraArgs]:
        options, numbers = traced_apart(plan.options, configuration)
        model = describe_model(options, plan.dataset, numbers)
        task = make_task(model, shape, problem, options.precision)
        return task, make_optimizer(options, n_train, numbers=numbers)

    return build


def _train_function(plan: Plan) -> Callable[..., Any]:
    """The training that is searched."""
    build, data = _build(plan), plan.examples.data
    rule = make_rule(plan.options)

    def train(key: Any, configuration: Any, rows: Rows) -> Any:
        (options, _), n_train = traced_apart(plan.options, configuration), rows.train.shape[0]
        length = {"steps": SMOKE_STEPS} if options.smoke else {"epochs": options.epochs}
        of_rows = make_train(
            lambda configuration: build(configuration, n_train),
            data,
            batch_size=options.batch_size,
            early_stopping=rule,
            **length,
        )
        return of_rows(key, configuration, rows)

    return train


def _brackets(plan: Plan, rows: Any, key: Any) -> tuple[HalvingResult, ...]:
    """Halving: one; hyperband: several. What they warn of is said in a line."""
    n_train = len(plan.examples.parts.train)
    build, steps = _build(plan), total_steps(plan.options, n_train)
    stages = make_stages(
        lambda configuration: build(configuration, n_train),
        plan.examples.data,
        batch_size=plan.options.batch_size,
    )
    most, shortest = SMOKE_STEPS if plan.options.smoke else steps, math.ceil(steps / SHORTEST)
    ends: dict[str, Any] = {"min_steps": min(shortest, most), "max_steps": most}
    run: Callable[..., Any] = hyperband
    own: dict[str, Any] = {"eta": ETA, **ends}
    if plan.method == "halving" or plan.options.smoke:
        run, own = successive_halving, {"rungs": halving_rungs(plan.trials, eta=ETA, **ends)}
    with warnings.catch_warnings(record=True) as caught, usage_errors():
        warnings.simplefilter("always", ScheduleWarning)
        found = run(
            stages,
            dict(plan.ranges),
            key=key,
            rows=rows,
            mesh=plan.mesh,
            resume=plan.resume,
            **own,
        )
    for text in dict.fromkeys(str(warning.message) for warning in caught):
        say(f"note: {text}")
    return (found,) if isinstance(found, HalvingResult) else found


def _of_search(result: SearchResult, plan: Plan) -> Found:
    of = [with_values(plan.options, configuration) for configuration in result.configurations]
    n_train = len(plan.examples.parts.train)
    return Found(
        values=result.values,
        errors=result.standard_errors,
        steps=np.array([total_steps(options, n_train) for options in of]),
        ranking=result.ranking,
        again=None,
        trials=result,
        brackets=(),
        points=result.points,
        configurations=result.configurations,
        seconds=sum(result.seconds.values()),
    )


def _of_brackets(brackets: tuple[HalvingResult, ...]) -> Found:
    """All trials of all brackets, those that were trained for longest first."""
    values, steps = [], []
    for bracket in brackets:
        reached = np.full(len(bracket.points), -1)
        for rung, members in enumerate(bracket.survivors):
            reached[members] = rung
        values += bracket.scores[reached, np.arange(len(reached))].tolist()
        steps += np.array(bracket.rungs.steps)[reached].tolist()
    scores, trained = np.array(values), np.array(steps)
    failed = np.isnan(scores)
    return Found(
        values=scores,
        errors=np.full(len(scores), np.nan),
        steps=trained,
        ranking=np.lexsort((scores, -trained, failed)),
        again=None,
        trials=None,
        brackets=brackets,
        points=np.concatenate([bracket.points for bracket in brackets]),
        configurations=tuple(c for bracket in brackets for c in bracket.configurations),
        seconds=sum(bracket.seconds for bracket in brackets),
    )
