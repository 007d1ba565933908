"""The variance of activations and slopes, layer by layer."""

import numpy as np
from matplotlib.figure import Figure

from jaxopt_course.diagnostics import VarianceReport

from ._style import COLORS, LINESTYLES, MARKERS, count_along, finish, new_figure


def variance_curves(report: VarianceReport, *, title: str | None = None) -> Figure:
    """Variances against depth, on a logarithmic scale: level lines are what one wants.

    Args:
        report: of :func:`~jaxopt_course.diagnostics.variance_through_depth`.
        title: over the figure.

    Returns:
        A figure, whose legend says by how much a layer multiplies each variance. A variance of 0
        is left out.

    Examples:
        >>> from jaxopt_course.diagnostics import VarianceReport
        >>> halved = np.array([1.0, 0.5, 0.25])
        >>> figure = variance_curves(VarianceReport(np.array([8, 8, 8]), halved, halved[::-1]))
        >>> [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
        ['activations: times 0.5 a layer', 'slopes: times 0.5 a layer, backward']
    """
    figure = new_figure(5.6, 3.6, title)
    axes = figure.add_subplot()
    forward = f"activations: times {report.forward_gain:.3g} a layer"
    backward = f"slopes: times {report.backward_gain:.3g} a layer, backward"
    for index, (label, values) in enumerate(
        ((forward, report.forward), (backward, report.backward))
    ):
        seen = np.isfinite(values) & (values > 0)
        line = axes.plot(np.flatnonzero(seen), values[seen], markersize=5, label=label)[0]
        line.set(color=COLORS[index], linestyle=LINESTYLES[index], marker=MARKERS[index])
    axes.set(yscale="log", xlabel="layer (0: the input)", ylabel="variance")
    count_along(axes)
    finish(axes)
    return figure
