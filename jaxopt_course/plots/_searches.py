"""Figures of searches: configurations, scores and learning curves, and the axes of the ranges."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogLocator, MaxNLocator, NullLocator

from jaxopt_course.core import checks
from jaxopt_course.studies import Choice, HalvingResult, Int, Option, SearchResult

from ._style import (
    ABOVE,
    BEST,
    COLORS,
    LINESTYLES,
    count_along,
    finish,
    log_y,
    mark_failed,
    new_figure,
    of_wide_range,
    one_panel,
    panels,
    short_number,
)


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


STAR: dict[str, Any] = {**BEST, "markersize": 12}


def parallel_coordinates(
    result: SearchResult, *, best: int = 10, title: str | None = None
) -> Figure:
    """Draw each configuration as a line across one axis for each range, up to its mean score.

    A range on whose axis the coloured lines come together matters.

    Args:
        result: result of a :func:`~jaxopt_course.studies.search`.
        best: number of configurations in colour, in [1, inf); better ones are darker and thicker.
            The others are grey. Failed ones are left out and counted.
        title: title of the figure.

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
    figure, axes = one_panel(max(4.5, 1.7 * len(columns)), 4.2, title)
    for rank in reversed(range(len(order))):
        share = rank / max(best - 1, 1)
        style: dict[str, Any] = {"color": "0.85", "linewidth": 0.7, "zorder": 1.0}
        if rank < best:
            color = matplotlib.colormaps["viridis"](0.9 * share)
            style = {"color": color, "linewidth": 2.6 - 1.6 * share, "zorder": 3 - share}
        axes.plot(heights[order[rank]], **style)
    box = {"facecolor": "w", "edgecolor": "none", "alpha": 0.75, "pad": 0.8}
    for x, column in enumerate(columns):
        axes.axvline(x, color="k", linewidth=0.8, zorder=4)
        shift, side = (5, "left") if x == len(columns) - 1 else (-5, "right")
        text: dict[str, Any] = {"textcoords": "offset points", "fontsize": 8, "bbox": box}
        text |= {"xytext": (shift, 0), "ha": side, "va": "center", "zorder": 5}
        for height, label in column.ticks.items():
            axes.plot(x, height, marker="_", color="k", markersize=6, zorder=4)
            axes.annotate(label, (x, height), **text)
    names = [column.name.replace("/", "/\n") for column in columns]  # of nested ranges
    axes.set_xticks(range(len(columns)), names)
    axes.set(xlim=(-0.35, len(columns) - 0.6), ylim=(-0.04, 1.04), yticks=[])
    axes.spines[:].set_visible(False)
    axes.tick_params(bottom=False)
    failed = len(result.values) - len(order)
    said = f"{len(order)} configurations, the best {best} in colour, the darker the better"
    figure.supxlabel(said + (f"; {failed} failed" if failed else ""), fontsize=9)
    return figure


