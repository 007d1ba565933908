"""The command ``search``: many trainings that differ in a few numbers, and the best of them."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

import tyro

from jaxopt_course.core import checks
from jaxopt_course.data import Dataset
from jaxopt_course.studies import Choice

from ._devices import pop_mesh
from ._errors import COMPLETED, DIVERGED, UsageError, usage_errors
from ._html import write_report
from ._options import TrainOptions, parse_options
from ._report import (
    as_json,
    default_directory,
    held_alone,
    make_directory,
    print_json,
    say,
    write_text,
)
from ._search_report import FILES, HTML, describe, print_found, sections, write_trials
from ._setup import describe_model, load_data, make_rule, prepare
from ._signals import stopped_by_signals
from ._space import check_ends, default_space, read_space, spell
from ._trials import Found, Plan, find


RECORD, TABLE = "search.json", "trials.csv"
SMOKE_TRIALS = 2
MOST_TRAININGS = 1_000_000  # their scores and curves are kept in memory


@dataclasses.dataclass(frozen=True)
class SearchOptions(TrainOptions):
    """The options of a training, and those of a search."""

    unused: ClassVar[tuple[str, ...]] = (
        *("on_divergence", "max_time", "checkpoint_every", "tensorboard"),
    )

    on_divergence: tyro.conf.Suppress[Literal["stop", "raise", "skip"]] = "stop"
    max_time: tyro.conf.Suppress[float | None] = None
    checkpoint_every: tyro.conf.Suppress[float] = 30.0
    tensorboard: tyro.conf.Suppress[bool] = False
    space: Annotated[
        tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(metavar="NAME=RANGE")
    ] = ()
    """What is searched otherwise than by default, in one of the ways shown above; repeatable."""
    trials: int = 32
    """How many configurations, in [1, 1000000]; hyperband takes as many as its brackets need."""
    method: Literal["sobol", "random", "grid", "tpe", "gp", "halving", "hyperband"] = "sobol"
    """Which ones: spread evenly, drawn, a grid, by Optuna, or ever fewer of them for longer."""
    seeds: int = 1
    """Trainings of each configuration that differ in their seed, in [1, inf)."""
    folds: int = 1
    """Folds of the training and validation rows, for each; 1: the split of `train`."""
    reevaluate: int = 10
    """With how many fresh seeds the best is trained again, in [0, inf)."""
    strategy: Literal["auto", "map", "chunk", "vmap"] = "auto"
    """Trainings one by one, some at a time, or all; auto: what is measured to be fastest."""
    devices: int | None = None
    """Number of devices that share the trainings; on a CPU a device is a core. None: all."""
    # mypy: of `train` it says whether, here also where
    resume: Annotated[pathlib.Path | None, tyro.conf.arg(metavar="DIR")] = None  # type: ignore[assignment]
    """Keep what is done in DIR, and go on from what is kept there. None: nothing is kept."""
    out: Annotated[pathlib.Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Where the results go. None: runs/search-<data set>-<optimizer>-<seed>."""
    smoke: bool = False
    """Try two steps of two trials, and keep nothing."""
    overwrite: bool = False
    """Replace the results of an earlier search in the same place."""
    json: bool = False
    """Print everything as JSON instead of tables; progress goes to stderr anyway."""


def run_search(arguments: Sequence[str]) -> int:
    """Run the command; 0 if it found a configuration, 3 if every training diverged."""
    about = "Search for the numbers that an optimizer trains best with."
    options = parse_options(
        arguments, SearchOptions, command="search", about=about, notes=_describe_space
    )
    plan = _make_plan(options)
    out = None if options.smoke else _directory(options, plan.dataset)
    say(_describe(plan, out))
    with held_alone(out):
        with stopped_by_signals(plan.resume):
            found = find(plan)
        return _report(options, plan, found, out)


def _report(options: SearchOptions, plan: Plan, found: Found, out: pathlib.Path | None) -> int:
    """Write and print what was found; the exit code."""
    if out is None:
        say("Everything works.")
        return COMPLETED
    record = describe(plan, found)
    write_text(out / RECORD, as_json(record, indent=2) + "\n")
    write_trials(out / TABLE, plan, found)
    title = f"Search: {plan.dataset.name}, {options.model}, {options.optimizer}"
    write_report(out / HTML, title, sections(plan, found, record))
    if options.json:
        print_json(record)
    else:
        print_found(plan, found, record)
    say(f"report in {out / HTML}")
    return DIVERGED if found.all_failed else COMPLETED


