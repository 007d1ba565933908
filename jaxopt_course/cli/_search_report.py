"""What a search has found: on the terminal, in its record, its table and its page."""

import csv
import math
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxopt_course.core import checks, replacing_own
from jaxopt_course.plots import parallel_coordinates, rung_scores, search_curves, slices
from jaxopt_course.studies import Choice, write_table
from jaxopt_course.training import OutcomeCode

from ._html import Section, as_png, picture_name
from ._options import command_of
from ._parse import flag
from ._record import describe_training
from ._report import table_text
from ._space import Range, spell, values_at, with_values
from ._streams import print_out
from ._trials import Found, Plan


HTML = "report.html"
PICTURES = COORDINATES, SLICES, CURVES, RUNGS = "Parallel coordinates", "Slices", "Curves", "Rungs"
FILES = (HTML, *map(picture_name, PICTURES))
SHOWN = 10  # of the best
EDGE = 0.05  # of a range, from its end
FAILED = "Every training diverged: lower the learning rates of the space, or look at the data."


def describe(plan: Plan, found: Found) -> dict[str, Any]:
    """All that was found, for JSON."""
    configurations = [
        {
            "number": number,
            "values": values_at(configuration),
            "score": float(found.values[number]),
            "standard_error": float(found.errors[number]),
            "steps": int(found.steps[number]),
        }
        for number, configuration in enumerate(found.configurations)
    ]
    record = describe_training(plan.options, plan.dataset, plan.examples.parts) | {
        "space": spell(plan.ranges),
        "metric": "validation_loss",
        "best": None,
        "configurations": configurations,
        "ranking": found.ranking.tolist(),
        "seconds": found.seconds,
    }
    if not found.all_failed:
        record["best"] = configurations[found.best] | {
            "command": _command(plan, found),
            "at_edges": _at_edges(plan.ranges, found.points[found.best]),
        }
        if found.again is not None:
            record["best"]["fresh_seeds"] = {
                "score": float(found.again.means[0]),
                "standard_error": float(found.again.standard_errors[0]),
                "scores": found.again.scores[0].tolist(),
            }
    if found.trials is not None:
        result = found.trials
        record["trainings"] = {
            "axes": ["configuration", "fold", "seed", "evaluation"],
            "scores": result.scores.tolist(),
            "outcomes": _names(result.outcomes),
            "history": {name: x.tolist() for name, x in result.history.items()},
        }
    if found.brackets:
        record["brackets"] = [
            {
                "sizes": bracket.rungs.sizes,
                "steps": bracket.rungs.steps,
                "scores": bracket.scores.tolist(),
                "rank_correlations": bracket.correlations.tolist(),
            }
            for bracket in found.brackets
        ]
    return record


def print_found(plan: Plan, found: Found, record: Mapping[str, Any]) -> None:
    """Print the ten best and what is to be said of the first, on stdout."""
    print_out(f"{_best_table(plan, found, record)}\n{_on_best(record)}\n")


def write_trials(path: pathlib.Path, plan: Plan, found: Found) -> None:
    """Write a CSV file: a row for each training or, of brackets, for each rung it reached."""
    with replacing_own(path) as part:
        if found.trials is not None:
            table = part.with_suffix(".csv")
            write_table(found.trials, table)
            table.replace(part)
        else:
            _write_rungs(part, plan, found)


def _write_rungs(path: pathlib.Path, plan: Plan, found: Found) -> None:
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


def sections(plan: Plan, found: Found, record: Mapping[str, Any]) -> list[Section]:
    """The page, with its pictures."""
    config, rows = record["config"], record["rows"]
    title = f"{plan.dataset.name}, {config['optimizer']}"
    counted = checks.counted
    about = [
        f"{plan.dataset.name}: {plan.dataset.problem}, {rows['train']} training and "
        f"{counted(rows['validation'], 'validation row')}; {counted(rows['test'], 'test row')} "
        "not used.",
        f"{config['model']}, {config['optimizer']}, {config['schedule']}, {config['epochs']} "
        f"epochs in batches of {config['batch_size']}.",
        f"{plan.method}: {counted(len(found.values), 'configuration')} x "
        f"{counted(plan.folds, 'fold')} x {counted(plan.seeds, 'seed')}, in {found.seconds:.1f} s.",
        "",
        "Space:",
        *(f"  {text}" for text in record["space"]),
    ]
    parts = [Section("Search", "\n".join(about)), Section("Best", _on_best(record))]
    if not found.all_failed:
        parts.append(Section(f"The {SHOWN} best", _best_table(plan, found, record)))
    if found.trials is not None:
        result = found.trials
        figures = {
            COORDINATES: parallel_coordinates(result, title=title),
            SLICES: slices(result, title=title),
            CURVES: search_curves(result, title=title),
        }
        return [*parts, *(Section(name, "", {name: as_png(f)}) for name, f in figures.items())]
    text = "\n\n".join(map(str, found.brackets))
    return [*parts, Section(RUNGS, text, {RUNGS: as_png(rung_scores(found.brackets, title=title))})]


def _best_table(plan: Plan, found: Found, record: Mapping[str, Any]) -> str:
    several = not np.isnan(found.errors).all()
    options = [name.removeprefix("1 - ") for name in plan.ranges]
    spelled = [flag(name).removeprefix("--") for name in options]
    score = record["metric"].replace("_", " ")
    header = ["rank", "configuration", *spelled, *["steps"] * bool(found.brackets), score]
    rows = []
    for rank, number in enumerate(found.ranking[:SHOWN].tolist()):
        row = record["configurations"][number]
        cells = [row["values"][name] for name in options]
        cells += [row["steps"]] * bool(found.brackets) + [row["score"]]
        cells += [row["standard_error"]] * several
        rows.append([str(rank + 1), str(number), *map(_short, cells)])
    return table_text([*header, *["standard error"] * several], rows)


def _on_best(record: Mapping[str, Any]) -> str:
    best = record["best"]
    if best is None:
        return FAILED
    score = record["metric"].replace("_", " ")
    of_rungs = "brackets" in record
    said = (
        f" after {checks.counted(best['steps'], 'step')}"
        if of_rungs
        else "; the best of many, and so too good"
    )
    lines = [f"Best: configuration {best['number']}, {score} {_with_error(best)}{said}."]
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


def _command(plan: Plan, found: Found) -> str:
    """What trains the best."""
    return command_of(with_values(plan.options, values_at(found.configurations[found.best])))


def _at_edges(ranges: Mapping[str, Range], point: np.ndarray) -> list[str]:
    """A sentence for each number that lies at an end of its range, unless that end is 0."""
    said = []
    for place, u in zip(sorted(ranges), point.tolist(), strict=True):
        kind = ranges[place]
        if isinstance(kind, Choice) or EDGE <= u <= 1 - EDGE or (u < EDGE and kind.low == 0):
            continue
        ((key, value),) = values_at({place: kind.at(u)}).items()
        end = "upper" if (u > 0.5) == (key == place) else "lower"
        (text,) = spell({place: kind})
        name = flag(key).removeprefix("--")
        said.append(f"{name} {_short(value)} lies within 5 % of the {end} end of {text}: widen it.")
    return said


def _names(outcomes: np.ndarray) -> Any:
    names = np.array([OutcomeCode(int(code)).name.lower() for code in outcomes.ravel()])
    return names.reshape(outcomes.shape).tolist()


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
