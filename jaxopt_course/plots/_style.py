"""How all figures look: what differs, differs in line, marker or luminance, not in colour alone."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, SymLogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter


# Neighbours differ in luminance too: dark, light, dark, ...
COLORS = ("#2166ac", "#e08214", "#762a83", "#5aae61", "#b2182b", "#66b7d8", "#404040", "#b8a04a")
LINESTYLES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 3)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")

TRAINING: Mapping[str, Any] = {"color": COLORS[1], "linestyle": "--", "label": "training"}
VALIDATION: Mapping[str, Any] = {"color": COLORS[0], "linestyle": "-", "label": "validation"}
BAR: Mapping[str, Any] = {"edgecolor": "k", "linewidth": 0.5}
ABOVE: Mapping[str, Any] = {  # of a legend that would cover what is drawn
    "loc": "lower center",
    "bbox_to_anchor": (0.5, 1.0),
    "ncols": 2,
    "fontsize": 8,
}
BEST: Mapping[str, Any] = {"color": "k", "marker": "*", "markersize": 10, "linestyle": "none"}


def new_figure(width: float, height: float, title: str | None = None) -> Figure:
    """A figure of that size in inches, which makes room for its texts by itself."""
    figure = Figure(figsize=(width, height), layout="constrained")
    if title:
        figure.suptitle(title)
    return figure


def finish(axes: Axes, *, legend: bool | Mapping[str, Any] = True) -> None:
    """Grid, no frame above and on the right, and a legend, or the arguments for one."""
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    options = legend if isinstance(legend, Mapping) else {}
    if legend is not False and axes.get_legend_handles_labels()[0]:
        axes.legend(**{"frameon": False, **options})


def count_along(axes: Axes) -> None:
    """Whole numbers only along x."""
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def line_style(number: int) -> dict[str, Any]:
    """Of the line of that number: its own marker, line and luminance, the same in every figure."""
    return {
        "color": COLORS[number % len(COLORS)],
        "linestyle": LINESTYLES[number % len(LINESTYLES)],
        "marker": MARKERS[number % len(MARKERS)],
        "markersize": 4.5,
        "linewidth": 1.4,
    }


def panels(figure: Figure, count: int, across: int, **options: Any) -> list[Axes]:
    """So many axes, ``across`` in a row; ``options`` are those of ``Figure.subplots``."""
    grid = figure.subplots(max(-(-count // across), 1), across, squeeze=False, **options)
    found: list[Axes] = grid.ravel().tolist()
    for axes in found[count:]:
        axes.remove()
    return found[:count]


def mark_failed(
    axes: Axes, x: np.ndarray, *, at_top: bool = True, label: str | None = None
) -> None:
    """Crosses at the edge of the bad values, which what failed has none of."""
    height = np.full(len(x), 0.97 if at_top else 0.03)
    axes.plot(x, height, "kx", markersize=4, transform=axes.get_xaxis_transform(), label=label)


def log_y(axes: Axes) -> None:
    """A logarithmic axis with plain numbers, few enough to be read; call it after drawing."""
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(
        LogLocator(subs=(1.0, 2.0, 5.0) if high < 100 * low else (1.0,), numticks=6)
    )
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: short_number(value)))
    axes.yaxis.set_minor_formatter(NullFormatter())


def short_number(value: float) -> str:
    """A round number, short: ``"1e-4"`` for 0.0001."""
    if 0 < abs(value) < 1e-3:
        digits, power = f"{value:e}".split("e")
        return f"{float(digits):g}e{int(power)}"
    return f"{value:g}"


def of_wide_range(values: np.ndarray, factor: float = 10.0) -> bool:
    """Whether values are all positive and span more than a factor: worth a log scale."""
    seen = values[np.isfinite(values)]
    return bool(seen.size and seen.min() > 0 and seen.max() > factor * seen.min())


def value_levels(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, Normalize]:
    """Levels for the contours of a function, those worth a number, and the norm of their colours.

    The levels are 1, 2 and 5 times powers of ten: over the upper four decades or, where there are
    negative values, the upper two of each sign; evenly spaced where there is no decade between
    the lowest and the highest value.
    """
    seen = values[np.isfinite(values)] if np.isfinite(values).any() else np.zeros(1)
    low, high = float(seen.min()), float(seen.max())
    top = max(-low, high) or 1.0
    if low > 0.1 * top or high < -0.1 * top:
        levels = np.asarray(MaxNLocator(12).tick_values(low, high))
        return levels, levels[::2], Normalize(levels[0], levels[-1])
    last, decades = math.floor(math.log10(top)), 2 if low < 0 else 4
    powers = 10.0 ** np.arange(last - decades + 1, last + 2)
    steps = np.outer(powers, (1, 2, 5)).ravel()
    upto = lambda value: steps[: np.searchsorted(steps, value) + 1]
    if low >= steps[0]:
        levels = upto(high)[np.searchsorted(steps, low, "right") - 1 :]
    elif low >= 0:
        levels = np.append(0.0, upto(high))
    else:
        levels = np.append(-upto(-low)[::-1], upto(high) if high > 0 else 0.0)
    worthy = np.isin(np.abs(levels), np.append(powers, 0.0))
    return levels, levels[worthy], SymLogNorm(steps[0], vmin=levels[0], vmax=levels[-1])


def readable_path(path: str) -> str:
    """``"Dense_0/kernel"`` of ``"['Dense_0']['kernel']"``; other paths as they are."""
    if path.startswith("['") and path.endswith("']"):
        return path[2:-2].replace("']['", "/")
    return path or "parameters"
