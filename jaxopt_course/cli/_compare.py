"""The command ``compare``: optimizers, each at its best, on small problems with fixed targets."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Annotated, Any

import jax
import tyro

from jaxopt_course.core import checks
from jaxopt_course.workloads import CONTENDERS, WORKLOADS, compare

from ._comparison_report import FILES, PAGE, write_comparison_report
from ._devices import take_devices
from ._errors import COMPLETED, usage_errors
from ._options import check_names
from ._parse import parse
from ._record import describe_versions
from ._report import default_directory, make_directory, print_json, say
from ._signals import stopped_by_signals
from ._streams import print_out


TRIALS = 100
MOST_TRIALS, MOST_SEEDS = 100_000, 1000  # whose curves are kept in memory
QUICK: dict[str, Any] = {
    "trials": 8,
    "optimizers": ("sgd", "momentum", "adam"),
    "workloads": ("quadratic", "logistic", "spirals"),
}


@dataclasses.dataclass(frozen=True)
class CompareOptions:
    """What is compared, and how thoroughly."""

    optimizers: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME ...")] = ()
    """Which, of the list above. None given: all."""
    workloads: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME ...")] = ()
    """On which, of the list above. None given: all."""
    trials: int | None = None
    """Configurations of each optimizer on each workload, in [1, 100000]. None: 100; quick: 8."""
    seeds: int = 2
    """Trainings of each that differ in their seed, in [2, 1000]: to pick by, and to score."""
    seed: int = 0
    """Of everything that is random, in [0, 2^32)."""
    quick: bool = False
    """Few trials, and if no names are given three optimizers on three workloads: a minute."""
    devices: int | None = None
    """Number of devices, each with a cell of its own; on a CPU a device is a core. None: all.
    Seconds are measured while the other devices work; use 1 to measure them undisturbed."""
    resume: Annotated[pathlib.Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Keep what is done in DIR, and go on from what is kept there. None: nothing is kept."""
    out: Annotated[pathlib.Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Where the results go. None: runs/compare-<seed>."""
    overwrite: bool = False
    """Replace the results of an earlier comparison in the same place."""
    json: bool = False
    """Print everything as JSON instead of tables; progress goes to stderr anyway."""


def run_comparison(arguments: Sequence[str]) -> int:
    """Run the command; 0 if it came to its end."""
    options = _with_defaults(
        parse(
            CompareOptions,
            arguments,
            prog="jaxopt-course compare",
            description=_description(),
        )
    )
    cells = len(options.optimizers) * len(options.workloads) * 2
    devices = take_devices(options.devices, most=cells)
    out = options.out or default_directory("compare", options.seed)
    make_directory(out, FILES, "a comparison", overwrite=options.overwrite, resume=options.resume)
    say(
        f"{checks.counted(len(options.optimizers), 'optimizer')} on "
        f"{checks.counted(len(options.workloads), 'workload')} and their "
        f"held-out variants: {checks.counted(cells, 'cell')} of "
        f"{checks.counted(options.trials, 'trial')}; results in {out}"
    )
    with stopped_by_signals(options.resume), usage_errors():
        comparison = compare(
            [CONTENDERS[name] for name in options.optimizers],
            [WORKLOADS[name] for name in options.workloads],
            key=jax.random.key(options.seed),
            trials=options.trials,
            seeds=options.seeds,
            devices=devices,
            resume=options.resume,
        )
    about = {
        "trials": options.trials,
        "seeds": options.seeds,
        "seed": options.seed,
        "versions": describe_versions(),
        "device": str(devices[0].device_kind),
        "devices": len(devices),
    }
    summary, record = write_comparison_report(comparison, out, about=about)
    if options.json:
        print_json(record)
    else:
        print_out(f"{summary}\n")
    say(f"report in {out / PAGE}")
    return COMPLETED


def _with_defaults(options: CompareOptions) -> Any:
    """The options with everything said.

    Raises:
        UsageError: if a name is not known or there twice, or a number is out of range.
    """
    known = {"optimizers": CONTENDERS, "workloads": WORKLOADS}
    chosen: dict[str, Any] = {}
    for what, all_names in known.items():
        names = getattr(options, what)
        check_names(what.removesuffix("s"), names, all_names)
        chosen[what] = names or (QUICK[what] if options.quick else tuple(all_names))
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
        "Compare optimizers, each with the numbers that so many trials find for it.",
        "",
        f"Optimizers: {', '.join(CONTENDERS)}.",
        "",
        "Workloads:",
        *(f"  {own.name}: {own.summary}" for own in WORKLOADS.values()),
    ]
    return "\n".join(lines)
