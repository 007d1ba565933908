"""How a search that gives trainings up went: the scores of all rungs, and how well they agree."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from jaxopt_course.studies import HalvingResult

from ._search_axes import set_scores
from ._style import BEST, COLORS, finish, new_figure, panels


def rung_scores(
    brackets: HalvingResult | Sequence[HalvingResult], *, title: str | None = None
) -> Figure:
    """A line for each configuration across the rungs that it reached, a panel for each bracket.

    Args:
        brackets: of :func:`~jaxopt_course.studies.successive_halving` or
            :func:`~jaxopt_course.studies.hyperband`.
        title: over the figure.

    Returns:
        A figure: dark lines reached the last rung, the best is starred. Between two rungs stands
        the rank correlation of their scores, among the configurations that reached the later.

    Examples:
        >>> import jax
        >>> from jaxopt_course.studies import Float, Rungs
        >>> result = HalvingResult(
        ...     space={"rate": Float(0.0, 1.0)},
        ...     points=np.array([[0.2], [0.8]]),
        ...     configurations=({"rate": 0.2}, {"rate": 0.8}),
        ...     scores=np.array([[3.0, 2.0], [np.nan, 1.0]]),
        ...     rungs=Rungs((2, 1), (10, 30)),
        ...     mode="min",
        ...     correlations=np.array([np.nan]),
        ...     key=jax.random.key(0),
        ...     seconds=0.0,
        ... )
        >>> rung_scores(result).axes[0].get_xlabel()
        'steps (configurations)'
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
        style: dict[str, Any] = {
            "marker": "o",
            "markersize": 3,
            "linewidth": width,
            "zorder": order,
        }
        axes.plot(steps, result.scores[:, member], color=color, **style)
    if np.isfinite(result.scores[-1, result.best]):
        axes.plot(steps[-1], result.scores[-1, result.best], **{**BEST, "markersize": 12})
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
