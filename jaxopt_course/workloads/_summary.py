"""Everything that is said of a comparison: for a terminal, for a page, for a program."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ._comparison import Comparison, costs_of
from ._edges import EdgeShares, edge_shares
from ._pairs import PairwiseDifferences, pairwise_differences
from ._profiles import PerformanceProfiles, performance_profiles
from ._studies import CLOCKS, SETTINGS, tuning_studies
from ._tables import markdown, terminal
from ._tuning import TuningCurves, tuning_curves


BUDGETS = (1, 5, 20, 100)

View = tuple[str, str]  # clock and setting


class Summary(NamedTuple):
    """The results of a comparison; ``print`` it.

    contenders: their names.
    workloads: their names.
    budgets: of tuning, in trials; profiles, pairs and edges are of the largest.
    tuning: :class:`TuningCurves` by (clock, setting).
    profiles: :class:`PerformanceProfiles` by (clock, setting).
    pairs: :class:`PairwiseDifferences` by (clock, setting).
    edges: :class:`EdgeShares`.
    best: {(contender, workload): {name of a range: value}}: the best of all trials by all seeds of
        the base variant.
    """

    contenders: tuple[str, ...]
    workloads: tuple[str, ...]
    budgets: tuple[int, ...]
    tuning: Mapping[View, TuningCurves]
    profiles: Mapping[View, PerformanceProfiles]
    pairs: Mapping[View, PairwiseDifferences]
    edges: EdgeShares
    best: Mapping[tuple[str, str], Mapping[str, Any]]

    def __str__(self) -> str:
        return terminal(self)

    def markdown(self) -> str:
        """All tables, in Markdown."""
        return markdown(self)

    def as_json(self) -> dict[str, Any]:
        """Everything as JSON can write it, with null for infinity; :meth:`from_json` reads it."""
        by_view = lambda tables: {"/".join(view): _plain(x) for view, x in tables.items()}
        return {
            "contenders": list(self.contenders),
            "workloads": list(self.workloads),
            "budgets": list(self.budgets),
            "tuning": by_view(self.tuning),
            "profiles": by_view(self.profiles),
            "pairs": by_view(self.pairs),
            "edges": _plain(self.edges),
            "best": {
                own: {on: _plain(dict(self.best[own, on])) for on in self.workloads}
                for own in self.contenders
            },
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "Summary":
        """The summary that :meth:`as_json` returned."""
        views = {
            name: {_view(view): _table(kind, table) for view, table in stored[name].items()}
            for name, kind in (
                ("tuning", TuningCurves),
                ("profiles", PerformanceProfiles),
                ("pairs", PairwiseDifferences),
            )
        }
        return cls(
            contenders=tuple(stored["contenders"]),
            workloads=tuple(stored["workloads"]),
            budgets=tuple(stored["budgets"]),
            edges=_table(EdgeShares, stored["edges"]),
            best={
                (own, on): numbers
                for own, workloads in stored["best"].items()
                for on, numbers in workloads.items()
            },
            **views,
        )


def summarize(
    comparison: Comparison,
    *,
    budgets: Sequence[int] = BUDGETS,
    studies: int = 1000,
    seed: int = 0,
) -> Summary:
    """Draw tuning studies of each budget, and judge them by steps and seconds, in both settings.

    Args:
        comparison: of :func:`compare`.
        budgets: of tuning, in trials; those above the number of trials are left out, and 1 is the
            defaults.
        studies: how many are drawn, in [1, inf).
        seed: of the draws.

    Returns:
        The summary; ``print`` it.
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
        contenders=comparison.contenders,
        workloads=comparison.workloads,
        budgets=used,
        tuning=of(tuning_curves, drawn),
        profiles=of(performance_profiles, drawn[-1]),
        pairs=of(pairwise_differences, drawn[-1]),
        edges=edge_shares(comparison, drawn[-1]),
        best=best,
    )


def best_trials(comparison: Comparison) -> dict[tuple[str, str], int]:
    """The trial of the least mean rank over the seeds of the base variant, defaults included."""
    return {
        (own, on): int(
            costs_of(comparison.trials[own, on, "base"], comparison.targets[on, "base"])
            .ranks.mean(1)
            .argmin()
        )
        for own in comparison.contenders
        for on in comparison.workloads
    }


def _plain(value: Any) -> Any:
    """As JSON has it: lists and numbers; what is no finite number is None."""
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [_plain(x) for x in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _view(joined: str) -> View:
    clock, setting = joined.split("/")
    return clock, setting


def _table(kind: Any, stored: Mapping[str, Any]) -> Any:
    """A NamedTuple of arrays, names and numbers from what :func:`_plain` made of it."""

    def field(name: str, value: Any) -> Any:
        if not isinstance(value, list):
            return value
        if name in ("contenders", "workloads", "budgets", "ranges"):
            return tuple(tuple(x) if isinstance(x, list) else x for x in value)
        array = np.array(value, float)  # None becomes NaN
        return np.where(np.isnan(array), np.inf, array)  # the only numbers that JSON lacks here

    return kind(**{name: field(name, stored[name]) for name in kind._fields})
