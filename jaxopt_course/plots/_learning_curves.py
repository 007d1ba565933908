"""Learning curves: the loss and one metric of training and validation rows over the training."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import ArrayLike
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxopt_course.core import checks
from jaxopt_course.training import Run

from ._style import (
    ABOVE,
    BEST,
    TRAINING,
    VALIDATION,
    count_along,
    finish,
    new_figure,
    of_wide_range,
)


def learning_curves(
    history: Run | Mapping[str, ArrayLike],
    *,
    steps_per_epoch: int | None = None,
    title: str | None = None,
) -> Figure:
    """Draw the loss, and beside it the accuracy or, if there is none, another metric.

    For several runs the mean and the range are drawn. A star marks the evaluation with the lowest
    validation loss, whose parameters a run calls its best; without validation, with the lowest
    loss. For several runs it is the one with the lowest mean among the evaluations that all runs
    have reached.

    Args:
        history: a run, or several runs in one; or a mapping with ``"step"``, ``"loss"`` and
            metrics, f[evaluations] or f[runs, evaluations]. The names of validation metrics have
            the prefix ``"validation_"``. NaN is left out: after a run has ended, mean and range
            are those of the remaining runs, whose number the legend gives.
        steps_per_epoch: if given, the x axis counts epochs instead of steps, in [1, inf).
        title: title of the figure.

    Examples:
        >>> step, loss = np.array([[10, 20, 30]] * 2), np.array([[2, 1, 0.5], [2, 0.5, 0.2]])
        >>> figure = learning_curves({"step": step, "loss": loss}, steps_per_epoch=10)
        >>> print(figure.axes[0].lines[0].get_ydata())
        [2.   0.75 0.35]
    """
    columns = history.history if isinstance(history, Run) else history
    values = {name: np.asarray(column, np.float64) for name, column in columns.items()}
    missing = {"step", "loss"} - set(values)
    if missing:
        raise ValueError(f"learning_curves: `history` must have {sorted(missing)}.")
    shapes = {column.shape for column in values.values()}
    if len(shapes) > 1 or values["step"].ndim not in (1, 2):
        raise ValueError(
            "learning_curves: `history` must be of one run, f[evaluations], or of several, "
            f"f[runs, evaluations], got the shapes {sorted(shapes)}."
        )
    values = {name: np.atleast_2d(column) for name, column in values.items()}
    unit, x = "steps", values.pop("step").max(axis=0)  # the step of an ended run stays
    if steps_per_epoch is not None:
        checks.integer("learning_curves", "steps_per_epoch", steps_per_epoch, "[1, inf)")
        unit, x = "epochs", x / steps_per_epoch
    judged = values.get("validation_loss", values["loss"])
    ranked, reached = _mean(judged), np.isfinite(judged).all(axis=0)
    if reached.any():  # later means are of the remaining runs only
        ranked = np.where(reached, ranked, np.nan)
    best = int(np.nanargmin(ranked)) if np.isfinite(ranked).any() else None

    metrics = [name for name in values if name != "loss" and not name.startswith("validation_")]
    names = ["loss", *sorted(metrics, key=lambda name: name != "accuracy")[:1]]
    figure = new_figure(4.5 * len(names), 3.4, title)
    for index, name in enumerate(names):
        axes = figure.add_subplot(1, len(names), index + 1)
        _draw(axes, x, name, values, best, unit)
    return figure


def _draw(
    axes: Axes,
    x: np.ndarray,
    name: str,
    values: Mapping[str, np.ndarray],
    best: int | None,
    unit: str,
) -> None:
    runs, drawn = len(values["loss"]), [np.empty(0)]
    for key, style in ((name, TRAINING), (f"validation_{name}", VALIDATION)):
        if key in values:
            finite = np.ma.masked_invalid(values[key])
            seen = finite.count(axis=0) > 0
            marker = "o" if seen.sum() == 1 else None  # one evaluation makes no line
            axes.plot(x[seen], _mean(values[key])[seen], marker=marker, markersize=4, **style)
            drawn.append(finite.compressed())
            if runs > 1:
                ends = finite.min(axis=0)[seen], finite.max(axis=0)[seen]
                axes.fill_between(x[seen], *ends, color=style["color"], alpha=0.25, lw=0)
    key = f"validation_{name}" if f"validation_{name}" in values else name
    if best is not None:
        at_best = _mean(values[key])[best]
        label = f"at the lowest loss: {at_best:.4g}"
        if name == "loss":
            label = f"lowest: {at_best:.4g} at {round(float(x[best]), 2):g} {unit}"
        axes.plot(x[best], at_best, **BEST, label=label)
    if name == "loss" and of_wide_range(np.concatenate(drawn)):
        axes.set_yscale("log")
    axes.set(xlabel=unit, ylabel=name.replace("_", " "))
    count_along(axes)
    if runs == 1:
        finish(axes)
        return
    left = np.isfinite(values[key]).sum(axis=0)
    last = int(left[left > 0][-1]) if left.any() else 0
    fewer = f", {last} at the end" if last < runs else ""
    finish(axes, legend={"title": f"mean and range of {runs} runs{fewer}", **ABOVE})


def _mean(values: np.ndarray) -> np.ndarray:
    """The mean of the finite values over runs; NaN where there are none."""
    return np.ma.masked_invalid(values).mean(axis=0).filled(np.nan)
