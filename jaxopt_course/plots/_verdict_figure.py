"""What a claim's verdict rests on: curves with bands over seeds, or a cloud of seeds a thing."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxopt_course.claims import Curves, Groups, Verdict

from ._style import COLORS, finish, line_style, new_figure


BAND = (25, 75)  # per cent of the seeds


def verdict_figure(verdict: Verdict, *, title: str | None = None) -> Figure:
    """The picture of a claim: medians over seeds, with half of the seeds in a band or a box.

    Args:
        verdict: of a claim, whose ``picture`` is drawn.
        title: over the figure. None: the claim, and what became of it.

    Examples:
        >>> import jax
        >>> from jaxopt_course.claims import claim
        >>> figure = verdict_figure(claim("storage")(jax.random.key(0)))
        >>> figure.axes[0].get_ylabel()
        'numbers a parameter'
    """
    said = f"{verdict.name}: {verdict.verdict}" + (" (quick)" if verdict.quick else "")
    figure = new_figure(7.2, 4.2, said if title is None else title)
    axes, picture = figure.add_subplot(), verdict.picture
    if isinstance(picture, Curves):
        _curves(axes, picture)
        figure.legend(loc="outside right upper", frameon=False)
    else:
        _groups(axes, picture)
    axes.set_ylabel(picture.y_label)
    if picture.log_y:
        axes.set_yscale("log")
    finish(axes, legend=False)
    return figure


def _curves(axes: Axes, picture: Curves) -> None:
    for i, (name, values) in enumerate(picture.lines.items()):
        style = line_style(i) | ({} if len(picture.x) <= 20 else {"marker": None})
        low, middle, high = np.nanpercentile(values, (BAND[0], 50, BAND[1]), axis=0)
        axes.plot(picture.x, middle, label=name, **style)
        axes.fill_between(picture.x, low, high, color=style["color"], alpha=0.2, linewidth=0)
    axes.set_xlabel(picture.x_label)
    if picture.log_x:
        axes.set_xscale("log")


def _groups(axes: Axes, picture: Groups) -> None:
    for i, values in enumerate(picture.values.values()):
        spread = np.linspace(-0.15, 0.15, len(values)) if len(values) > 1 else np.zeros(1)
        axes.plot(i + spread, values, "o", color=COLORS[i % len(COLORS)], markersize=3.5)
        low, middle, high = np.nanpercentile(values, (BAND[0], 50, BAND[1]))
        axes.plot([i - 0.25, i + 0.25], [middle, middle], color="k")
        axes.fill_between([i - 0.25, i + 0.25], low, high, color="k", alpha=0.12, linewidth=0)
    names = [name.replace(", ", ",\n").replace(": ", ":\n") for name in picture.values]
    axes.set_xticks(range(len(names)), names, fontsize="small")
    axes.set_xlim(-0.6, len(names) - 0.4)