def _make_plan(options: SearchOptions) -> Plan:
    """The search that the options mean.

    Raises:
        UsageError: if they mean none.
    """
    with usage_errors():
        for name in ("trials", "seeds", "folds"):
            checks.integer("search", name, getattr(options, name), f"[1, {MOST_TRAININGS}]")
        checks.integer("search", "reevaluate", options.reevaluate, f"[0, {MOST_TRAININGS}]")
        trainings = options.trials * options.seeds * options.folds
        if trainings > MOST_TRAININGS:
            raise ValueError(
                f"a search has at most {MOST_TRAININGS} trainings, got {trainings}: trials x "
                "seeds x folds."
            )
    make_rule(options)
    ranges, fixed = read_space(options, options.space)
    if options.method in ("halving", "hyperband"):
        _check_for_halving(options, ranges)
    mesh = pop_mesh(options.devices, most=_side_by_side(options))
    dataset = load_data(options)
    examples = prepare(options, dataset)
    describe_model(options, dataset)
    check_ends(fixed, ranges, dataset, len(examples.parts.train))
    return Plan(
        options=fixed,
        ranges=ranges,
        dataset=dataset,
        examples=examples,
        method=options.method,
        trials=SMOKE_TRIALS if options.smoke else options.trials,
        seeds=1 if options.smoke else options.seeds,
        folds=options.folds,
        fresh=0 if options.smoke else options.reevaluate,
        strategy=options.strategy,
        mesh=mesh,
        resume=None if options.smoke else options.resume,
    )


def _side_by_side(options: SearchOptions) -> int | None:
    """The largest number of trainings that can run at a time; None if the method decides it."""
    if options.smoke:
        return SMOKE_TRIALS * options.folds
    if options.method == "hyperband":
        return None
    return max(options.trials * options.seeds * options.folds, options.reevaluate)


def _check_for_halving(options: SearchOptions, ranges: dict[str, Any]) -> None:
    """Of a bracket all trainings are one program, on one split with one key."""
    wrong = next((name for name, kind in ranges.items() if isinstance(kind, Choice)), None)
    said = {
        f"a list for {wrong}": wrong is not None,
        "--seeds": options.seeds > 1,
        "--folds": options.folds > 1,
        "--patience": options.patience is not None,
    }
    for what, is_there in said.items():
        if is_there:
            raise UsageError(f"--method {options.method} cannot do with {what}; sobol can.")


def _directory(options: SearchOptions, dataset: Dataset) -> pathlib.Path:
    parts = ("search", dataset.name, options.optimizer, options.seed)
    out = options.out or default_directory(*parts)
    return make_directory(out, (RECORD, TABLE, *FILES), "a search", overwrite=options.overwrite)


def _describe(plan: Plan, out: pathlib.Path | None) -> str:
    """The line before the first training."""
    trials = "" if plan.method == "hyperband" else f"{checks.counted(plan.trials, 'trial')}, "
    place = "" if out is None else f"; results in {out}"
    return (
        f"{plan.dataset.name}: {plan.method}, {trials}{plan.options.optimizer}, "
        f"{checks.counted(plan.options.epochs, 'epoch')}, {', '.join(spell(plan.ranges))}{place}"
    )


def _describe_space(default: TrainOptions) -> str:
    """What the help says of ranges."""
    lines = [f"\n\nSearched by default with {default.optimizer}, about its options' values:"]
    lines += [f"  {text}" for text in spell(default_space(default))]
    lines += [
        "",
        "How to search something else (numbers, or lists of what sets the program):",
        "  --space learning-rate=1e-4:0.1:log   evenly in the logarithm; without :log, evenly",
        "  --space b1=0.5:0.99:decay            evenly in the logarithm of 1 - b1",
        "  --space batch-size=32,64             one of these; hidden=64x64,256x256 are widths",
        "  --space dropout=0.2                  not searched, but fixed",
    ]
    return "\n".join(lines)
