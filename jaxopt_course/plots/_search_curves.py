"""How a search went: the learning curves of its configurations, and the best so far."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxopt_course.core import checks
from jaxopt_course.studies import SearchResult

from ._search_axes import score_name, set_scores
from ._style import ABOVE, BEST, COLORS, LINESTYLES, count_along, finish, mark_failed, new_figure


def search_curves(result: SearchResult, *, best: int = 3, title: str | None = None) -> Figure:
    """Mean learning curves, the best in colour; beside them the scores in the order of trials.

    Args:
        result: of a :func:`~jaxopt_course.studies.search`.
        best: how many curves are drawn in colour, in [1, 6]; the others are grey.
        title: over the figure.

    Returns:
        A figure; without learning curves where the metric is none of the history. A curve ends
        where one of its trainings does.

    Examples:
        >>> import jax
        >>> from jaxopt_course.studies import Float, search
        >>> train = lambda key, hyperparameters, rows: hyperparameters["rate"] ** 2
        >>> space, metric = {"rate": Float(0.1, 1.0, log=True)}, lambda run: run
        >>> result = search(train, space, key=jax.random.key(0), trials=8, metric=metric)
        >>> [axes.get_xlabel() for axes in search_curves(result).axes]
        ['configuration']
    """
    checks.integer("search_curves", "best", best, "[1, 6]")
    name = score_name(result)
    curves = None if callable(result.metric) else result.history.get(name.replace(" ", "_"))
    figure = new_figure(4.8 if curves is None else 9.0, 3.6, title)
    if curves is not None:
        axes = figure.add_subplot(1, 2, 1)
        _learning(axes, result, curves.mean((1, 2)), best)
        axes.set_ylabel(name)
    axes = figure.add_subplot(1, 1 if curves is None else 2, 1 if curves is None else 2)
    _so_far(axes, result)
    axes.set_ylabel(name)
    return figure


def _learning(axes: Axes, result: SearchResult, curves: np.ndarray, best: int) -> None:
    steps = result.history["step"].max((1, 2))
    ended = [n for n in result.ranking if np.isfinite(result.values[n])]
    for number in result.ranking[::-1]:
        axes.plot(steps[number], curves[number], color="0.82", linewidth=0.7)
    for rank, number in reversed(list(enumerate(ended[:best]))):
        style = {"color": COLORS[rank], "linestyle": LINESTYLES[rank], "linewidth": 1.8}
        label = f"rank {rank + 1}: configuration {number}"
        axes.plot(steps[number], curves[number], label=label, **style)
    axes.set_xlabel("steps")
    set_scores(axes, curves)
    handles, labels = axes.get_legend_handles_labels()
    finish(axes, legend={"handles": handles[::-1], "labels": labels[::-1], **ABOVE})


def _so_far(axes: Axes, result: SearchResult) -> None:
    values, numbers = result.values, np.arange(len(result.values))
    ended = np.isfinite(values)
    so_far = np.fmin if result.mode == "min" else np.fmax
    axes.plot(numbers[ended], values[ended], "o", color="0.6", markersize=3, label="of each")
    best = so_far.accumulate(values)
    axes.step(numbers, best, where="post", color=COLORS[0], label="best so far")
    if not ended.all():
        mark_failed(axes, numbers[~ended], at_top=result.mode == "min", label="failed")
    if ended.any():
        at = result.best
        axes.plot(numbers[at], values[at], **{**BEST, "markersize": 12}, label=f"{values[at]:.4g}")
    axes.set_xlabel("configuration")
    set_scores(axes, values)
    count_along(axes)
    finish(axes, legend=ABOVE)
