"""Gradients leaf by leaf, against what is healthy, and the sizes of the updates they lead to."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from jaxopt_course.diagnostics import GradientFlowReport

from ._style import BAR, COLORS, finish, new_figure, readable_path


HEALTHY = (1e-6, 1e3)  # the band outside of which `gradient_flow` flags a norm


def gradient_bars(report: GradientFlowReport, *, title: str | None = None) -> Figure:
    """The norm of the gradient of each leaf, and how large its update is beside the parameters.

    Args:
        report: of :func:`~jaxopt_course.diagnostics.gradient_flow`.
        title: over the figure.

    Returns:
        A figure with one bar a leaf, on a logarithmic scale: on the left the norms, the healthy
        band from 1e-6 to 1e3 shaded; on the right, where the report was given an optimizer, the
        ratios. What is 0 or not finite has no bar and says so.

    Raises:
        ValueError: if the report has no leaf.
    """
    if not report.leaves:
        raise ValueError("gradient_bars: `report` must have at least one leaf, got none.")
    names = [readable_path(path) for path in report.leaves]
    norms = np.array([leaf.gradient_norm for leaf in report.leaves.values()])
    ratios = np.array([leaf.update_ratio for leaf in report.leaves.values()])
    panels = 1 if np.isnan(ratios).all() else 2
    figure = new_figure(2.2 + 3.6 * panels, 1.5 + 0.28 * len(names), title)
    axes = figure.add_subplot(1, panels, 1)
    axes.axvspan(*HEALTHY, color="0.88", label="healthy: 1e-6 to 1e3")
    unfit = (norms > 0) & ((norms < HEALTHY[0]) | (norms > HEALTHY[1]))
    _bars(axes, names, norms, unfit, (HEALTHY[0] / 10, HEALTHY[1] * 10))
    axes.set_xlabel("norm of the gradient")
    figure.legend(loc="outside lower left", ncols=2, frameon=False)
    if panels == 2:
        axes = figure.add_subplot(1, 2, 2, sharey=axes)
        none = np.zeros(len(names), bool)
        _bars(axes, names, ratios, none, (1e-5, 1e-1), "parameters are 0")
        axes.set_xlabel("norm of the update / norm of the parameters")
        axes.tick_params(labelleft=False)
    return figure


def _bars(
    axes: Axes,
    names: list[str],
    values: np.ndarray,
    unfit: np.ndarray,
    span: tuple[float, float],
    infinite: str = "not finite",
) -> None:
    """Bars over a span, widened for what lies outside it; the first leaf on top."""
    places, drawn = np.arange(len(names)), np.isfinite(values) & (values > 0)
    low = min([span[0], *values[drawn] / 3])
    for chosen, label, color, hatch in (
        (drawn & ~unfit, None, COLORS[0], ""),
        (drawn & unfit, "outside it", COLORS[1], "///"),
    ):
        if chosen.any():
            fill: dict[str, Any] = {"color": color, "hatch": hatch, "label": label}
            axes.barh(places[chosen], values[chosen], **fill, **BAR)
    for place, value in zip(places[~drawn], values[~drawn], strict=True):
        said = "0" if value == 0 else infinite if np.isinf(value) else "not finite"
        axes.text(low * 1.5, place, said, va="center", style="italic")
    axes.set_xscale("log")
    axes.set_xlim(low, max([span[1], *values[drawn] * 3]))
    axes.xaxis.set_major_locator(LogLocator(numticks=6))
    axes.set_yticks(places, names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    finish(axes, legend=False)
    axes.grid(visible=False, axis="y")
