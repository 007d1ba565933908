"""The common style of the figures: lines differ in marker and luminance, not only in hue."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter


# Neighbours differ in luminance too: dark, light, dark, ...
COLORS = ("#2166ac", "#e08214", "#762a83", "#5aae61", "#b2182b", "#66b7d8", "#404040", "#b8a04a")
LINESTYLES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 3)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")

TRAINING: Mapping[str, Any] = {"color": COLORS[1], "linestyle": "--", "label": "training"}
VALIDATION: Mapping[str, Any] = {"color": COLORS[0], "linestyle": "-", "label": "validation"}
BAR: Mapping[str, Any] = {"edgecolor": "k", "linewidth": 0.5}
ABOVE: Mapping[str, Any] = {  # a legend above the axes, where it hides nothing
    "loc": "lower center",
    "bbox_to_anchor": (0.5, 1.0),
    "ncols": 2,
    "fontsize": 8,
}
BEST: Mapping[str, Any] = {"color": "k", "marker": "*", "markersize": 10, "linestyle": "none"}


def new_figure(width: float, height: float, title: str | None = None) -> Figure:
    """A figure of a size in inches, with a layout that makes room for its labels."""
    figure = Figure(figsize=(width, height), layout="constrained")
    if title:
        figure.suptitle(title)
    return figure


def one_panel(width: float, height: float, title: str | None = None) -> tuple[Figure, Axes]:
    """The same with one pair of axes."""
    figure = new_figure(width, height, title)
    return figure, figure.add_subplot()


def finish(axes: Axes, *, legend: bool | Mapping[str, Any] = True) -> None:
    """Add a grid and a legend, or one with these arguments, and hide two spines."""
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    options = legend if isinstance(legend, Mapping) else {}
    if legend is not False and axes.get_legend_handles_labels()[0]:
        axes.legend(**{"frameon": False, **options})


def count_along(axes: Axes) -> None:
    """Use integer ticks along x."""
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def line_style(number: int) -> dict[str, Any]:
    """The color, dashes and marker of line ``number``, the same in every figure."""
    return {
        "color": COLORS[number % len(COLORS)],
        "linestyle": LINESTYLES[number % len(LINESTYLES)],
        "marker": MARKERS[number % len(MARKERS)],
        "markersize": 4.5,
        "linewidth": 1.4,
    }


def panels(figure: Figure, count: int, across: int, **options: Any) -> list[Axes]:
    """``count`` axes, ``across`` in a row, with the ``options`` of ``Figure.subplots``."""
    grid = figure.subplots(max(-(-count // across), 1), across, squeeze=False, **options)
    found: list[Axes] = grid.ravel().tolist()
    for axes in found[count:]:
        axes.remove()
    return found[:count]


def mark_failed(
    axes: Axes,
    x: np.ndarray,
    *,
    at_top: bool = True,
    label: str | None = None,
    color: str = "k",
) -> None:
    """Draw crosses for failed members at the edge of the bad values."""
    height = np.full(len(x), 0.97 if at_top else 0.03)
    style: Any = {"color": color, "markersize": 4, "transform": axes.get_xaxis_transform()}
    axes.plot(x, height, "x", label=label, **style)


def log_y(axes: Axes) -> None:
    """Make y logarithmic, with few and plain tick labels; call it after drawing."""
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(
        LogLocator(subs=(1.0, 2.0, 5.0) if high < 100 * low else (1.0,), numticks=6)
    )
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: short_number(value)))
    axes.yaxis.set_minor_formatter(NullFormatter())


def short_number(value: float) -> str:
    """A round number as short text: ``"1e-4"`` for 0.0001."""
    if 0 < abs(value) < 1e-3:
        digits, power = f"{value:e}".split("e")
        return f"{float(digits):g}e{int(power)}"
    return f"{value:g}"


def of_wide_range(values: np.ndarray, factor: float = 10.0) -> bool:
    """Whether all finite values are positive and span more than ``factor``."""
    seen = values[np.isfinite(values)]
    return bool(seen.size and seen.min() > 0 and seen.max() > factor * seen.min())


def readable_path(path: str) -> str:
    """``"Dense_0/kernel"`` for ``"['Dense_0']['kernel']"``; other paths are unchanged."""
    if path.startswith("['") and path.endswith("']"):
        return path[2:-2].replace("']['", "/")
    return path or "parameters"
