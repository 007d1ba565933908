"""The tables of a comparison as text."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from jaxopt_course.core import checks

from ._pairs import PairwiseDifferences, ratio_of
from ._tuning import TuningCurves


CLOCK = {"steps": "steps, in lengths of a training", "seconds": "seconds"}
SETTING = {"fresh_seed": "with another seed", "held_out": "on the held-out variants"}


def terminal(summary: Any) -> str:
    """A line for each contender, the cheapest first."""
    view = ("steps", "fresh_seed")
    steps, held_out = summary.tuning[view], summary.tuning["steps", "held_out"]
    seconds = summary.tuning["seconds", "fresh_seed"]
    budget = summary.budgets[-1]
    head = [
        "contender",
        "reached",
        f"steps, {checks.counted(budget, 'trial')}",
        "held out",
        "seconds",
        "untuned",
    ]
    rows = [
        [
            summary.contenders[i],
            f"{steps.reached[-1, i]:.0%}",
            _cost(steps, -1, i),
            _cost(held_out, -1, i),
            _cost(seconds, -1, i),
            _cost(steps, 0, i),
        ]
        for i in np.argsort(steps.costs[-1], kind="stable").tolist()
    ]
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = [
        "  ".join(x.ljust(w) for x, w in zip(row, widths, strict=True)) for row in (head, *rows)
    ]
    return "\n".join(line.rstrip() for line in lines) + (
        f"\ncost to the target over {checks.counted(len(summary.workloads), 'workload')} "
        "(geometric mean; steps in "
        "lengths of a training,\nnever = 2) with the middle 95 % of tuning studies"
    )


def markdown(summary: Any) -> str:
    """All tables."""
    budget = summary.budgets[-1]
    parts = []
    for (clock, setting), curves in summary.tuning.items():
        parts += [
            f"## Cost to the target in {CLOCK[clock]}, {SETTING[setting]}",
            "Geometric mean over workloads with the middle 95 % of tuning studies, and the share "
            "of targets reached, by the number of trials; 1 is the defaults. A target that is "
            "never reached counts as two of the longest trainings.",
            _tuning(curves),
            f"Median cost on each workload after {checks.counted(budget, 'trial')}:",
            _each(curves),
            f"Row over column after {checks.counted(budget, 'trial')}: ratio of costs, median over "
            "workloads, with "
            "the middle 95 % of studies; and the share of workloads on which the row is cheaper. "
            "Bold: the interval leaves 1 out.",
            _pairs(summary.pairs[clock, setting]),
        ]
        profile = summary.profiles[clock, setting]
        factors = (1.0, 2.0, 4.0)
        at = [int(np.argmin(np.abs(profile.factors - factor))) for factor in factors]
        parts += [
            "Share of workloads on which a contender is within a factor of the cheapest:",
            _table(
                ["contender", *(f"{factor:g}" for factor in factors)],
                (
                    [name, *(f"{profile.shares[i, j]:.2f}" for j in at)]
                    for i, name in enumerate(profile.contenders)
                ),
            ),
        ]
    parts += ["## Picks at the edge of a range", *_edges(summary)]
    return "\n\n".join(parts) + "\n"


def _tuning(curves: TuningCurves) -> str:
    cell = lambda b, i: f"{_cost(curves, b, i)}, {curves.reached[b, i]:.0%}"
    return _table(
        ["contender", *map(str, curves.budgets)],
        (
            [name, *(cell(b, i) for b in range(len(curves.budgets)))]
            for i, name in enumerate(curves.contenders)
        ),
    )


def _each(curves: TuningCurves) -> str:
    said = lambda x: f"{x:.3g}" if np.isfinite(x) else "never"
    return _table(
        ["contender", *curves.workloads],
        (
            [name, *(said(x) for x in curves.each[-1, i])]
            for i, name in enumerate(curves.contenders)
        ),
    )


def _pairs(pairs: PairwiseDifferences) -> str:
    def cell(a: int, b: int) -> str:
        if a == b:
            return ""
        mark = "**" if pairs.differ[a, b] else ""
        return f"{mark}{ratio_of(pairs, a, b)}{mark}; {pairs.wins[a, b]:.0%}"

    numbers = range(len(pairs.contenders))
    return _table(
        ["", *pairs.contenders],
        ([name, *(cell(a, b) for b in numbers)] for a, name in enumerate(pairs.contenders)),
    )


def _edges(summary: Any) -> list[str]:
    flags = summary.edges.flags
    if not flags:
        return ["No range has a quarter of its picks within 5 % of an end."]
    rows = ([own, name, end, f"{share:.0%}"] for own, name, end, share in flags)
    return [
        f"Ranges with a quarter of their picks, after "
        f"{checks.counted(summary.edges.budget, 'trial')}, within 5 % of "
        "an end: what lies beyond may be better.",
        _table(["contender", "range", "end", "share of picks"], rows),
    ]


def _cost(curves: TuningCurves, budget: int, i: int) -> str:
    cost, low, high = (x[budget, i] for x in (curves.costs, curves.low, curves.high))
    return f"{cost:.2g} [{low:.2g}, {high:.2g}]"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    line = lambda cells: "| " + " | ".join(cells) + " |"
    return "\n".join([line(head), line(["---"] * len(head)), *map(line, rows)])
