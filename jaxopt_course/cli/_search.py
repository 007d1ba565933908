"""The command ``search``: train with many hyperparameters, and report the best of them."""

import csv
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxopt_course.core import checks, replacing_own, text_table
from jaxopt_course.plots import parallel_coordinates, rung_scores, search_curves, slices
from jaxopt_course.studies import Choice, SearchResult, write_table
from jaxopt_course.training import OutcomeCode

from ._options import TrainOptions, command_of, flag, parse_options
from ._process import COMPLETED, DIVERGED, print_out, say, stopped_by_signals
from ._report import (
    Section,
    as_png,
    default_directory,
    held_alone,
    json_text,
    make_directory,
    picture_name,
    write_file,
    write_report,
)
from ._setup import describe_training
from ._space import Range, default_space, spell, values_at, with_values
from ._trials import Found, Plan, SearchOptions, find, make_plan


RECORD, TABLE, HTML = "search.json", "trials.csv", "report.html"
PICTURES = COORDINATES, SLICES, CURVES, RUNGS = "Parallel coordinates", "Slices", "Curves", "Rungs"
FILES = (RECORD, TABLE, HTML, *map(picture_name, PICTURES))
SHOWN = 10  # best configurations in the summary
EDGE = 0.05  # distance from an end, as a share of a range
FAILED = "Every training diverged: lower the learning rates of the space, or check the data."


def run(arguments: Sequence[str]) -> int:
    """Run the command; return 0, or 3 if every training diverged."""
    about = "Search for the hyperparameters with the lowest validation loss."
    options = parse_options(
        arguments, SearchOptions, command="search", about=about, notes=_describe_space
    )
    plan = make_plan(options)
    out = None
    if not options.smoke:
        parts = ("search", plan.dataset.name, options.optimizer, options.seed)
        out = options.out or default_directory(*parts)
        make_directory(out, FILES, "a search", overwrite=options.overwrite)
    trials = checks.counted(plan.options.trials, "trial")
    method = "hyperband" if options.method == "hyperband" else f"{options.method}, {trials}"
    say(
        f"{plan.dataset.name}: {method}, {options.optimizer}, "
        f"{checks.counted(plan.options.epochs, 'epoch')}, {', '.join(spell(plan.ranges))}"
        + ("" if out is None else f"; results in {out}")
    )
    with held_alone(out):
        with stopped_by_signals(plan.options.resume):
            found = find(plan)
        if out is None:
            say("Everything works.")
            return COMPLETED
        record = describe(plan, found)
        write_search_report(out, plan, found, record)
        print_out(json_text(record) if options.json else summary(plan, found, record))
        say(f"report in {out / HTML}")
        return DIVERGED if found.all_failed else COMPLETED


def describe(plan: Plan, found: Found) -> dict[str, Any]:
    """The record of a search."""
    configurations = [
        {
            "number": number,
            "values": values_at(configuration),
            "score": score,
            "standard_error": error,
            "steps": steps,
        }
        for number, (configuration, score, error, steps) in enumerate(
            zip(found.configurations, found.values, found.errors, found.steps, strict=True)
        )
    ]
    record = describe_training(plan.options, plan.dataset, plan.examples.parts) | {
        "space": spell(plan.ranges),
        "metric": "validation_loss",
        "best": None if found.all_failed else _describe_best(plan, found, configurations),
        "configurations": configurations,
        "ranking": found.ranking.tolist(),
        "seconds": found.seconds,
    }
    if (trials := found.trials) is not None:
        outcomes = [OutcomeCode(int(code)).name.lower() for code in trials.outcomes.ravel()]
        record["trainings"] = {
            "axes": ["configuration", "fold", "seed", "evaluation"],
            "scores": trials.scores,
            "outcomes": np.array(outcomes).reshape(trials.outcomes.shape),
            "history": trials.history,
        }
    if found.brackets:
        record["brackets"] = [
            {**own.rungs._asdict(), "scores": own.scores, "rank_correlations": own.correlations}
            for own in found.brackets
        ]
    return record


def _describe_best(
    plan: Plan, found: Found, configurations: list[dict[str, Any]]
) -> dict[str, Any]:
    best = configurations[found.best]
    described = best | {
        "command": command_of(with_values(plan.options, best["values"])),
        "at_edges": at_edges(plan.ranges, found.points[found.best]),
    }
    if found.again is not None:
        described["fresh_seeds"] = {
            "score": found.again.means[0],
            "standard_error": found.again.standard_errors[0],
            "scores": found.again.scores[0],
        }
    return described


def summary(plan: Plan, found: Found, record: Mapping[str, Any]) -> str:
    """The best configurations and what to know about the first, as text."""
    return f"{_best_table(plan, found, record)}\n{_on_best(record)}\n"


def write_search_report(
    out: pathlib.Path, plan: Plan, found: Found, record: Mapping[str, Any]
) -> None:
    """Write the record, the table of trials, and the page with its pictures."""
    write_file(out / RECORD, json_text(record))
    with replacing_own(out / TABLE) as part:
        if found.trials is None:
            _write_rungs(part, plan, found)
        else:
            table = part.with_suffix(".csv")
            write_table(found.trials, table)
            table.replace(part)
    config = record["config"]
    title = f"Search: {plan.dataset.name}, {config['model']}, {config['optimizer']}"
    write_report(out / HTML, title, _sections(plan, found, record))


