"""The axes of ranges and of scores in the figures of a search."""

from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, MaxNLocator

from jaxopt_course.studies import Choice, Int, Option, SearchResult

from ._style import log_y, of_wide_range, short_number


WIDE = 4.0  # scores that span a larger factor get a logarithmic scale


class SearchAxis(NamedTuple):
    """Values of configurations on an axis from 0 to 1.

    name: label of the axis.
    heights: places of the values, f[configurations]; NaN for a configuration with another option.
    ticks: {height: label}.
    is_choice: whether the values are options; their heights scatter about that of the tick.
    """

    name: str
    heights: np.ndarray
    ticks: dict[float, str]
    is_choice: bool = False


def range_axes(result: SearchResult) -> list[SearchAxis]:
    """One axis for each range of the space, on the scale of the range."""
    found = []
    for (name, kind), points, is_active in zip(
        result.ranges.items(), result.points.T, result.active.T, strict=True
    ):
        if isinstance(kind, Choice):
            k = len(kind.options)
            numbers = np.array([kind.index(u) for u in points.tolist()])
            heights = (numbers + 0.5 + 0.6 * (points * k - numbers - 0.5)) / k
            names = [x.name if isinstance(x, Option) else str(x) for x in kind.options]
            ticks = {(j + 0.5) / k: text for j, text in enumerate(names)}
            found.append(SearchAxis(name, heights, ticks, is_choice=True))
        else:
            values = np.array([kind.at(u) for u in points.tolist()], float)
            whole = isinstance(kind, Int)
            found.append(_axis(name, values, (kind.low, kind.high), log=kind.log, whole=whole))
        found[-1].heights[~is_active] = np.nan
    return found


def score_axis(result: SearchResult) -> SearchAxis:
    """The axis of mean scores, logarithmic if they span a factor of more than 4; NaN if failed."""
    values = result.values
    seen = values[np.isfinite(values)]
    ends = (seen.min(), seen.max()) if seen.size else (0.0, 1.0)
    return _axis(score_name(result), values, ends, log=of_wide_range(values, WIDE))


def score_name(result: SearchResult) -> str:
    """The label of the scores."""
    if callable(result.metric):
        return "score"
    name = "validation_loss" if "validation_loss" in result.history else "loss"
    return (result.metric or name).replace("_", " ")


def set_scores(axes: Axes, values: np.ndarray) -> None:
    """Give the y axis, which shows these scores, the scale of :func:`score_axis`."""
    if of_wide_range(values, WIDE):
        log_y(axes)


def set_x(axes: Axes, axis: SearchAxis) -> None:
    """Show a search axis along x."""
    axes.set(xlim=(-0.03, 1.03), xlabel=axis.name)
    axes.set_xticks(list(axis.ticks), list(axis.ticks.values()))


def _axis(
    name: str, values: np.ndarray, ends: tuple[Any, Any], *, log: bool, whole: bool = False
) -> SearchAxis:
    low, high = map(float, ends)
    high = high if high > low else low + 1.0
    scale = np.log if log else np.asarray
    place = lambda x: (scale(x) - scale(low)) / (scale(high) - scale(low))
    locator: Any = MaxNLocator(5, integer=whole)
    if log:
        spans = np.log10(high / low)
        locator = LogLocator(subs=(1.0,) if spans >= 2 else (1.0, 2.0, 5.0), numticks=12)
    marks = [x for x in locator.tick_values(low, high) if -1e-9 <= place(x) <= 1 + 1e-9]
    return SearchAxis(name, place(values), {float(place(x)): short_number(x) for x in marks})
