"""Ten optimizers of the course on all workloads, each tuned with 100 trials.

    python -m benchmarks comparison [--quick] [--redraw] [--directory DIRECTORY]

Each training is kept in ``DIRECTORY/trials``, which git ignores, so that an interrupted comparison
resumes. The results are ``report.md``, its pictures, and ``summary.json``, which holds every number
of the report: ``--redraw`` writes the tables and pictures again from this file alone. Only the
picture of the learning curves needs the trials.

Seconds are measured with one training per device at a time, and include the effect of whatever
else the machine does.
"""

import argparse
import json
import os
import pathlib
import time
from collections.abc import Sequence

import jax

from benchmarks._machine import RESULTS, compact, machine, save_picture
from jaxopt_course.plots import comparison_figures
from jaxopt_course.workloads import (
    OPTIMIZERS,
    WORKLOADS,
    Comparison,
    Summary,
    compare,
    entry,
    summarize,
    workload,
)


QUICK = (("sgd", "momentum", "adam"), ("quadratic", "logistic", "spirals"), 8)
KEY = 1
SUMMARY, REPORT = "summary.json", "report.md"


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, or resume training, and write the report; or write it again from its summary."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help="three optimizers on three workloads with 8 trials"
    )
    parser.add_argument(
        "--redraw", action="store_true", help="write tables and pictures from summary.json alone"
    )
    parser.add_argument("--directory", type=pathlib.Path, help="where trials and report are kept")
    options = parser.parse_args(arguments)
    place = "quick/comparison" if options.quick else "comparison"
    directory = options.directory or RESULTS / place
    if options.redraw:
        summary = redraw(directory)
    else:
        jax.config.update("jax_num_cpu_devices", min(2, os.cpu_count() or 1))
        names = QUICK if options.quick else (tuple(OPTIMIZERS), tuple(WORKLOADS), 100)
        begin = time.perf_counter()
        comparison = compare(
            [entry(name) for name in names[0]],
            [workload(name) for name in names[1]],
            key=jax.random.key(KEY),
            trials=names[2],
            seeds=2,
            held_out_seeds=1,
            devices=jax.devices(),
            resume=directory / "trials",
        )
        about = {"machine": machine(), "trials": names[2], "seconds": time.perf_counter() - begin}
        record = {**about, **summarize(comparison).as_json()}
        (directory / SUMMARY).write_text(compact(record))
        summary = redraw(directory, comparison)
    print(summary)  # noqa: T201
    print(directory)  # noqa: T201


def redraw(directory: pathlib.Path, comparison: Comparison | None = None) -> Summary:
    """Write ``report.md`` in ``directory`` and its pictures from its ``summary.json``.

    The picture of the learning curves is drawn if the trials are given.
    """
    summary = Summary.from_json(json.loads((directory / SUMMARY).read_text()))
    (directory / REPORT).write_text(summary.markdown())
    for name, figure in comparison_figures(comparison, summary).items():
        save_picture(figure, directory / f"{name}.png")
    return summary


if __name__ == "__main__":
    main()
