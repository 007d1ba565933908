"""The score against each range of a search, one panel each."""

import numpy as np
from matplotlib.figure import Figure

from jaxopt_course.studies import SearchResult

from ._search_axes import range_axes, score_name, set_scores, set_x
from ._style import BEST, COLORS, finish, mark_failed, new_figure, panels


def slices(result: SearchResult, *, title: str | None = None) -> Figure:
    """Mean scores against each range, with the best starred; options with their median.

    Args:
        result: of a :func:`~jaxopt_course.studies.search`.
        title: over the figure.

    Returns:
        A figure. Bars are standard errors, where there are several trainings of a configuration;
        configurations that failed are crosses at the edge of the bad scores.

    Examples:
        >>> import jax
        >>> from jaxopt_course.studies import Float, search
        >>> train = lambda key, hyperparameters, rows: hyperparameters["rate"] ** 2
        >>> space, metric = {"rate": Float(0.1, 1.0, log=True)}, lambda run: run
        >>> result = search(train, space, key=jax.random.key(0), trials=8, metric=metric)
        >>> [axes.get_xlabel() for axes in slices(result).axes]
        ['rate']
    """
    columns = range_axes(result)
    values, errors = result.values, result.standard_errors
    ended = np.isfinite(values)
    down = max(-(-len(columns) // 4), 1)
    across = max(-(-len(columns) // down), 1)
    figure = new_figure(2.9 * across + 0.6, 2.9 * down, title)
    grid = panels(figure, len(columns), across, sharey=True)
    for axes, column in zip(grid, columns, strict=True):
        x = column.heights
        if np.isfinite(errors).any():
            axes.errorbar(x[ended], values[ended], errors[ended], fmt="none", color="0.75", lw=0.8)
        axes.plot(x[ended], values[ended], "o", color=COLORS[0], markersize=3, alpha=0.8)
        if column.is_choice:
            for tick in column.ticks:
                near = ended & (np.abs(x - tick) < 0.5 / len(column.ticks))
                if near.any():
                    half = 0.35 / len(column.ticks)
                    ends, median = [tick - half, tick + half], np.median(values[near])
                    axes.plot(ends, [median] * 2, color=COLORS[1], linewidth=2.5, label="median")
        if not ended.all():
            mark_failed(axes, x[~ended], at_top=result.mode == "min")
        if ended.any():
            axes.plot(x[result.best], values[result.best], **{**BEST, "markersize": 12})
        set_scores(axes, values)
        set_x(axes, column)
        finish(axes, legend=False)
    for axes in grid[::across]:
        axes.set_ylabel(score_name(result))
    return figure
