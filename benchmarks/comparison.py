"""The ten optimizers of the course's kind on all workloads, each tuned with 100 trials.

    python -m benchmarks.comparison [--quick] [--directory benchmarks/results/comparison]

Every training is kept in ``DIRECTORY/trials``, one file a contender and variant, so that what was
broken off goes on; tables and pictures of them are written to ``DIRECTORY``. Seconds are those of
this machine, with one training a device at a time, and of whatever else it does meanwhile.
"""

import argparse
import os
import pathlib
import time

import jax

from benchmarks._machine import RESULTS, machine
from jaxopt_course.cli import write_comparison_report
from jaxopt_course.workloads import CONTENDERS, WORKLOADS, compare, contender, workload


QUICK = (("sgd", "momentum", "adam"), ("quadratic", "logistic", "spirals"), 8)
KEY = 1


def main() -> None:
    """Train, or go on training, and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="three on three, with 8 trials")
    parser.add_argument("--directory", type=pathlib.Path, help="of trials and report")
    options = parser.parse_args()
    jax.config.update("jax_num_cpu_devices", min(2, os.cpu_count() or 1))
    names = QUICK if options.quick else (tuple(CONTENDERS), tuple(WORKLOADS), 100)
    directory = options.directory or RESULTS / ("comparison_quick" * options.quick or "comparison")
    begin = time.perf_counter()
    comparison = compare(
        [contender(name) for name in names[0]],
        [workload(name) for name in names[1]],
        key=jax.random.key(KEY),
        trials=names[2],
        seeds=2,
        held_out_seeds=1,
        devices=jax.devices(),
        resume=directory / "trials",
    )
    about = {"machine": machine(), "trials": names[2], "seconds": time.perf_counter() - begin}
    summary, _ = write_comparison_report(comparison, directory, about=about)
    print(summary)  # noqa: T201
    print(directory)  # noqa: T201


if __name__ == "__main__":
    main()