def slices(result: SearchResult, *, title: str | None = None) -> Figure:
    """Draw the mean scores against each range, with the best starred; options get a median.

    Bars are standard errors, if configurations were trained several times. Failed configurations
    are crosses at the edge of the bad scores.

    Args:
        result: result of a :func:`~jaxopt_course.studies.search`.
        title: title of the figure.
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
            axes.plot(x[result.best], values[result.best], **STAR)
        set_scores(axes, values)
        set_x(axes, column)
        finish(axes, legend=False)
    for axes in grid[::across]:
        axes.set_ylabel(score_name(result))
    return figure


def search_curves(result: SearchResult, *, best: int = 3, title: str | None = None) -> Figure:
    """Draw the mean learning curves, and beside them the scores in the order of the trials.

    There are no learning curves if no training evaluates the metric more than once. A curve ends
    where the first of its trainings ends.

    Args:
        result: result of a :func:`~jaxopt_course.studies.search`.
        best: number of curves in colour, in [1, 6]; the others are grey.
        title: title of the figure.
    """
    checks.integer("search_curves", "best", best, "[1, 6]")
    name = score_name(result)
    curves = None if callable(result.metric) else result.history.get(name.replace(" ", "_"))
    if curves is not None and not np.isfinite(curves[..., 1:]).any():
        curves = None
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
    axes.plot(
        numbers[ended], values[ended], "o", color="0.6", markersize=3, label="each configuration"
    )
    best = so_far.accumulate(values)
    axes.step(numbers, best, where="post", color=COLORS[0], label="best so far")
    if not ended.all():
        mark_failed(axes, numbers[~ended], at_top=result.mode == "min", label="failed")
    if ended.any():
        at = result.best
        axes.plot(numbers[at], values[at], **STAR, label=f"best: {values[at]:.4g}")
    axes.set_xlabel("configuration")
    set_scores(axes, values)
    count_along(axes)
    finish(axes, legend=ABOVE)


def pareto_front(
    result: SearchResult,
    first: str,
    second: str,
    modes: tuple[Any, Any] | None = None,
    *,
    title: str | None = None,
) -> Figure:
    """Draw configurations by two metrics, with a line through those that none other dominates.

    The arguments are those of :meth:`~jaxopt_course.studies.SearchResult.pareto`. Numbers are those
    of the configurations. Failed ones are left out and counted.

    Examples:
        >>> import jax
        >>> from jaxopt_course.studies import Float, search
        >>> train = lambda key, hyperparameters, rows: hyperparameters["width"]
        >>> space, metrics = {"width": Float(1.0, 9.0)}, {"width": lambda width: width}
        >>> of = {"key": jax.random.key(0), "trials": 8, "metrics": metrics}
        >>> result = search(train, space, metric=lambda width: 1 / width, **of)
        >>> pareto_front(result, "score", "width").axes[0].get_xlabel()
        'score (lower is better)'
    """
    front = result.pareto(first, second, modes)
    known = np.isfinite(front.values).all(1)
    figure, axes = one_panel(4.8, 3.8, title)
    axes.plot(*front.values[known].T, "o", color="0.7", markersize=4)
    best = front.values[front.numbers]
    axes.step(*best.T, where="post", color=COLORS[0], linewidth=1.2)
    axes.plot(*best.T, "o", color=COLORS[0], markersize=5)
    for number, place in zip(front.numbers.tolist(), best.tolist(), strict=True):
        offset: dict[str, Any] = {"textcoords": "offset points", "xytext": (4, 4), "fontsize": 8}
        axes.annotate(str(number), place, **offset)
    failed = f"; {np.sum(~known)} failed" if not known.all() else ""
    better = {"min": "lower", "max": "higher"}
    labels = [
        f"{name.replace('_', ' ')} ({better[mode]} is better)"
        for name, mode in zip(front.names, front.modes, strict=True)
    ]
    axes.set(xlabel=labels[0] + failed, ylabel=labels[1])
    finish(axes, legend=False)
    return figure


def rung_scores(
    brackets: HalvingResult | Sequence[HalvingResult], *, title: str | None = None
) -> Figure:
    """Draw the scores of each configuration across the rungs that it reached, by bracket.

    Dark lines reached the last rung, and the best configuration is starred. The number between two
    rungs is the rank correlation of their scores, over the configurations that reached the later
    one.

    Args:
        brackets: results of :func:`~jaxopt_course.studies.successive_halving` or
            :func:`~jaxopt_course.studies.hyperband`.
        title: title of the figure.
    """
    results = [brackets] if isinstance(brackets, HalvingResult) else list(brackets)
    across = min(len(results), 3)
    down = -(-len(results) // across)
    figure = new_figure(max(5.2, 3.6 * across + 0.6), 3.6 * down, title)
    grid = panels(figure, len(results), across, sharey=True)
    scores = np.concatenate([result.scores.ravel() for result in results])
    for axes, result in zip(grid, results, strict=True):
        _bracket(axes, result)
    for axes in grid[::across]:
        set_scores(axes, scores)
        axes.set_ylabel("score")
    return figure


def _bracket(axes: Axes, result: HalvingResult) -> None:
    steps = np.array(result.rungs.steps)
    reached = np.isfinite(result.scores).sum(0)
    for member in np.argsort(reached, kind="stable"):
        last = reached[member] == len(steps)
        color, width, order = (COLORS[0], 1.6, 3) if last else ("0.7", 0.8, 2)
        style: dict[str, Any] = {"color": color, "linewidth": width, "zorder": order}
        axes.plot(steps, result.scores[:, member], marker="o", markersize=3, **style)
    if np.isfinite(result.scores[-1, result.best]):
        axes.plot(steps[-1], result.scores[-1, result.best], **STAR)
    axes.set_xscale("log")
    sizes = result.rungs.sizes
    labels = [f"{step}\n({size})" for step, size in zip(steps, sizes, strict=True)]
    axes.xaxis.set_major_locator(FixedLocator(steps.tolist()))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(steps, labels)
    axes.set_xlabel("steps (configurations)")
    between = np.sqrt(steps[:-1] * steps[1:])
    for x, correlation in zip(between, result.correlations, strict=True):
        text = f"{correlation:.2f}" if np.isfinite(correlation) else "-"
        axes.annotate(text, (x, 1.02), xycoords=("data", "axes fraction"), ha="center", fontsize=9)
    if len(between):
        axes.set_title("rank correlation", fontsize=9, pad=18)
    finish(axes, legend=False)
