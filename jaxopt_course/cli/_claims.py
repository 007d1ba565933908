"""The command ``claims``: what the course says of training, tried by experiment."""

import dataclasses
import json
import pathlib
import time
from collections.abc import Sequence
from typing import Annotated, Any

import jax
import tyro

from jaxopt_course._version import __version__
from jaxopt_course.claims import CLAIMS, QUICK_SEEDS, SEEDS, Verdict
from jaxopt_course.core import checks, replacing

from ._claims_report import FILES, PAGE, summary_text, write_claims_report
from ._errors import COMPLETED, UsageError, usage_errors
from ._html import picture_name
from ._options import check_names
from ._parse import parse
from ._progress import show_stage
from ._record import describe_versions
from ._report import as_json, default_directory, make_directory, print_json, say
from ._signals import stopped_by_signals
from ._streams import print_out


MOST_SEEDS = 10_000  # whose trainings are kept in memory


@dataclasses.dataclass(frozen=True)
class ClaimsOptions:
    """Which claims are tried, and how thoroughly."""

    names: Annotated[
        tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[NAME ...]")
    ] = ()
    """Which, of the list above. None given: all."""
    seeds: int | None = None
    """Trainings of each that differ in their seed, in [2, 10000]. None: 20; quick: 5."""
    seed: int = 0
    """Of everything that is random, in [0, 2^32)."""
    quick: bool = False
    """Cut the trainings short: a try of a few minutes, whose verdicts are not results."""
    resume: Annotated[pathlib.Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Keep each finished claim in DIR, and go on from what is kept there. None: nothing is kept."""
    out: Annotated[pathlib.Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Where the results go. None: runs/claims-<seed>."""
    overwrite: bool = False
    """Replace the results of an earlier time in the same place."""
    json: bool = False
    """Print everything as JSON instead of a table; progress goes to stderr anyway."""


def run_claims(arguments: Sequence[str]) -> int:
    """Run the command; 0 if it came to its end, whatever the verdicts."""
    options = _with_defaults(
        parse(ClaimsOptions, arguments, prog="jaxopt-course claims", description=_description())
    )
    out = options.out or default_directory("claims", options.seed)
    files = (*FILES, *map(picture_name, CLAIMS))
    make_directory(out, files, "results", overwrite=options.overwrite, resume=options.resume)
    count = checks.counted(len(options.names), "claim")
    say(f"{count} with {options.seeds} seeds; results in {out}")
    verdicts, seconds = [], {}
    with stopped_by_signals(options.resume):
        for number, name in enumerate(options.names, 1):
            verdict, seconds[name] = _kept_or_tried(name, options, f"{number}/{len(options.names)}")
            verdicts.append(verdict)
            say(f"{name}: {verdict.verdict}, {seconds[name]:.1f} s")
    about = {
        "seeds": options.seeds,
        "seed": options.seed,
        "quick": options.quick,
        "seconds": seconds,
        "versions": describe_versions(),
        "device": str(jax.devices()[0].device_kind),
    }
    record = write_claims_report(verdicts, out, about=about)
    if options.json:
        print_json(record)
    else:
        print_out(f"{summary_text(verdicts)}\n")
    say(f"report in {out / PAGE}")
    return COMPLETED


def _kept_or_tried(name: str, options: ClaimsOptions, place: str) -> tuple[Verdict, float]:
    """The verdict and the seconds that it took: those that are kept, or new ones, then kept."""
    about = {
        "version": __version__,
        **{option: getattr(options, option) for option in ("seeds", "seed", "quick")},
    }
    path = None if options.resume is None else options.resume / f"{name}.json"
    if path is not None and path.exists():
        return _read(path, about)
    begin = time.perf_counter()
    with show_stage(f"{place} {name}: {CLAIMS[name].sentence}"):
        # A claim has numbers of its own, whichever others are tried with it.
        verdict = CLAIMS[name](
            jax.random.key(options.seed), seeds=options.seeds, quick=options.quick
        )
    seconds = time.perf_counter() - begin
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        stored = {"about": about, "seconds": seconds, "verdict": verdict.as_json()}
        with replacing(path) as part:
            part.write_text(as_json(stored) + "\n", encoding="utf-8")
    return verdict, seconds


def _read(path: pathlib.Path, about: dict[str, Any]) -> tuple[Verdict, float]:
    """What is kept in ``path``.

    Raises:
        UsageError: if it was measured otherwise.
        ValueError: if it is damaged.
    """
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        kept, seconds = stored["about"], float(stored["seconds"])
        verdict = Verdict.from_json(stored["verdict"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged ({error!r}); delete it.") from error
    other = [name for name, value in about.items() if kept.get(name) != value]
    if other:
        raise UsageError(
            f"{path} was measured with another {', '.join(other)}: give another --resume."
        )
    return verdict, seconds


def _with_defaults(options: ClaimsOptions) -> Any:
    """The options with everything said.

    Raises:
        UsageError: if a name is not known or there twice, or a number is out of range.
    """
    check_names("claim", options.names, CLAIMS)
    seeds = (QUICK_SEEDS if options.quick else SEEDS) if options.seeds is None else options.seeds
    with usage_errors():
        checks.integer("claims", "seeds", seeds, f"[2, {MOST_SEEDS}]")
        checks.integer("claims", "seed", options.seed, "[0, 4294967296)")
    return dataclasses.replace(options, names=options.names or tuple(CLAIMS), seeds=seeds)


def _description() -> str:
    lines = [
        "Try what the course claims: effects with simultaneous intervals over seeds, verdicts.",
        "",
        "Claims:",
        *(f"  {own.name}: {own.sentence}" for own in CLAIMS.values()),
    ]
    return "\n".join(lines)
