"""Tuning studies, simulated by drawing from the stored trials.

A study of budget b tries b configurations, drawn with replacement. It picks the one whose training
reached the target first or, if none reached it, had the lowest loss. The pick is then scored by
other trainings of the same configuration: with another seed, and on the held-out variant. A study
of budget 1 takes the defaults.
"""

import zlib
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int

from jaxopt_course.core import checks

from ._comparison import Comparison, costs_of
from ._workload import VARIANTS


CLOCKS = ("steps", "seconds")
SETTINGS = ("fresh_seed", "held_out")
NEVER = 2.0  # trainings: solver competitions count a timeout as twice the limit
EDGE = 0.05  # share of a range
OFTEN = 0.25  # five times the share of uniform picks

Costs = Float64[np.ndarray, "studies optimizers workloads"]


class TuningStudies(NamedTuple):
    """The picks of many studies of one budget, and their costs.

    optimizers: names, in the order of the second axis.
    workloads: names, in the order of the third axis.
    budget: number of configurations that a study tries.
    picks: the trial that each study picked.
    steps: {setting: steps until the target}; infinite where it was never reached.
    seconds_per_step: {setting: seconds of a step}.
    lengths: steps of a training on each workload.
    """

    optimizers: tuple[str, ...]
    workloads: tuple[str, ...]
    budget: int
    picks: Int[np.ndarray, "studies optimizers workloads"]
    steps: Mapping[str, Costs]
    seconds_per_step: Mapping[str, Float64[np.ndarray, "optimizers workloads"]]
    lengths: Float64[np.ndarray, "workloads"]

    def costs(self, clock: str, setting: str) -> Costs:
        """Steps or seconds until the target; infinite where it was never reached."""
        checks.choice("TuningStudies.costs", "clock", clock, CLOCKS)
        checks.choice("TuningStudies.costs", "setting", setting, SETTINGS)
        steps = self.steps[setting]
        return steps if clock == "steps" else steps * self.seconds_per_step[setting]

    def whole(self, clock: str, setting: str) -> Float64[np.ndarray, "optimizers workloads"]:
        """Steps or seconds of whole trainings."""
        each = self.seconds_per_step[setting]
        return self.lengths * (np.ones_like(each) if clock == "steps" else each)


def tuning_studies(
    comparison: Comparison, budget: int, *, studies: int = 1000, seed: int = 0
) -> TuningStudies:
    """Draw studies of one budget, independently for each workload.

    The draws of an optimizer depend on its name and on ``seed``, but not on the other optimizers.
    All optimizers share the training seeds by which a study picks and is scored.

    Args:
        comparison: result of :func:`compare`.
        budget: number of configurations that a study tries, in [1, trials]; 1 takes the defaults.
        studies: number of studies, in [1, inf).
        seed: seed of the draws.
    """
    some = next(iter(comparison.trials.values()))
    checks.integer("tuning_studies", "budget", budget, f"[1, {len(some.values) - 1}]")
    checks.integer("tuning_studies", "studies", studies, "[1, inf)")
    shape = (studies, len(comparison.optimizers), len(comparison.workloads))
    picks, seconds = np.zeros(shape, int), {s: np.zeros(shape[1:]) for s in SETTINGS}
    steps = {setting: np.zeros(shape) for setting in SETTINGS}
    for j, workload in enumerate(comparison.workloads):
        for i, optimizer in enumerate(comparison.optimizers):
            trials = [comparison.trials[optimizer, workload, variant] for variant in VARIANTS]
            targets = [comparison.targets[workload, variant] for variant in VARIANTS]
            base, held_out = map(costs_of, trials, targets)
            rng = _rng(seed, workload)
            count, others = base.steps.shape[1], held_out.steps.shape[1]
            by = rng.integers(count, size=studies)
            fresh = (by + rng.integers(1, count, size=studies)) % count
            other = rng.integers(others, size=studies)
            if budget > 1:
                tried = _rng(seed, workload, optimizer, str(budget)).integers(
                    1, len(base.steps), (studies, budget)
                )
                best = base.ranks[tried, by[:, None]].argmin(1)
                picks[:, i, j] = tried[np.arange(studies), best]
            steps["fresh_seed"][:, i, j] = base.steps[picks[:, i, j], fresh]
            steps["held_out"][:, i, j] = held_out.steps[picks[:, i, j], other]
            for setting, own in zip(SETTINGS, trials, strict=True):
                seconds[setting][i, j] = own.seconds_per_step
    return TuningStudies(
        optimizers=comparison.optimizers,
        workloads=comparison.workloads,
        budget=budget,
        picks=picks,
        steps=steps,
        seconds_per_step=seconds,
        lengths=np.array([comparison.steps[name] for name in comparison.workloads], float),
    )


class EdgeShares(NamedTuple):
    """Shares of the studies whose pick lies within 5 % of an end of a range.

    A range that is often picked at an end may be too narrow.

    ranges: (optimizer, name) of each range.
    workloads: names of the workloads.
    budget: budget of the studies.
    low: shares at the lower end.
    high: shares at the upper end.
    """

    ranges: tuple[tuple[str, str], ...]
    workloads: tuple[str, ...]
    budget: int
    low: Float64[np.ndarray, "ranges workloads"]
    high: Float64[np.ndarray, "ranges workloads"]

    @property
    def flags(self) -> list[tuple[str, str, str, float]]:
        """(optimizer, name, "lower" or "upper", share) of ends with a quarter of all picks."""
        return [
            (*own, end, float(row.mean()))
            for end, table in (("lower", self.low), ("upper", self.high))
            for own, row in zip(self.ranges, table, strict=True)
            if row.mean() >= OFTEN
        ]


def edge_shares(comparison: Comparison, studies: TuningStudies) -> EdgeShares:
    """How often ``studies``, drawn from ``comparison``, pick a value at an end of its range."""
    ranges, low, high = [], [], []
    for i, optimizer in enumerate(comparison.optimizers):
        places = comparison.points[optimizer][studies.picks[:, i]]  # [studies, workloads, ranges]
        for k, name in enumerate(comparison.numbers[optimizer]):
            ranges.append((optimizer, name))
            low.append((places[..., k] < EDGE).mean(0))
            high.append((places[..., k] > 1 - EDGE).mean(0))
    return EdgeShares(
        tuple(ranges), comparison.workloads, studies.budget, np.array(low), np.array(high)
    )


def _rng(seed: int, *names: str) -> np.random.Generator:
    return np.random.default_rng([seed, *(zlib.crc32(name.encode()) for name in names)])
