"""The course's 33 claims as experiments with 20 seeds: about 15 minutes on two cores."""

import argparse
import json
import pathlib
import sys
import time
from collections.abc import Sequence
from typing import Any

import jax

from benchmarks._machine import RESULTS, versions
from jaxopt_course import __version__
from jaxopt_course.core import checks, replacing

from ._catalogue import CLAIMS
from ._claim import QUICK_SEEDS, SEEDS, Verdict
from ._report import PAGE, RECORD, TABLES, summary_text, write_report


MOST_SEEDS = 10_000  # all of whose trainings are held in memory
INTERRUPTED = 130
DESCRIPTION = """\
Try each claim of the course by an experiment, and report its effects with simultaneous intervals
over seeds, and a verdict. The sizes of the experiments were chosen with seed 0; the committed
results are those of seed 1.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 if it finished, whatever the verdicts."""
    parser = _parser()
    options = _with_defaults(parser, parser.parse_args(arguments))
    files = [RECORD, TABLES, PAGE, *(f"{name}.png" for name in CLAIMS)]
    earlier = [options.out / name for name in files if (options.out / name).exists()]
    if earlier and not options.overwrite:
        parser.error(f"{options.out} already holds results: give another --out, or --overwrite.")
    options.out.mkdir(parents=True, exist_ok=True)
    count = checks.counted(len(options.names), "claim")
    _say(f"{count} with {options.seeds} seeds; results in {options.out}")
    verdicts, seconds = [], {}
    try:
        for number, name in enumerate(options.names, 1):
            _say(f"{number}/{len(options.names)} {name}: {CLAIMS[name].sentence}")
            verdict, seconds[name] = _kept_or_tried(parser, name, options)
            verdicts.append(verdict)
            _say(f"{name}: {verdict.verdict}, {seconds[name]:.1f} s")
    except KeyboardInterrupt:
        _say(f"Stopped. Finished claims are kept in {options.resume}; the same command resumes.")
        return INTERRUPTED
    about = {
        "seeds": options.seeds,
        "seed": options.seed,
        "quick": options.quick,
        "seconds": seconds,
        "versions": versions(),
        "device": str(jax.devices()[0].device_kind),
    }
    for path in earlier:
        path.unlink()
    record = write_report(verdicts, options.out, about)
    print(json.dumps(record, indent=2) if options.json else summary_text(verdicts))  # noqa: T201
    _say(f"report in {options.out / PAGE}")
    return 0


def _parser() -> argparse.ArgumentParser:
    width = max(map(len, CLAIMS))
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks claims",
        description=DESCRIPTION,
        epilog="\n".join(
            ["claims:", *(f"  {own.name:{width}}  {own.sentence}" for own in CLAIMS.values())]
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("names", nargs="*", metavar="NAME", help="claims of the list below (default: all)")
    add("--quick", action="store_true", help="shorter trainings: a test run, not a result")
    add("--seeds", type=int, help=f"trainings that differ in their seed, in [2, {MOST_SEEDS}] "
        f"(default: {SEEDS}; with --quick {QUICK_SEEDS})")  # fmt: skip
    add("--seed", type=int, default=1, help="seed of all random numbers, in [0, 2^32) (default: 1)")
    add("--out", type=pathlib.Path, metavar="DIR", help="directory of the results (default: "
        "benchmarks/results/claims; with --quick benchmarks/results/quick/claims)")  # fmt: skip
    add("--resume", type=pathlib.Path, metavar="DIR", help="directory that keeps each finished "
        "claim, and from which the command resumes (default: OUT/kept)")  # fmt: skip
    add("--overwrite", action="store_true", help="replace earlier results in the directory "
        "given by --out; those in the default directory are always replaced")  # fmt: skip
    add("--json", action="store_true", help="print all results as JSON instead of a table")
    return parser


def _with_defaults(parser: argparse.ArgumentParser, options: Any) -> Any:
    """The checked options, with defaults that depend on others filled in."""
    if options.seeds is None:
        options.seeds = QUICK_SEEDS if options.quick else SEEDS
    try:
        for name in options.names:
            checks.choice("claims", "NAME", name, CLAIMS)
        checks.integer("claims", "seeds", options.seeds, f"[2, {MOST_SEEDS}]")
        checks.integer("claims", "seed", options.seed, "[0, 4294967296)")
    except ValueError as error:
        parser.error(str(error).removeprefix("claims: "))
    if len(set(options.names)) < len(options.names):
        parser.error("each NAME may be given only once.")
    if options.out is None:
        options.out = RESULTS / ("quick/claims" if options.quick else "claims")
        options.overwrite = True
    options.resume = options.resume or options.out / "kept"
    if options.resume.resolve() == options.out.resolve():
        parser.error("--resume and --out must be two directories.")
    options.names = options.names or list(CLAIMS)
    return options


def _kept_or_tried(parser: Any, name: str, options: Any) -> tuple[Verdict, float]:
    """The verdict and the seconds it took: read from ``--resume``, or measured and kept there."""
    about = {
        "version": __version__,
        **{option: getattr(options, option) for option in ("seeds", "seed", "quick")},
    }
    path = options.resume / f"{name}.json"
    if path.exists():
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            kept, seconds = stored["about"], float(stored["seconds"])
            verdict = Verdict.from_json(stored["verdict"])
        except (KeyError, TypeError, ValueError) as error:
            raise SystemExit(f"{path} is damaged ({error!r}): delete it.") from error
        other = [name for name, value in about.items() if kept.get(name) != value]
        if other:
            text = f"{path} was measured with another {', '.join(other)}: give another --resume."
            parser.error(text)
        return verdict, seconds
    begin = time.perf_counter()
    # The numbers of a claim do not depend on which others are tried with it.
    verdict = CLAIMS[name](jax.random.key(options.seed), seeds=options.seeds, quick=options.quick)
    seconds = time.perf_counter() - begin
    path.parent.mkdir(parents=True, exist_ok=True)
    stored = {"about": about, "seconds": seconds, "verdict": verdict.as_json()}
    with replacing(path) as part:
        part.write_text(json.dumps(stored) + "\n", encoding="utf-8")
    return verdict, seconds


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
