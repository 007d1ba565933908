"""The results of a comparison as text for a terminal, as Markdown, and as JSON."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxopt_course.core import checks, plain, text_table

from ._analysis import (
    PairwiseDifferences,
    PerformanceProfiles,
    TuningCurves,
    pairwise_differences,
    performance_profiles,
    tuning_curves,
)
from ._comparison import Comparison, costs_of
from ._studies import CLOCKS, SETTINGS, EdgeShares, edge_shares, tuning_studies


BUDGETS = (1, 5, 20, 100)
CLOCK = {"steps": "steps, in lengths of a training", "seconds": "seconds"}
SETTING = {"fresh_seed": "with another seed", "held_out": "on the held-out variants"}
NO_PAIRS = "No pair of optimizers differs: every ratio and its interval are 1."

VIEWED = {"tuning": TuningCurves, "profiles": PerformanceProfiles, "pairs": PairwiseDifferences}

View = tuple[str, str]  # clock and setting


class Summary(NamedTuple):
    """The results of a comparison; ``print`` it.

    optimizers: names of the optimizers.
    workloads: names of the workloads.
    budgets: budgets of tuning, in trials; profiles, pairs and edges are of the largest.
    tuning: :class:`TuningCurves` by (clock, setting).
    profiles: :class:`PerformanceProfiles` by (clock, setting).
    pairs: :class:`PairwiseDifferences` by (clock, setting).
    edges: :class:`EdgeShares`.
    best: {(optimizer, workload): {hyperparameter: value}}, the trial that is best over all seeds
        of the base variant.
    """

    optimizers: tuple[str, ...]
    workloads: tuple[str, ...]
    budgets: tuple[int, ...]
    tuning: Mapping[View, TuningCurves]
    profiles: Mapping[View, PerformanceProfiles]
    pairs: Mapping[View, PairwiseDifferences]
    edges: EdgeShares
    best: Mapping[tuple[str, str], Mapping[str, Any]]

    def __str__(self) -> str:
        steps, held_out = self.tuning["steps", "fresh_seed"], self.tuning["steps", "held_out"]
        seconds, trials = self.tuning["seconds", "fresh_seed"], _trials(self.budgets[-1])
        head = ["optimizer", "reached", f"steps, {trials}", "held out", "seconds", "untuned"]
        rows = []
        for i in np.argsort(steps.costs[-1], kind="stable").tolist():
            costs = (_cost(steps, -1, i), _cost(held_out, -1, i), _cost(seconds, -1, i))
            reached = f"{steps.reached[-1, i]:.0%}"
            rows.append([self.optimizers[i], reached, *costs, _cost(steps, 0, i)])
        return text_table(head, rows) + (
            "\nCost to the target: geometric mean over "
            f"{checks.counted(len(self.workloads), 'workload')}, with the middle 95 % of tuning "
            "studies.\nSteps are in lengths of a training; a target that is never reached counts "
            f"as 2.{_never(self.optimizers, steps.reached[-1])}"
        )

    def markdown(self) -> str:
        """All tables, in Markdown."""
        parts = []
        trials = _trials(self.budgets[-1])
        for (clock, setting), curves in self.tuning.items():
            parts += [
                f"## Cost to the target in {CLOCK[clock]}, {SETTING[setting]}",
                "Geometric mean over workloads with the middle 95 % of tuning studies, and share "
                "of targets reached, by number of trials. 1 trial stands for the defaults. A "
                "target that is never reached counts as two of the longest trainings.",
                _tuning(curves),
                f"Median cost on each workload after {trials}:",
                _each(curves),
                f"Cost of the row over cost of the column after {trials}: median over workloads, "
                "with the middle 95 % of studies; and share of workloads on which the row is "
                "cheaper. Bold: the interval excludes 1.",
                _pairs(self.pairs[clock, setting]),
                "Share of workloads on which an optimizer is within a factor of the cheapest:",
                _profiles(self.profiles[clock, setting]),
            ]
        return "\n\n".join([*parts, "## Picks at the edge of a range", *_edges(self.edges)]) + "\n"

    def as_json(self) -> dict[str, Any]:
        """Everything as JSON can write it, with null for infinity; :meth:`from_json` reads it."""
        tables = {
            name: {"/".join(view): table for view, table in getattr(self, name).items()}
            for name in VIEWED
        }
        best = {own: {on: self.best[own, on] for on in self.workloads} for own in self.optimizers}
        return dict(plain({**self._asdict(), **tables, "best": best}))

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "Summary":
        """The summary that :meth:`as_json` returned."""
        views: dict[str, Any] = {
            name: {tuple(view.split("/")): _table_of(kind, x) for view, x in stored[name].items()}
            for name, kind in VIEWED.items()
        }
        best = {
            (own, on): numbers
            for own, workloads in stored["best"].items()
            for on, numbers in workloads.items()
        }
        names: dict[str, Any] = {name: tuple(stored[name]) for name in cls._fields[:3]}
        return cls(**names, **views, edges=_table_of(EdgeShares, stored["edges"]), best=best)


def summarize(
    comparison: Comparison,
    *,
    budgets: Sequence[int] = BUDGETS,
    studies: int = 1000,
    seed: int = 0,
) -> Summary:
    """Draw tuning studies of each budget, and compare them by steps and seconds in both settings.

    Args:
        comparison: result of :func:`compare`.
        budgets: budgets of tuning, in trials. Those above the number of trials are left out; 1
            takes the defaults.
        studies: number of studies for each budget, in [1, inf).
        seed: seed of the draws.
    """
    trials = len(next(iter(comparison.trials.values())).values) - 1
    used = tuple(b for b in sorted(set(budgets)) if b <= trials)
    drawn = [tuning_studies(comparison, b, studies=studies, seed=seed) for b in used]
    views = [(clock, setting) for clock in CLOCKS for setting in SETTINGS]
    of = lambda function, what: {(c, s): function(what, clock=c, setting=s) for c, s in views}
    best = {
        (own, on): {name: x[trial] for name, x in comparison.numbers[own].items()}
        for (own, on), trial in best_trials(comparison).items()
    }
    return Summary(
        optimizers=comparison.optimizers,
        workloads=comparison.workloads,
        budgets=used,
        tuning=of(tuning_curves, drawn),
        profiles=of(performance_profiles, drawn[-1]),
        pairs=of(pairwise_differences, drawn[-1]),
        edges=edge_shares(comparison, drawn[-1]),
        best=best,
    )


def best_trials(comparison: Comparison) -> dict[tuple[str, str], int]:
    """{(optimizer, workload): trial of the lowest mean rank over seeds of the base variant}."""
    return {
        (own, on): int(
            costs_of(comparison.trials[own, on, "base"], comparison.targets[on, "base"])
            .ranks.mean(1)
            .argmin()
        )
        for own in comparison.optimizers
        for on in comparison.workloads
    }


def _tuning(curves: TuningCurves) -> str:
    cell = lambda i, b: f"{_cost(curves, b, i)}, {curves.reached[b, i]:.0%}"
    return _grid(curves.optimizers, list(map(str, curves.budgets)), cell)


def _each(curves: TuningCurves) -> str:
    last = curves.each[-1]
    cell = lambda i, j: f"{last[i, j]:.3g}" if np.isfinite(last[i, j]) else "never"
    return _grid(curves.optimizers, curves.workloads, cell)


def _pairs(pairs: PairwiseDifferences) -> str:
    names = pairs.optimizers

    def cell(a: int, b: int) -> str:
        mark = "**" if pairs.differ[a, b] else ""
        return "" if a == b else f"{mark}{pairs.ratio(a, b)}{mark}; {pairs.wins[a, b]:.0%}"

    return NO_PAIRS if pairs.all_equal else _grid(names, names, cell, corner="")


def _profiles(profiles: PerformanceProfiles) -> str:
    factors = (1.0, 2.0, 4.0)
    at = [int(np.argmin(np.abs(profiles.factors - factor))) for factor in factors]
    cell = lambda i, j: f"{profiles.shares[i, at[j]]:.2f}"
    return _grid(profiles.optimizers, [f"{factor:g}" for factor in factors], cell)


def _edges(edges: EdgeShares) -> list[str]:
    if not edges.flags:
        return ["No range has a quarter of its picks within 5 % of an end."]
    rows = ([own, name, end, f"{share:.0%}"] for own, name, end, share in edges.flags)
    return [
        f"Ranges with at least a quarter of their picks within 5 % of an end, after "
        f"{_trials(edges.budget)}. Better values may lie beyond that end.",
        _table(["optimizer", "range", "end", "share of picks"], rows),
    ]


def _never(optimizers: Sequence[str], reached: np.ndarray) -> str:
    """A line on the optimizers that reach no target."""
    names = [name for name, share in zip(optimizers, reached, strict=True) if share == 0]
    return f"\nNo target is ever reached by {', '.join(names)}." if names else ""


def _trials(count: int) -> str:
    return checks.counted(count, "trial")


def _cost(curves: TuningCurves, budget: int, i: int) -> str:
    shown = lambda x: f"{x:.0f}" if x >= 99.5 else f"{x:.2g}"
    cost, low, high = (shown(x[budget, i]) for x in (curves.costs, curves.low, curves.high))
    return f"{cost} [{low}, {high}]"


def _grid(
    rows: Sequence[str],
    columns: Sequence[str],
    cell: Callable[[int, int], str],
    *,
    corner: str = "optimizer",
) -> str:
    """A Markdown table with ``cell(i, j)`` in row i and column j."""
    cells = ([row, *(cell(i, j) for j in range(len(columns)))] for i, row in enumerate(rows))
    return _table([corner, *columns], cells)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _table_of(kind: Any, stored: Mapping[str, Any]) -> Any:
    """The NamedTuple that JSON keeps as ``stored``."""

    def field(name: str, value: Any) -> Any:
        if not isinstance(value, list):
            return value
        if name in ("optimizers", "workloads", "budgets", "ranges"):
            return tuple(tuple(x) if isinstance(x, list) else x for x in value)
        array = np.array(value, float)  # None becomes NaN, and stood for infinity
        return np.where(np.isnan(array), np.inf, array)

    return kind(**{name: field(name, stored[name]) for name in kind._fields})
