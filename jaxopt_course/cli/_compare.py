"""The command ``compare``: tune optimizers on small workloads, and compare them."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from jaxopt_course import workloads
from jaxopt_course.core import checks
from jaxopt_course.plots import comparison_figures
from jaxopt_course.workloads import OPTIMIZERS, WORKLOADS, Comparison, Summary, summarize

from ._options import Count, Directory, Names, check_names, parse
from ._process import COMPLETED, print_out, say, stopped_by_signals, take_devices, usage_errors
from ._report import (
    Section,
    as_png,
    default_directory,
    describe_versions,
    json_text,
    make_directory,
    picture_name,
    write_file,
    write_report,
)


TRIALS = 100
MOST_TRIALS, MOST_SEEDS = 100_000, 1000  # their curves are kept in memory
QUICK: dict[str, Any] = {
    "trials": 8,
    "optimizers": ("sgd", "momentum", "adam"),
    "workloads": ("quadratic", "logistic", "spirals"),
}
RECORD, TABLES, PAGE = "comparison.json", "report.md", "report.html"
VIEWS = {
    f"{clock}_{setting}": f"in {clock}, {words}"
    for clock in ("steps", "seconds")
    for setting, words in {"fresh_seed": "fresh seeds", "held_out": "held-out variants"}.items()
}
FIGURES = {
    "tuning": "Cost to the target by number of trials",
    "profiles": "Share of workloads within a factor of the cheapest optimizer",
    "pairs": "Cost ratios of pairs",
}
TITLES = {
    "curves": "Learning curves of the best configurations",
    "tuning_each": "Cost to the target on each workload",
    **{
        f"{name}_{view}": f"{title}, {words}"
        for view, words in VIEWS.items()
        for name, title in FIGURES.items()
    },
}
FILES = (RECORD, TABLES, PAGE, *map(picture_name, TITLES))


@dataclasses.dataclass(frozen=True)
class CompareOptions:
    """The options of the command ``compare``."""

    optimizers: Names = ()
    """Optimizers of the list above. By default all."""
    workloads: Names = ()
    """Workloads of the list above. By default all."""
    trials: Count = None
    """Number of configurations per optimizer and workload, in [1, 100000]. By default 100."""
    seeds: int = 2
    """Number of seeds per configuration, in [2, 1000]; one chooses, the others score."""
    seed: int = 0
    """Seed of all random numbers, in [0, 2^32)."""
    quick: bool = False
    """Run 8 trials, by default of three optimizers on three workloads, in about a minute."""
    devices: Count = None
    """Number of devices (CPU cores) that train at once; use 1 for exact seconds. By default all."""
    resume: Directory = None
    """Save finished cells (an optimizer on a workload) in DIR, and reuse those that it holds."""
    out: Directory = None
    """Directory of the results. By default runs/compare-<seed>."""
    overwrite: bool = False
    """Replace the results of an earlier comparison in the same directory."""
    json: bool = False
    """Print all results as JSON instead of tables. Progress always goes to stderr."""


def run(arguments: Sequence[str]) -> int:
    """Run the command; return 0."""
    about = _description()
    options = parse(CompareOptions, arguments, prog="jaxopt-course compare", description=about)
    options = with_defaults(options)
    cells = len(options.optimizers) * len(options.workloads) * 2
    devices = take_devices(options.devices, most=cells)
    out = options.out or default_directory("compare", options.seed)
    make_directory(out, FILES, "a comparison", overwrite=options.overwrite, resume=options.resume)
    counted = checks.counted
    say(
        f"{counted(len(options.optimizers), 'optimizer')} on "
        f"{counted(len(options.workloads), 'workload')} and their held-out variants: "
        f"{counted(cells, 'cell')} of {counted(options.trials, 'trial')}; results in {out}"
    )
    design = {"trials": options.trials, "seeds": options.seeds}
    with stopped_by_signals(options.resume), usage_errors():
        comparison = workloads.compare(
            [OPTIMIZERS[name] for name in options.optimizers],
            [WORKLOADS[name] for name in options.workloads],
            key=jax.random.key(options.seed),
            devices=devices,
            resume=options.resume,
            **design,
        )
    device = {"device": str(devices[0].device_kind), "devices": len(devices)}
    entries = {**design, "seed": options.seed, "versions": describe_versions(), **device}
    summary, record = write_comparison_report(comparison, out, about=entries)
    print_out(json_text(record) if options.json else f"{summary}\n")
    say(f"report in {out / PAGE}")
    return COMPLETED


def write_comparison_report(
    comparison: Comparison,
    directory: str | os.PathLike[str],
    *,
    about: Mapping[str, Any] | None = None,
) -> tuple[Summary, dict[str, Any]]:
    """Write comparison.json, report.md, the pictures as PNGs, and all of it as report.html.

    Args:
        comparison: result of :func:`~jaxopt_course.workloads.compare`.
        directory: it is made if it does not exist; files of these names in it are replaced.
        about: more entries of the record, such as the versions and the device.

    Returns:
        The summary and the record.
    """
    place = pathlib.Path(directory)
    place.mkdir(parents=True, exist_ok=True)
    summary = summarize(comparison)
    record, tables = {**(about or {}), **summary.as_json()}, summary.markdown()
    write_file(place / RECORD, json_text(record))
    write_file(place / TABLES, tables)
    compared = {"optimizer": comparison.optimizers, "workload": comparison.workloads}
    counts = "\n".join(
        f"{checks.counted(len(names), noun)}: {', '.join(names)}."
        for noun, names in compared.items()
    )
    sections = [
        Section("What is compared", counts),
        Section("In short", str(summary), is_table=True),
    ]
    figures = comparison_figures(comparison, summary)
    sections += [
        Section(title, "", {stem: as_png(figures[stem])})
        if stem in figures
        else Section(title, "No pair of optimizers differs, so there is no picture.")
        for stem, title in TITLES.items()
    ]
    sections.append(Section("Tables", tables))
    write_report(place / PAGE, "Comparison of optimizers", sections)
    return summary, record


def with_defaults(options: CompareOptions) -> Any:
    """The options with names and trials filled in."""
    chosen: dict[str, Any] = {}
    for what, known in {"optimizers": OPTIMIZERS, "workloads": WORKLOADS}.items():
        names = getattr(options, what)
        check_names("compare", what, names, known)
        chosen[what] = names or (QUICK[what] if options.quick else tuple(known))
    if options.trials is None:
        chosen["trials"] = QUICK["trials"] if options.quick else TRIALS
    found = dataclasses.replace(options, **chosen)
    with usage_errors():
        checks.integer("compare", "trials", found.trials, f"[1, {MOST_TRIALS}]")
        checks.integer("compare", "seeds", found.seeds, f"[2, {MOST_SEEDS}]")
        checks.integer("compare", "seed", found.seed, "[0, 4294967296)")
    return found


def _description() -> str:
    lines = [
        "Compare optimizers, each with the hyperparameters that its trials find.",
        "",
        f"Optimizers: {', '.join(OPTIMIZERS)}.",
        "",
        "Workloads:",
        *(f"  {own.name}: {own.summary}" for own in WORKLOADS.values()),
    ]
    return "\n".join(lines)
