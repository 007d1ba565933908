"""Figures of comparisons of optimizers."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from jaxopt_course.core import checks
from jaxopt_course.workloads import (
    Comparison,
    PairwiseDifferences,
    PerformanceProfiles,
    Summary,
    TuningCurves,
    best_trials,
)

from ._style import (
    finish,
    line_style,
    log_y,
    mark_failed,
    new_figure,
    of_wide_range,
    one_panel,
    panels,
)


WIDEST = np.log(4.0)  # the end of the colour scale: a factor of four


def comparison_figures(comparison: Comparison | None, summary: Summary) -> dict[str, Figure]:
    """All figures of a report, by the names of their files.

    A table of pairs is left out if no pair differs, for example because no target is reached.

    Args:
        comparison: result of :func:`~jaxopt_course.workloads.compare`. None: the figure of the
            learning curves, the only one that needs it, is left out.
        summary: result of :func:`~jaxopt_course.workloads.summarize`.
    """
    figures: dict[str, Figure] = {}
    if comparison is not None:
        figures["curves"] = workload_curves(comparison, title="Best configurations")
    for clock, setting in summary.tuning:
        view = f"{clock}_{setting}"
        figures |= {
            f"tuning_{view}": tuning_budget_curves(summary.tuning[clock, setting]),
            f"profiles_{view}": performance_profile_curves(summary.profiles[clock, setting]),
        }
        if not summary.pairs[clock, setting].all_equal:
            figures[f"pairs_{view}"] = pairwise_matrix(summary.pairs[clock, setting])
    figures["tuning_each"] = tuning_budget_page(summary.tuning["steps", "fresh_seed"])
    return figures


def workload_curves(comparison: Comparison, *, title: str | None = None) -> Figure:
    """Draw the validation loss of the best trial of each optimizer, in one panel per workload.

    A curve is the median over the seeds of the base variant. A line marks the target, and a star
    the evaluation that reaches it.

    Args:
        comparison: result of :func:`~jaxopt_course.workloads.compare`.
        title: title of the figure.
    """
    best, names = best_trials(comparison), comparison.workloads
    figure, grid = _small_multiples(names, "steps", title)
    for axes, workload in zip(grid, names, strict=True):
        target, drawn = comparison.targets[workload, "base"], []
        for i, optimizer in enumerate(comparison.optimizers):
            trials = comparison.trials[optimizer, workload, "base"]
            curve = np.median(trials.values[best[optimizer, workload]], 0)
            style = {**line_style(i), "marker": None, "linewidth": 1.1}
            axes.plot(trials.costs, curve, label=optimizer, **style)
            at = np.flatnonzero(curve <= target)[:1]
            axes.plot(trials.costs[at], curve[at], "*", color=style["color"], markersize=7)
            drawn.append(curve)
        axes.axhline(target, color="k", linewidth=0.8, linestyle=(0, (1, 1)))
        if of_wide_range(np.concatenate(drawn)):
            log_y(axes)
        finish(axes, legend=False)
    figure.supylabel("validation loss", fontsize="medium")
    _legend_below(figure, grid[0])
    return figure


def tuning_budget_curves(curves: TuningCurves, *, title: str | None = None) -> Figure:
    """Draw mean cost and share of targets reached over budgets; bars hold 95 % of the studies.

    Args:
        curves: result of :func:`~jaxopt_course.workloads.tuning_curves`.
        title: title of the figure.
    """
    figure = new_figure(9.0, 4.6, title)
    left, right = figure.subplots(1, 2)
    for i, name in enumerate(curves.optimizers):
        style, x = line_style(i), _places(curves, i)
        bars = np.abs(np.stack([curves.low[:, i], curves.high[:, i]]) - curves.costs[:, i])
        left.errorbar(x, curves.costs[:, i], bars, label=name, elinewidth=0.6, **style)
        right.plot(x, curves.reached[:, i], label=name, **style)
    unit = "lengths of a training" if curves.clock == "steps" else "seconds"
    log_y(left)
    left.set_ylabel(f"cost to the target, {unit}")
    right.set(ylim=(-0.02, 1.02), ylabel="share of targets reached")
    for axes in (left, right):
        _budgets(axes, curves)
        axes.set_xlabel(f"trials\n({_view(curves.clock, curves.setting)})")
        finish(axes, legend=False)
    _legend_below(figure, right)
    return figure


def tuning_budget_page(curves: TuningCurves, *, title: str | None = None) -> Figure:
    """Draw the median cost over budgets, in one panel per workload.

    A cross on the upper edge marks a budget at which most studies never reach the target.

    Args:
        curves: result of :func:`~jaxopt_course.workloads.tuning_curves`.
        title: title of the figure.
    """
    figure, grid = _small_multiples(curves.workloads, "trials", title)
    for j, axes in enumerate(grid):
        for i, name in enumerate(curves.optimizers):
            x, values, style = _places(curves, i), curves.each[:, i, j], line_style(i)
            reached = np.isfinite(values)
            axes.plot(x, np.where(reached, values, np.nan), label=name, **style)
            mark_failed(axes, x[~reached], color=style["color"])
        if np.isfinite(curves.each[:, :, j]).any():
            log_y(axes)
        else:
            axes.set_yticks([])
            place: Any = {"transform": axes.transAxes, "ha": "center", "va": "center"}
            axes.text(0.5, 0.5, "no optimizer reaches it", fontsize=8, **place)
        _budgets(axes, curves)
        finish(axes, legend=False)
    label = f"median cost to the target\n({_view(curves.clock, curves.setting)})"
    figure.supylabel(label, fontsize="medium")
    crosses = not np.isfinite(curves.each).all()
    _legend_below(figure, grid[0], "x: most studies never reach the target" if crosses else None)
    return figure


def performance_profile_curves(
    profiles: PerformanceProfiles, *, title: str | None = None
) -> Figure:
    """Draw the share of workloads within a factor of the cheapest, with bands over studies.

    A curve that is high on the left is fast; one that is high on the right is reliable.

    Args:
        profiles: result of :func:`~jaxopt_course.workloads.performance_profiles`.
        title: title of the figure.
    """
    figure, axes = one_panel(6.4, 4.6, title)
    factors, every = profiles.factors, max(len(profiles.factors) // 8, 1)
    for i, name in enumerate(profiles.optimizers):
        style, low, high = line_style(i), profiles.low[i], profiles.high[i]
        axes.plot(factors, profiles.shares[i], label=name, markevery=(i % every, every), **style)
        axes.fill_between(factors, low, high, color=style["color"], alpha=0.07)
    axes.set(xscale="log", ylim=(-0.02, 1.02), ylabel="share of workloads")
    axes.set_xlabel(
        f"cost to the target over that of the cheapest\n"
        f"({_view(profiles.clock, profiles.setting)}; {_tuned(profiles.budget)})"
    )
    axes.set_xticks([1, 2, 4, 8, 16])
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.minorticks_off()
    finish(axes, legend=False)
    _legend_below(figure, axes)
    return figure


def pairwise_matrix(pairs: PairwiseDifferences, *, title: str | None = None) -> Figure:
    """Draw a table of cost ratios of all pairs, with intervals.

    A cell is dark where the ratio is far from 1, and bold in a frame where the interval excludes 1.

    Args:
        pairs: result of :func:`~jaxopt_course.workloads.pairwise_differences`.
        title: title of the figure.
    """
    n = len(pairs.optimizers)
    figure, axes = one_panel(max(1.2 + 0.98 * n, 6.6), 1.4 + 0.72 * n, title)
    off = ~np.eye(n, dtype=bool)
    shown = np.where(off, np.clip(pairs.log_ratios, -WIDEST, WIDEST), np.nan)
    axes.imshow(shown, cmap="PuOr", norm=TwoSlopeNorm(0.0, -WIDEST, WIDEST), aspect="auto")
    frame_x, frame_y = 0.46 * np.array([-1, 1, 1, -1, -1]), 0.44 * np.array([-1, -1, 1, 1, -1])
    for a, b in np.argwhere(off).tolist():
        color = "w" if abs(shown[a, b]) > 0.62 * WIDEST else "k"
        text = pairs.ratio(a, b).replace(" [", "\n[")
        weight = "bold" if pairs.differ[a, b] else "normal"
        axes.text(b, a, text, ha="center", va="center", fontsize=8, color=color, weight=weight)
        if pairs.differ[a, b]:
            axes.plot(b + frame_x, a + frame_y, color=color, linewidth=0.8)
    axes.set_xticks(range(n), pairs.optimizers, rotation=30, ha="left")
    axes.set_yticks(range(n), pairs.optimizers)
    axes.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
    axes.set(xlim=(-0.5, n - 0.5), ylim=(n - 0.5, -0.5))
    axes.spines[:].set_visible(False)
    axes.set_xlabel(
        f"cost of the row over cost of the column, median over workloads\n"
        f"({_view(pairs.clock, pairs.setting)}; {_tuned(pairs.budget)}; "
        "95 % of studies)"
    )
    return figure


def _places(curves: TuningCurves, number: int) -> np.ndarray:
    """Places of the budgets, shifted a little for each optimizer."""
    shift = 0.03 * (number - (len(curves.optimizers) - 1) / 2)
    return np.arange(len(curves.budgets)) + shift


def _budgets(axes: Axes, curves: TuningCurves) -> None:
    labels = ["defaults" if budget == 1 else str(budget) for budget in curves.budgets]
    axes.set_xticks(range(len(labels)), labels)
    axes.set_xlim(-0.4, len(labels) - 0.6)


def _view(clock: str, setting: str) -> str:
    return f"{clock}, {'held-out variants' if setting == 'held_out' else 'fresh seeds'}"


def _tuned(budget: int) -> str:
    return f"tuned with {checks.counted(budget, 'trial')}"


def _legend_below(figure: Figure, axes: Axes, note: str | None = None) -> None:
    """A legend of the lines of ``axes``, below all panels, under the title ``note``."""
    handles, labels = axes.get_legend_handles_labels()
    inches = 0.6 + 0.08 * np.mean([len(label) for label in labels])  # of a column, about
    columns = max(1, min(len(labels), 5, int(figure.get_figwidth() / inches)))
    place: Any = {"loc": "outside lower center", "ncols": columns, "frameon": False}
    figure.legend(handles, labels, title=note, **place)


def _small_multiples(
    names: tuple[str, ...], x_label: str, title: str | None
) -> tuple[Figure, list[Axes]]:
    """A figure with one panel for each name, four in a row."""
    across = min(4, len(names))
    width = max(2.7 * across + 0.6, 4.6)  # wide enough for the legend
    figure = new_figure(width, 2.2 * -(-len(names) // across) + 1.0, title)
    found = panels(figure, len(names), across)
    for number, (axes, name) in enumerate(zip(found, names, strict=True)):
        axes.set_title(name, fontsize="medium")
        if number + across >= len(names):
            axes.set_xlabel(x_label)
    return figure, found