def at_edges(ranges: Mapping[str, Range], point: np.ndarray) -> list[str]:
    """A sentence for each number near an end of its range, unless that end is 0."""
    sentences = []
    for place, u in zip(sorted(ranges), point.tolist(), strict=True):
        kind = ranges[place]
        if isinstance(kind, Choice) or EDGE <= u <= 1 - EDGE or (u < EDGE and kind.low == 0):
            continue
        ((key, value),) = values_at({place: kind.at(u)}).items()
        end = "upper" if (u > 0.5) == (key == place) else "lower"
        (text,) = spell({place: kind})
        name = flag(key).removeprefix("--")
        sentences.append(
            f"{name} {_short(value)} lies within 5 % of the {end} end of {text}: widen the range."
        )
    return sentences


def _write_rungs(path: pathlib.Path, plan: Plan, found: Found) -> None:
    """Write a CSV file with a row for each rung that a trial of a bracket reached."""
    names = sorted(plan.ranges)
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["bracket", "configuration", *names, "rung", "steps", "score"])
        begin = 0
        for number, bracket in enumerate(found.brackets):
            for rung, members in enumerate(bracket.survivors):
                for member in sorted(members.tolist()):
                    values = [bracket.configurations[member][name] for name in names]
                    score = bracket.scores[rung, member]
                    steps = bracket.rungs.steps[rung]
                    writer.writerow([number, begin + member, *values, rung, steps, score])
            begin += len(bracket.points)


def _sections(plan: Plan, found: Found, record: Mapping[str, Any]) -> list[Section]:
    """The page."""
    config, rows, counted = record["config"], record["rows"], checks.counted
    title = f"{plan.dataset.name}, {config['optimizer']}"
    about = [
        f"{plan.dataset.name}: {plan.dataset.problem}, {rows['train']} training and "
        f"{counted(rows['validation'], 'validation row')}; {counted(rows['test'], 'test row')} "
        "not used.",
        f"{config['model']}, {config['optimizer']}, {config['schedule']}, "
        f"{counted(config['epochs'], 'epoch')} in batches of {config['batch_size']}.",
        f"{config['method']}: {counted(len(found.values), 'configuration')} x "
        f"{counted(config['folds'], 'fold')} x {counted(config['seeds'], 'seed')}, in "
        f"{found.seconds:.1f} s.",
        "",
        "Space:",
        *(f"  {text}" for text in record["space"]),
    ]
    sections = [Section("Search", "\n".join(about)), Section("Best", _on_best(record))]
    if not found.all_failed:
        table = _best_table(plan, found, record)
        sections.append(Section("Best configurations", table, is_table=True))
    if found.trials is None:
        figure = rung_scores(found.brackets, title=title)
        text = "\n\n".join(map(str, found.brackets))
        return [*sections, Section(RUNGS, text, {RUNGS: as_png(figure)})]
    trials = _spelled(found.trials)
    figures = {COORDINATES: parallel_coordinates, SLICES: slices, CURVES: search_curves}
    return sections + [
        Section(name, "", {name: as_png(draw(trials, title=title))})
        for name, draw in figures.items()
    ]


def _spelled(result: SearchResult) -> SearchResult:
    """``result`` with its ranges named as on the command line, as in the table, for the figures."""
    space = {name.replace("_", "-"): kind for name, kind in sorted(result.space.items())}
    order = np.array(sorted(range(len(space)), key=[*space].__getitem__), int)
    return result._replace(space=space, points=result.points[:, order])


def _best_table(plan: Plan, found: Found, record: Mapping[str, Any]) -> str:
    options = [name.removeprefix("1 - ") for name in plan.ranges]
    header = ["rank", "configuration", *(flag(name).removeprefix("--") for name in options)]
    columns = ["steps"] * bool(found.brackets) + ["score"]
    columns += ["standard_error"] * (not np.isnan(found.errors).all())
    header += [record["metric"] if name == "score" else name for name in columns]
    rows = []
    for rank, number in enumerate(found.ranking[:SHOWN].tolist(), 1):
        row = record["configurations"][number]
        cells = [row["values"][name] for name in options] + [row[name] for name in columns]
        rows.append([str(rank), str(number), *map(_short, cells)])
    return text_table([name.replace("_", " ") for name in header], rows)


def _on_best(record: Mapping[str, Any]) -> str:
    best = record["best"]
    if best is None:
        return FAILED
    score = f"{record['metric'].replace('_', ' ')} {_with_error(best)}"
    of_rungs = "brackets" in record
    remark = (
        f" after {checks.counted(int(best['steps']), 'step')}"
        if of_rungs
        else "; biased, as the lowest of many"
    )
    lines = [f"Best: configuration {best['number']}, {score}{remark}."]
    if "fresh_seeds" in best:
        fresh = best["fresh_seeds"]
        at = ", each at its best epoch" if of_rungs else ""
        trainings = f"{checks.counted(np.size(fresh['scores']), 'training')} with fresh seeds{at}"
        lines.append(f"Again, over {trainings}: {_with_error(fresh)}.")
    lines += [f"Note: {text}" for text in best["at_edges"]]
    return "\n".join([*lines, "", "Train it:", "", best["command"]])


def _with_error(figures: Mapping[str, float]) -> str:
    error = figures["standard_error"]
    return f"{figures['score']:.4g}" + ("" if math.isnan(error) else f" +- {error:.2g}")


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _describe_space(default: TrainOptions) -> str:
    lines = [f"\n\nRanges that are searched by default with {default.optimizer}:"]
    lines += [f"  {text}" for text in spell(default_space(default))]
    lines += [
        "",
        "How to change a range:",
        "  --space learning-rate=1e-4:0.1:log   on a logarithmic scale; without :log, on a linear",
        "  --space b1=0.5:0.99:decay            on a logarithmic scale of 1 - b1",
        "  --space batch-size=32,64             one of a list; hidden=64x64,256x256 lists widths",
        "  --space dropout=0.2                  fixed",
    ]
    return "\n".join(lines)
