"""The trainings of a search: its options, the function that is searched, and the methods."""

import dataclasses
import math
import warnings
from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import jax
import numpy as np
import tyro
from jax.sharding import Mesh

from jaxopt_course import studies
from jaxopt_course.core import GradientTransformationExtraArgs, checks
from jaxopt_course.data import Dataset, Folds, k_fold
from jaxopt_course.studies import (
    Choice,
    HalvingResult,
    Reevaluation,
    ScheduleWarning,
    SearchResult,
    halving_rungs,
    hyperband,
    reevaluate,
    successive_halving,
)
from jaxopt_course.tasks import Task
from jaxopt_course.training import Rows, make_train, make_training

from ._options import Count, Directory, TrainOptions
from ._process import UsageError, pop_mesh, say, usage_errors
from ._report import show_stage
from ._setup import (
    Examples,
    classes_of,
    describe_model,
    epoch_steps,
    load_data,
    make_optimizer,
    make_rule,
    make_task,
    prepare,
)
from ._space import Range, check_ends, read_space, traced_apart, with_values


FOLDS, TRIALS = 1, 2  # uses of the key
ETA, SHORTEST = 3.0, 27  # of halving: its factor, and all steps over those of the first rung
SMOKE_STEPS, SMOKE_TRIALS = 2, 2
MOST_TRAININGS = 1_000_000  # their scores and curves are kept in memory


@dataclasses.dataclass(frozen=True)
class SearchOptions(TrainOptions):
    """The options of the command ``search``."""

    unused: ClassVar[tuple[str, ...]] = (
        *("on_divergence", "max_time", "checkpoint_every", "tensorboard"),
    )

    space: Annotated[
        tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(metavar="NAME=RANGE")
    ] = ()
    """Change what is searched, in one of the ways shown above. May be repeated."""
    trials: int = 32
    """Number of configurations, in [1, 1000000]; hyperband determines it itself."""
    method: Literal["sobol", "random", "grid", "tpe", "gp", "halving", "hyperband"] = "sobol"
    """How configurations are chosen; tpe and gp use Optuna, the last two stop bad trainings."""
    seeds: int = 1
    """Number of trainings of each configuration, with different seeds, in [1, inf)."""
    folds: int = 1
    """Number of cross-validation folds for each configuration; 1 is the split of `train`."""
    reevaluate: int = 10
    """Number of fresh seeds with which the best configuration is trained again, in [0, inf)."""
    strategy: Literal["auto", "map", "chunk", "vmap"] = "auto"
    """Run trainings one by one, in chunks, or all at once; auto measures which is fastest."""
    devices: Count = None
    """Number of devices that share the trainings; a CPU core is a device. By default all."""
    # In `train`, resume is a switch.
    resume: Directory = None  # type: ignore[assignment]
    """Save finished trainings in DIR, and reuse those that it holds."""
    out: Directory = None
    """Directory of the results. By default runs/search-<data set>-<optimizer>-<seed>."""


class Plan(NamedTuple):
    """A search: options with the values that ``--space`` fixes, ranges, data, and devices."""

    options: SearchOptions
    ranges: Mapping[str, Range]
    dataset: Dataset
    examples: Examples
    mesh: Mesh | None


class Found(NamedTuple):
    """The result of a search by any method.

    values: mean scores, f64[trials], at the last rung that a trial reached; NaN if it failed.
    errors: standard errors of the means.
    steps: number of steps of each trial.
    ranking: trials from best to worst.
    points: points of the unit cube.
    configurations: configurations at these points.
    seconds: time of the search without the fresh seeds.
    trials: result of the methods without brackets, or None.
    brackets: brackets of halving and hyperband.
    again: the best trial with fresh seeds, or None.
    """

    values: np.ndarray
    errors: np.ndarray
    steps: np.ndarray
    ranking: np.ndarray
    points: np.ndarray
    configurations: tuple[Any, ...]
    seconds: float
    trials: SearchResult | None = None
    brackets: tuple[HalvingResult, ...] = ()
    again: Reevaluation | None = None

    @property
    def best(self) -> int:
        """The number of the best trial."""
        return int(self.ranking[0])

    @property
    def all_failed(self) -> bool:
        """Whether every trial failed."""
        return bool(np.isnan(self.values).all())


def make_plan(options: SearchOptions) -> Plan:
    """The search that the options describe."""
    trainings = options.trials * options.seeds * options.folds
    with usage_errors():
        for name in ("trials", "seeds", "folds"):
            checks.integer("search", name, getattr(options, name), f"[1, {MOST_TRAININGS}]")
        checks.integer("search", "reevaluate", options.reevaluate, f"[0, {MOST_TRAININGS}]")
        checks.integer("search", "trials x seeds x folds", trainings, f"[1, {MOST_TRAININGS}]")
    make_rule(options)
    ranges, fixed = read_space(options, options.space)
    if options.method in ("halving", "hyperband"):
        _check_for_halving(options, ranges)
    most: int | None = max(trainings, options.reevaluate)  # trainings at the same time
    if options.smoke:
        fixed = dataclasses.replace(fixed, trials=SMOKE_TRIALS, seeds=1, reevaluate=0, resume=None)
        most = SMOKE_TRIALS * options.folds
    elif options.method == "hyperband":
        most = None
    mesh = pop_mesh(options.devices, most=most)
    dataset = load_data(options)
    examples = prepare(options, dataset)
    describe_model(options, dataset)
    check_ends(fixed, ranges, dataset, len(examples.parts.train))
    return Plan(fixed, ranges, dataset, examples, mesh)


