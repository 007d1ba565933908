"""How contenders are told apart: by marker, line and luminance, the same in every figure."""

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from ._style import COLORS, LINESTYLES, MARKERS


__all__ = ["contender_style", "legend_below", "log_y", "small_multiples", "view_label"]


def contender_style(number: int) -> dict[str, Any]:
    """Of the contender of that number."""
    return {
        "color": COLORS[number % len(COLORS)],
        "linestyle": LINESTYLES[number % len(LINESTYLES)],
        "marker": MARKERS[number % len(MARKERS)],
        "markersize": 4.5,
        "linewidth": 1.4,
    }


def legend_below(figure: Figure, axes: Axes) -> None:
    """The lines of ``axes``, under all axes."""
    handles, labels = axes.get_legend_handles_labels()
    columns = min(len(labels), 5)
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False)


def view_label(clock: str, setting: str) -> str:
    """What the costs are, for a label."""
    return f"{clock}, {'held-out variants' if setting == 'held_out' else 'fresh seeds'}"


def small_multiples(figure: Figure, names: tuple[str, ...], below: str) -> list[Axes]:
    """A panel for each name, four in a row; ``below`` says what goes along x."""
    columns = min(4, len(names))
    rows = math.ceil(len(names) / columns)
    panels = np.ravel(figure.subplots(rows, columns, squeeze=False)).tolist()
    for panel in panels[len(names) :]:
        panel.remove()
    for number, (axes, name) in enumerate(zip(panels, names, strict=False)):
        axes.set_title(name, fontsize="medium")
        if number + columns >= len(names):
            axes.set_xlabel(below)
    figure.set_size_inches(2.7 * columns + 0.6, 2.2 * rows + 1.0)
    return panels[: len(names)]


def log_y(axes: Axes) -> None:
    """A logarithmic axis with plain numbers, few enough to be read; call it after drawing."""
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(
        LogLocator(subs=(1.0, 2.0, 5.0) if high < 100 * low else (1.0,), numticks=6)
    )
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
