"""Pictures of what was measured: bars of each way, in the style of the library's other figures."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from benchmarks._machine import save_picture


PEERS = ("optax", "torch")  # ways whose names begin so have colours of their own


class Chart(NamedTuple):
    """One of the pictures side by side.

    title: over it.
    label: what the bars are long by.
    values: a bar for each way.
    """

    title: str
    label: str
    values: Mapping[str, float]


def draw(charts: Sequence[Chart], across: int, path: pathlib.Path) -> pathlib.Path:
    """Draw them, so many in a row, and return ``path``, where they are."""
    from jaxopt_course.plots._style import BAR, COLORS, finish, new_figure, panels

    rows = [charts[i : i + across] for i in range(0, len(charts), across)]
    bars = [max(len(chart.values) for chart in row) for row in rows]
    figure = new_figure(10, sum(1.0 + 0.25 * count for count in bars))
    grid = panels(figure, len(charts), across, height_ratios=bars)
    for axes, chart in zip(grid, charts, strict=True):
        colors = [COLORS[_kind(way)] for way in chart.values]
        axes.barh([*chart.values], [*chart.values.values()], color=colors, **BAR)
        axes.invert_yaxis()
        axes.set(title=chart.title, xlabel=chart.label)
        finish(axes)
    return save_picture(figure, path)


def _kind(way: str) -> int:
    """0 of this library's own, else the number of the peer."""
    return next((i for i, peer in enumerate(PEERS, 1) if way.startswith(peer)), 0)
