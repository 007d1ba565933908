"""Where the error of a regression comes from, as stacked bars."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from jaxopt_course.diagnostics import BiasVarianceReport

from ._style import BAR, COLORS, finish, new_figure


PARTS = {  # label, colour, hatch
    "bias_squared": ("bias squared", COLORS[0], ""),
    "variance": ("variance", COLORS[1], "///"),
    "noise": ("noise", "0.88", "..."),
}


def bias_variance_bars(
    reports: BiasVarianceReport | Mapping[str, BiasVarianceReport], *, title: str | None = None
) -> Figure:
    """Squared bias, variance and noise one above the other, and the error that they add up to.

    Args:
        reports: one of :func:`~jaxopt_course.diagnostics.bias_variance`, or name -> report, of
            models of rising capacity, say.
        title: over the figure.

    Returns:
        A figure; the bars of the error are one standard error long on each side.

    Raises:
        ValueError: if there is no report.

    Examples:
        >>> from jaxopt_course.diagnostics import BiasVarianceReport
        >>> report = BiasVarianceReport(3.0, 1.0, 2.0, 0.0, {"error": 0.5}, 10)
        >>> [float(bar.get_height()) for bar in bias_variance_bars(report).axes[0].patches]
        [1.0, 2.0, 0.0]
    """
    named = {"": reports} if isinstance(reports, BiasVarianceReport) else dict(reports)
    if not named:
        raise ValueError("bias_variance_bars: `reports` must hold at least one report, got none.")
    figure = new_figure(3.2 + 0.8 * len(named), 3.6, title)
    axes = figure.add_subplot()
    places, foot = np.arange(len(named)), np.zeros(len(named))
    for part, (label, color, hatch) in PARTS.items():
        heights = np.array([getattr(report, part) for report in named.values()])
        fill: dict[str, Any] = {"color": color, "hatch": hatch, "label": label}
        axes.bar(places, heights, 0.6, foot, **fill, **BAR)
        foot = foot + heights
    errors = [report.error for report in named.values()]
    spread = [report.standard_errors["error"] for report in named.values()]
    axes.errorbar(places, errors, spread, fmt="ko", capsize=4, mfc="w", label="error")
    axes.set_xticks(places, list(named))
    axes.set_ylabel("squared error (target's unit squared)")
    axes.set_xlim(-0.6, len(named) - 0.4)
    finish(axes, legend=False)
    figure.legend(loc="outside right upper", frameon=False)
    return figure
