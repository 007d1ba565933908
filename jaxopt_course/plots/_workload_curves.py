"""How the best configuration of each optimizer trains, a panel a workload; and all of a report."""

import numpy as np
from matplotlib.figure import Figure

from jaxopt_course.workloads import Comparison, Summary, best_trials

from ._contenders import legend_below, small_multiples
from ._pairwise_matrix import pairwise_matrix
from ._performance_profile_curves import performance_profile_curves
from ._style import finish, line_style, log_y, new_figure, of_wide_range
from ._tuning_budget_curves import tuning_budget_curves, tuning_budget_page


def workload_curves(comparison: Comparison, *, title: str | None = None) -> Figure:
    """The validation loss of the best trial of each contender, and the target as a line.

    The median over the seeds of the base variant. A star is where it reaches the target.

    Args:
        comparison: of :func:`~jaxopt_course.workloads.compare`.
        title: over the figure.
    """
    best, names = best_trials(comparison), comparison.workloads
    figure = new_figure(9.0, 6.0, title)
    panels = small_multiples(figure, names, "steps")
    for axes, workload in zip(panels, names, strict=True):
        target, drawn = comparison.targets[workload, "base"], []
        for i, contender in enumerate(comparison.contenders):
            trials = comparison.trials[contender, workload, "base"]
            curve = np.median(trials.values[best[contender, workload]], 0)
            style = {**line_style(i), "marker": None, "linewidth": 1.1}
            axes.plot(trials.costs, curve, label=contender, **style)
            reached = np.flatnonzero(curve <= target)[:1]
            axes.plot(
                trials.costs[reached], curve[reached], "*", color=style["color"], markersize=7
            )
            drawn.append(curve)
        axes.axhline(target, color="k", linewidth=0.8, linestyle=(0, (1, 1)))
        if of_wide_range(np.concatenate(drawn)):
            log_y(axes)
        finish(axes, legend=False)
    figure.supylabel("validation loss", fontsize="medium")
    legend_below(figure, panels[0])
    return figure


def comparison_figures(comparison: Comparison | None, summary: Summary) -> dict[str, Figure]:
    """All figures of a report, by the names of their files.

    Args:
        comparison: result of :func:`~jaxopt_course.workloads.compare`. None: the figure of the
            learning curves, which alone needs it, is left out.
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
            f"pairs_{view}": pairwise_matrix(summary.pairs[clock, setting]),
        }
    figures["tuning_each"] = tuning_budget_page(summary.tuning["steps", "fresh_seed"])
    return figures
