"""Tuning curves: what a contender costs and reaches, by the budget its numbers were tuned with.

The cost over workloads is the geometric mean. A target that is never reached counts as twice the
longest whole training of that workload, of any contender.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from ._studies import TuningStudies, check_view, interval, never_counted


Curves = Float64[np.ndarray, "budgets contenders"]
Each = Float64[np.ndarray, "budgets contenders workloads"]


class TuningCurves(NamedTuple):
    """What contenders cost by budget, with the middle 95 % of studies.

    contenders: names, of the second axis.
    workloads: names, of the third axis where there is one.
    budgets: of the first axis; 1 is the defaults.
    clock: ``"steps"`` or ``"seconds"``.
    setting: ``"fresh_seed"`` or ``"held_out"``.
    costs: geometric mean over workloads, median over studies, f64[budgets, contenders]: of steps,
        in lengths of a training; or of seconds.
    low: 2.5 % of the studies lie below.
    high: 2.5 % of the studies lie above.
    reached: share of targets that were reached, mean over studies, f64[budgets, contenders].
    each: median of steps or seconds, f64[budgets, contenders, workloads]; infinite where most
        studies never reach the target.
    each_low: 2.5 % of the studies lie below.
    each_high: 2.5 % of the studies lie above.
    """

    contenders: tuple[str, ...]
    workloads: tuple[str, ...]
    budgets: tuple[int, ...]
    clock: str
    setting: str
    costs: Curves
    low: Curves
    high: Curves
    reached: Curves
    each: Each
    each_low: Each
    each_high: Each


def tuning_curves(
    studies: Sequence[TuningStudies], *, clock: str = "steps", setting: str = "fresh_seed"
) -> TuningCurves:
    """The curves over budgets.

    Args:
        studies: one for each budget, of the same comparison.
        clock: ``"steps"`` or ``"seconds"``.
        setting: ``"fresh_seed"``, or ``"held_out"`` for the held-out variants.
    """
    check_view("tuning_curves", clock, setting)
    if not studies:
        raise ValueError("tuning_curves: `studies` must be of at least one budget, got none.")
    rows: dict[str, list[np.ndarray]] = {name: [] for name in TuningCurves._fields[5:]}
    for own in studies:
        costs = own.costs(clock, setting)
        unit = own.lengths if clock == "steps" else 1.0
        counted = never_counted(costs, own.whole(clock, setting).max(0))
        means = np.exp(np.log(counted / unit).mean(2))
        rows["costs"].append(np.median(means, 0))
        rows["reached"].append(np.isfinite(costs).mean((0, 2)))
        for end, values in zip(("low", "high"), interval(means), strict=True):
            rows[end].append(values)
        ordered = np.sort(costs, 0)  # no interpolation: between a number and infinity is NaN
        for name, share in (("each", 0.5), ("each_low", 0.025), ("each_high", 0.975)):
            rows[name].append(ordered[int(share * (len(ordered) - 1))])
    return TuningCurves(
        studies[0].contenders,
        studies[0].workloads,
        tuple(own.budget for own in studies),
        clock,
        setting,
        **{name: np.array(values) for name, values in rows.items()},
    )
