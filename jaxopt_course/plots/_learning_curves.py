"""Learning curves: loss and one metric over the training, of training and validation rows."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import ArrayLike
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from jaxopt_course.core import check_integer
from jaxopt_course.training import Run


__all__ = ["learning_curves"]

# Told apart without colour by their lines, and with it by colours that differ in grey too.
TRAINING: Mapping[str, Any] = {"color": "#e08214", "linestyle": "--", "label": "training"}
VALIDATION: Mapping[str, Any] = {"color": "#2166ac", "linestyle": "-", "label": "validation"}


def learning_curves(
    history: Run | Mapping[str, ArrayLike],
    *,
    steps_per_epoch: int | None = None,
    title: str | None = None,
) -> Figure:
    """The loss on the left; on the right the accuracy or, where there is none, another metric.

    Args:
        history: of one run: ``"step"``, ``"loss"`` and metrics, one entry an evaluation, those of
            validation rows with the prefix ``"validation_"``; or the run. NaN is left out.
        steps_per_epoch: in [1, inf), to count in epochs. None: in steps.
        title: over the figure.

    Returns:
        A figure, on which the evaluation of the lowest validation loss is marked: the one whose
        parameters a run calls its best. Where there is no validation, of the lowest loss.

    Raises:
        ValueError: if the history has no ``"step"`` or ``"loss"``, or of several runs at once.
    """
    columns = history.history if isinstance(history, Run) else history
    values = {name: np.asarray(column, np.float64) for name, column in columns.items()}
    missing = {"step", "loss"} - set(values)
    if missing:
        raise ValueError(f"learning_curves: `history` must have {sorted(missing)}.")
    if values["step"].ndim != 1:
        raise ValueError(
            "learning_curves: `history` must be of one run, with one entry an evaluation, "
            f"got the shape {values['step'].shape}."
        )
    unit, x = "steps", values.pop("step")
    if steps_per_epoch is not None:
        check_integer("learning_curves", "steps_per_epoch", steps_per_epoch, "[1, inf)")
        unit, x = "epochs", x / steps_per_epoch
    ranked = values.get("validation_loss", values["loss"])
    best = int(np.nanargmin(ranked)) if np.isfinite(ranked).any() else None

    metrics = [name for name in values if name != "loss" and not name.startswith("validation_")]
    names = ["loss", *sorted(metrics, key=lambda name: name != "accuracy")[:1]]
    figure = Figure(figsize=(4.5 * len(names), 3.4), layout="constrained")
    for index, name in enumerate(names):
        axes = figure.add_subplot(1, len(names), index + 1)
        _draw(axes, x, name, values, best, unit)
    if title:
        figure.suptitle(title)
    return figure


def _draw(
    axes: Axes,
    x: np.ndarray,
    name: str,
    values: Mapping[str, np.ndarray],
    best: int | None,
    unit: str,
) -> None:
    for key, style in ((name, TRAINING), (f"validation_{name}", VALIDATION)):
        if key in values:
            seen = np.isfinite(values[key])
            # One evaluation is no line: it shows as a point.
            marker = "o" if seen.sum() == 1 else None
            axes.plot(x[seen], values[key][seen], marker=marker, markersize=4, **style)
    key = f"validation_{name}" if f"validation_{name}" in values else name
    if best is not None:
        value = f"{values[key][best]:.4g}"
        label = f"lowest: {value} at {x[best]:g} {unit}" if name == "loss" else f"there: {value}"
        axes.plot(x[best], values[key][best], "k*", markersize=10, label=label)
    drawn = np.concatenate([line.get_ydata() for line in axes.lines])
    if name == "loss" and drawn.size and drawn.min() > 0 and drawn.max() > 10 * drawn.min():
        axes.set_yscale("log")
    axes.set(xlabel=unit, ylabel=name.replace("_", " "))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.has_data():
        axes.legend(frameon=False)
