"""Tuning studies that could have been, drawn from the stored trials.

A study of budget b tries b configurations, drawn with replacement, keeps the one whose training
reached the target first (the best of them, where none did), and is judged by other trainings of
that configuration: with another seed, and on the held-out variant. Its luck is then that of a
person with this budget. The budget 1 is the defaults, which are not tuned.
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
NEVER = 2.0  # whole trainings: as solver competitions count what ran out of time

Costs = Float64[np.ndarray, "studies contenders workloads"]


class TuningStudies(NamedTuple):
    """What many studies of one budget picked, and what the picks then cost.

    contenders: names, of the second axis.
    workloads: names, of the third axis.
    budget: how many configurations a study tried.
    picks: the trial that a study kept, i[studies, contenders, workloads].
    steps: {setting: steps to the target, f64[studies, contenders, workloads]}; infinite: never.
    seconds_per_step: {setting: f64[contenders, workloads]}.
    lengths: steps of a training, f64[workloads].
    """

    contenders: tuple[str, ...]
    workloads: tuple[str, ...]
    budget: int
    picks: Int[np.ndarray, "studies contenders workloads"]
    steps: Mapping[str, Costs]
    seconds_per_step: Mapping[str, Float64[np.ndarray, "contenders workloads"]]
    lengths: Float64[np.ndarray, "workloads"]

    def costs(self, clock: str, setting: str) -> Costs:
        """To the target, by that clock; infinite where it was never reached."""
        steps = self.steps[setting]
        return steps if clock == "steps" else steps * self.seconds_per_step[setting]

    def whole(self, clock: str, setting: str) -> Float64[np.ndarray, "contenders workloads"]:
        """What whole trainings cost."""
        each = self.seconds_per_step[setting]
        return self.lengths * (np.ones_like(each) if clock == "steps" else each)


def tuning_studies(
    comparison: Comparison, budget: int, *, studies: int = 1000, seed: int = 0
) -> TuningStudies:
    """Draw studies of one budget, independently on each workload.

    What a contender draws depends on its name and on ``seed``, and not on who else is there. The
    seeds that a study picks and is scored by are common to all contenders.

    Args:
        comparison: of :func:`compare`.
        budget: configurations a study tries, in [1, trials]; 1 takes the defaults.
        studies: how many, in [1, inf).
        seed: of the draws.
    """
    some = next(iter(comparison.trials.values()))
    checks.integer("tuning_studies", "budget", budget, f"[1, {len(some.values) - 1}]")
    checks.integer("tuning_studies", "studies", studies, "[1, inf)")
    shape = (studies, len(comparison.contenders), len(comparison.workloads))
    picks, seconds = np.zeros(shape, int), {s: np.zeros(shape[1:]) for s in SETTINGS}
    steps = {setting: np.zeros(shape) for setting in SETTINGS}
    for j, workload in enumerate(comparison.workloads):
        for i, contender in enumerate(comparison.contenders):
            trials = [comparison.trials[contender, workload, variant] for variant in VARIANTS]
            targets = [comparison.targets[workload, variant] for variant in VARIANTS]
            base, held_out = map(costs_of, trials, targets)
            rng = _rng(seed, workload)  # of the seeds: the same for all contenders
            count, others = base.steps.shape[1], held_out.steps.shape[1]
            by = rng.integers(count, size=studies)
            fresh = (by + rng.integers(1, count, size=studies)) % count
            other = rng.integers(others, size=studies)
            if budget > 1:
                tried = _rng(seed, workload, contender, str(budget)).integers(
                    1, len(base.steps), (studies, budget)
                )
                best = base.ranks[tried, by[:, None]].argmin(1)
                picks[:, i, j] = tried[np.arange(studies), best]
            steps["fresh_seed"][:, i, j] = base.steps[picks[:, i, j], fresh]
            steps["held_out"][:, i, j] = held_out.steps[picks[:, i, j], other]
            for setting, own in zip(SETTINGS, trials, strict=True):
                seconds[setting][i, j] = own.seconds_per_step
    return TuningStudies(
        contenders=comparison.contenders,
        workloads=comparison.workloads,
        budget=budget,
        picks=picks,
        steps=steps,
        seconds_per_step=seconds,
        lengths=np.array([comparison.steps[name] for name in comparison.workloads], float),
    )


def check_view(owner: str, clock: str, setting: str) -> None:
    """Raise unless there are such a clock and such a setting."""
    checks.choice(owner, "clock", clock, CLOCKS)
    checks.choice(owner, "setting", setting, SETTINGS)


def never_counted(costs: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """``costs``; a target that was never reached counts as twice the ``whole`` training."""
    return np.where(np.isfinite(costs), costs, NEVER * whole)


def interval(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the middle 95 % of the studies lie, which are on the first axis."""
    low, high = np.quantile(values, (0.025, 0.975), axis=0)
    return np.asarray(low), np.asarray(high)


def _rng(seed: int, *names: str) -> np.random.Generator:
    return np.random.default_rng([seed, *(zlib.crc32(name.encode()) for name in names)])
