"""Targets of the workloads, found by two baselines: run once, and frozen in the repository.

    python -m benchmarks targets [--directory DIR]

The rule, for each variant of each workload: momentum and Adam each train 100 configurations of
their spaces with two seeds. The ten configurations of each with the lowest loss of the first seed
are good. The target is based on the lowest losses that the trainings of these with the second seed
reach by 60 % of the steps: the lower one of the two medians, so that half of the good
configurations of the better baseline get there in time. What exceeds the floor of the workload,
which is 0 where none is known, is increased by 5 %, so that the target does not depend on the luck
of a seed, and rounded up to three digits. A median below the floor is an error: it can only come
from chance in the validation rows.
"""

import argparse
import json
import math
import os
from typing import Any

import jax
import numpy as np

from benchmarks._machine import machine
from jaxopt_course.workloads import WORKLOADS, Comparison, compare, entry
from jaxopt_course.workloads._workload import TARGETS_FILE, VARIANTS


BASELINES = ("momentum", "adam")
TRIALS, GOOD, SHARE, RELAXED, KEY = 100, 10, 0.6, 1.05, 20261121


def main() -> None:
    """Train the baselines and write ``workloads/targets.json``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--directory", default="runs/targets", help="keeps what is done")
    options = parser.parse_args()
    jax.config.update("jax_num_cpu_devices", min(2, os.cpu_count() or 1))
    comparison = compare(
        [entry(name) for name in BASELINES],
        WORKLOADS.values(),
        key=jax.random.key(KEY),
        trials=TRIALS,
        seeds=2,
        held_out_seeds=2,
        devices=jax.devices(),
        resume=options.directory,
    )
    targets = {
        name: {variant: target(comparison, name, variant) for variant in VARIANTS}
        for name in WORKLOADS
    }
    origin: dict[str, Any] = {
        "rule": " ".join(__doc__.split("The rule, ")[1].split()),
        "command": "python -m benchmarks.targets",
        "baselines": BASELINES,
        "trials": TRIALS,
        "good": GOOD,
        "share_of_steps": SHARE,
        "relaxed": RELAXED,
        "key": KEY,
        **machine(),
    }
    TARGETS_FILE.write_text(json.dumps({"origin": origin, "targets": targets}, indent=2) + "\n")
    print(TARGETS_FILE)  # noqa: T201


def target(comparison: Comparison, name: str, variant: str) -> float:
    """What the rule says."""
    medians = {}
    for own in BASELINES:
        trials = comparison.trials[own, name, variant]
        values = np.where(np.isfinite(trials.values), trials.values, np.inf)[1:]
        good = np.argsort(values[:, 0].min(-1))[:GOOD]
        early = trials.costs <= SHARE * comparison.steps[name]
        medians[own] = float(np.median(values[good, 1][:, early].min(-1)))
    floor, lowest = WORKLOADS[name].floors[variant], min(medians.values())
    if lowest < floor:
        raise ValueError(f"targets: that of {name} ({variant}) lies below its floor.")
    relaxed = floor + RELAXED * (lowest - floor)
    digits = 2 - math.floor(math.log10(relaxed))
    rounded = round(math.ceil(relaxed * 10**digits) / 10**digits, max(digits, 0))
    print(f"{name}, {variant}: {medians} -> {rounded}")  # noqa: T201
    return rounded


if __name__ == "__main__":
    main()
