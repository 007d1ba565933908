"""What optimizers cost by the budget that their numbers were tuned with: in all, and on each."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxopt_course.workloads import TuningCurves

from ._contenders import legend_below, small_multiples, view_label
from ._style import finish, line_style, log_y, new_figure


def tuning_budget_curves(curves: TuningCurves, *, title: str | None = None) -> Figure:
    """Mean cost and share of targets reached, over budgets; bars hold 95 % of the studies.

    Args:
        curves: of :func:`~jaxopt_course.workloads.tuning_curves`.
        title: over the figure.
    """
    figure = new_figure(9.0, 4.6, title)
    left, right = figure.subplots(1, 2)
    for i, name in enumerate(curves.contenders):
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
        axes.set_xlabel(f"trials\n({view_label(curves.clock, curves.setting)})")
        finish(axes, legend=False)
    legend_below(figure, right)
    return figure


def tuning_budget_page(curves: TuningCurves, *, title: str | None = None) -> Figure:
    """A panel a workload: median cost over budgets, without a mark where it is never reached.

    Args:
        curves: of :func:`~jaxopt_course.workloads.tuning_curves`.
        title: over the figure.
    """
    figure = new_figure(9.0, 6.0, title)
    panels = small_multiples(figure, curves.workloads, "trials")
    for j, axes in enumerate(panels):
        for i, name in enumerate(curves.contenders):
            values = np.where(np.isfinite(curves.each[:, i, j]), curves.each[:, i, j], np.nan)
            axes.plot(_places(curves, i), values, label=name, **line_style(i))
        log_y(axes)
        _budgets(axes, curves)
        finish(axes, legend=False)
    label = view_label(curves.clock, curves.setting)
    figure.supylabel(f"median cost to the target ({label})", fontsize="medium")
    legend_below(figure, panels[0])
    return figure


def _places(curves: TuningCurves, number: int) -> np.ndarray:
    """Budgets, a little apart from those of the other contenders."""
    shift = 0.03 * (number - (len(curves.contenders) - 1) / 2)
    return np.arange(len(curves.budgets)) + shift


def _budgets(axes: Axes, curves: TuningCurves) -> None:
    labels = ["defaults" if budget == 1 else str(budget) for budget in curves.budgets]
    axes.set_xticks(range(len(labels)), labels)
    axes.set_xlim(-0.4, len(labels) - 0.6)
