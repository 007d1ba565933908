"""The loss that each learning rate leads to."""

import numpy as np
from matplotlib.figure import Figure

from jaxopt_course.diagnostics import LearningRateRangeReport

from ._style import BEST, COLORS, finish, mark_failed, new_figure, of_wide_range


def learning_rate_curve(report: LearningRateRangeReport, *, title: str | None = None) -> Figure:
    """Loss against learning rate, with the best rate starred and the usable ones shaded.

    Args:
        report: of :func:`~jaxopt_course.diagnostics.learning_rate_range`.
        title: over the figure.

    Returns:
        A figure. Rates whose training diverged are crosses at the upper edge.

    Examples:
        >>> from jaxopt_course.diagnostics import LearningRateRangeReport
        >>> rates, losses = np.array([0.1, 1.0, 10.0]), np.array([2.0, 0.5, np.nan])
        >>> figure = learning_rate_curve(LearningRateRangeReport(rates, losses, 2.3))
        >>> [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
        ['usable: 1 to 1', 'at the end', 'at the start', 'lowest: 0.5 at 1', 'diverged']
    """
    figure = new_figure(5.6, 3.6, title)
    axes = figure.add_subplot()
    rates, losses = np.asarray(report.rates), np.asarray(report.losses)
    ended = np.isfinite(losses)
    if ended.any():
        low, high = report.usable
        if np.isfinite(low):
            axes.axvspan(low, high, color="0.88", label=f"usable: {low:.2g} to {high:.2g}")
        axes.plot(rates[ended], losses[ended], "o-", color=COLORS[0], ms=4, label="at the end")
    axes.axhline(report.start, color=COLORS[1], linestyle="--", label="at the start")
    if ended.any():
        lowest = f"lowest: {np.nanmin(losses):.3g} at {report.suggested:.2g}"
        axes.plot(report.suggested, np.nanmin(losses), **{**BEST, "markersize": 13}, label=lowest)
    if not ended.all():
        mark_failed(axes, rates[~ended], label="diverged")
    if of_wide_range(np.append(losses, report.start)):
        axes.set_yscale("log")
    axes.set(xscale="log", xlabel="learning rate", ylabel="training loss")
    finish(axes)
    return figure