def find(plan: Plan) -> Found:
    """Search, and train the best trial again with fresh seeds."""
    rows, key = rows_of(plan), jax.random.fold_in(plan.examples.key, TRIALS)
    train, options = train_function(plan), plan.options
    if options.method in ("halving", "hyperband"):
        found = _of_brackets(_brackets(plan, rows, key))
    else:
        with usage_errors():
            result = studies.search(
                train,
                dict(plan.ranges),
                key=key,
                trials=options.trials,
                seeds=options.seeds,
                folds=rows,
                method=options.method,
                strategy=options.strategy,
                mesh=plan.mesh,
                resume=options.resume,
            )
        found = _of_search(result, plan)
    if found.all_failed or options.reevaluate == 0:
        return found
    with show_stage(f"training the best again with {options.reevaluate} fresh seeds"):
        best = found.trials
        if best is None:
            point = found.points[found.ranking[:1]]
            best = studies.search(
                train, plan.ranges, key=key, folds=rows, method=point, progress=False
            )
        again = reevaluate(
            train,
            best,
            seeds=options.reevaluate,
            strategy=options.strategy,
            mesh=plan.mesh,
        )
    return found._replace(again=again)


def rows_of(plan: Plan) -> Rows | Folds:
    """The split of the options, or folds of its training and validation rows."""
    if plan.options.folds == 1:
        return plan.examples.rows
    parts = plan.examples.parts
    pool = np.sort(np.concatenate([parts.train, parts.validation]))
    classes = classes_of(plan.dataset.targets[pool], plan.dataset.problem)
    key = jax.random.fold_in(plan.examples.key, FOLDS)
    with usage_errors():
        return k_fold(key, pool, plan.options.folds, stratify=classes)


def train_function(plan: Plan) -> Callable[..., Any]:
    """The training that is searched."""
    build, data, rule = _build(plan), plan.examples.data, make_rule(plan.options)

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


def _build(plan: Plan) -> Callable[[Any, int], tuple[Task, GradientTransformationExtraArgs]]:
    """``build(configuration, number of training rows)``, to be traced."""

    def build(configuration: Any, n_train: int) -> tuple[Task, GradientTransformationExtraArgs]:
        options, numbers = traced_apart(plan.options, configuration)
        model = describe_model(options, plan.dataset, numbers)
        shape, problem = plan.examples.inputs.shape[1:], plan.dataset.problem
        task = make_task(model, shape, problem, options.precision)
        return task, make_optimizer(options, n_train, numbers=numbers)

    return build


def _brackets(plan: Plan, rows: Any, key: Any) -> tuple[HalvingResult, ...]:
    """One bracket of halving, or those of hyperband. A warning is printed as a line."""
    n_train = len(plan.examples.parts.train)
    build, steps = _build(plan), plan.options.epochs * epoch_steps(plan.options, n_train)
    training = make_training(
        lambda configuration: build(configuration, n_train),
        plan.examples.data,
        batch_size=plan.options.batch_size,
    )
    most = SMOKE_STEPS if plan.options.smoke else steps
    lengths: dict[str, Any] = {
        "eta": ETA,
        "min_steps": min(math.ceil(steps / SHORTEST), most),
        "max_steps": most,
    }
    run: Callable[..., Any] = hyperband
    if plan.options.method == "halving" or plan.options.smoke:
        run, lengths = successive_halving, {"rungs": halving_rungs(plan.options.trials, **lengths)}
    with warnings.catch_warnings(record=True) as caught, usage_errors():
        warnings.simplefilter("always", ScheduleWarning)
        found = run(
            training,
            dict(plan.ranges),
            key=key,
            rows=rows,
            mesh=plan.mesh,
            resume=plan.options.resume,
            **lengths,
        )
    for text in dict.fromkeys(str(warning.message) for warning in caught):
        say(f"note: {text}")
    return (found,) if isinstance(found, HalvingResult) else found


def _of_search(result: SearchResult, plan: Plan) -> Found:
    n_train = len(plan.examples.parts.train)
    each = [with_values(plan.options, c) for c in result.configurations]
    steps = [options.epochs * epoch_steps(options, n_train) for options in each]
    return Found(
        values=result.values,
        errors=result.standard_errors,
        steps=np.array(steps),
        ranking=result.ranking,
        points=result.points,
        configurations=result.configurations,
        seconds=sum(result.seconds.values()),
        trials=result,
    )


def _of_brackets(brackets: tuple[HalvingResult, ...]) -> Found:
    """The trials of all brackets, of which those with the most steps rank first."""
    values, steps = [], []
    for bracket in brackets:
        reached = np.full(len(bracket.points), -1)
        for rung, members in enumerate(bracket.survivors):
            reached[members] = rung
        values += bracket.scores[reached, np.arange(len(reached))].tolist()
        steps += np.array(bracket.rungs.steps)[reached].tolist()
    scores, trained = np.array(values), np.array(steps)
    return Found(
        values=scores,
        errors=np.full(len(scores), np.nan),
        steps=trained,
        ranking=np.lexsort((scores, -trained, np.isnan(scores))),
        points=np.concatenate([bracket.points for bracket in brackets]),
        configurations=tuple(c for bracket in brackets for c in bracket.configurations),
        seconds=sum(bracket.seconds for bracket in brackets),
        brackets=brackets,
    )


def _check_for_halving(options: SearchOptions, ranges: dict[str, Any]) -> None:
    """The trainings of a bracket are one program, with one split and one key."""
    wrong = next((name for name, kind in ranges.items() if isinstance(kind, Choice)), None)
    given = {
        f"a list for {wrong}": wrong is not None,
        "--seeds": options.seeds > 1,
        "--folds": options.folds > 1,
        "--patience": options.patience is not None,
    }
    for what, is_given in given.items():
        if is_given:
            raise UsageError(f"--method {options.method} does not support {what}; sobol does.")
