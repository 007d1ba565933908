"""The configurations of a search as lines across the axes of its ranges."""

from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from jaxopt_course.core import checks
from jaxopt_course.studies import SearchResult

from ._search_axes import range_axes, score_axis
from ._style import new_figure


def parallel_coordinates(
    result: SearchResult, *, best: int = 10, title: str | None = None
) -> Figure:
    """A line for each configuration, across one axis for each range, to its mean score.

    Args:
        result: of a :func:`~jaxopt_course.studies.search`.
        best: how many are drawn in colour, in [1, inf); the better, the darker and thicker. The
            others are grey; those that failed are left out, and counted.
        title: over the figure.

    Returns:
        A figure: where the coloured lines come together on an axis, it matters.

    Examples:
        >>> import jax
        >>> from jaxopt_course.studies import Float, search
        >>> train = lambda key, hyperparameters, rows: hyperparameters["rate"] ** 2
        >>> space, metric = {"rate": Float(0.1, 1.0, log=True)}, lambda run: run
        >>> result = search(train, space, key=jax.random.key(0), trials=8, metric=metric)
        >>> [text.get_text() for text in parallel_coordinates(result).axes[0].get_xticklabels()]
        ['rate', 'score']
    """
    checks.integer("parallel_coordinates", "best", best, "[1, inf)")
    columns = [*range_axes(result), score_axis(result)]
    heights = np.stack([column.heights for column in columns], axis=1)
    order = [n for n in result.ranking if np.isfinite(result.values[n])]
    best = min(best, len(order))
    figure = new_figure(max(4.5, 1.7 * len(columns)), 4.2, title)
    axes = figure.add_subplot()
    for rank in reversed(range(len(order))):
        share = rank / max(best - 1, 1)
        style: dict[str, Any] = {"color": "0.85", "linewidth": 0.7, "zorder": 1.0}
        if rank < best:
            color = matplotlib.colormaps["viridis"](0.9 * share)
            style = {"color": color, "linewidth": 2.6 - 1.6 * share, "zorder": 3 - share}
        axes.plot(heights[order[rank]], **style)
    for x, column in enumerate(columns):
        axes.axvline(x, color="k", linewidth=0.8, zorder=4)
        last = x == len(columns) - 1
        for height, label in column.ticks.items():
            axes.plot(x, height, marker="_", color="k", markersize=6, zorder=4)
            axes.annotate(
                label,
                (x, height),
                xytext=(5 if last else -5, 0),
                textcoords="offset points",
                ha="left" if last else "right",
                va="center",
                fontsize=8,
                zorder=5,
                bbox={"facecolor": "w", "edgecolor": "none", "alpha": 0.75, "pad": 0.8},
            )
    axes.set_xticks(range(len(columns)), [column.name for column in columns])
    axes.set(xlim=(-0.35, len(columns) - 0.6), ylim=(-0.04, 1.04), yticks=[])
    axes.spines[:].set_visible(False)
    axes.tick_params(bottom=False)
    failed = len(result.values) - len(order)
    text = f"{len(order)} configurations, the best {best} in colour, the darker the better"
    figure.supxlabel(text + (f"; {failed} failed" if failed else ""), fontsize=9)
    return figure
