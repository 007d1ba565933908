"""How numbers are spread, layer by layer: of activations, gradients or weights."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import ArrayLike
from matplotlib.figure import Figure

from jaxopt_course.core import checks

from ._style import COLORS, finish, new_figure, readable_path


def histograms(
    arrays: Mapping[str, ArrayLike],
    *,
    quantity: str = "activation",
    bins: int = 60,
    title: str | None = None,
) -> Figure:
    """A histogram for each layer, one below the other, on one axis.

    Args:
        arrays: layer -> numbers of any shape, such as the ``activations`` of a task or the leaves
            of a gradient.
        quantity: what the numbers are, for the axis.
        bins: in [1, inf), over the range of all layers.
        title: over the figure.

    Returns:
        A figure. Beside each histogram, of how many numbers it is, their mean and deviation, and
        the share of zeros, which a dead unit gives; numbers that are not finite are left out and
        counted there.

    Raises:
        ValueError: if there is no layer.

    Examples:
        >>> figure = histograms({"Dense_0": np.zeros((4, 8)), "Dense_1": np.ones(10)})
        >>> [int(sum(bar.get_height() for bar in axes.patches)) for axes in figure.axes]
        [32, 10]
    """
    checks.integer("histograms", "bins", bins, "[1, inf)")
    flat = {name: np.asarray(values, float).ravel() for name, values in arrays.items()}
    if not flat:
        raise ValueError("histograms: `arrays` must hold at least one layer, got none.")
    finite = {name: values[np.isfinite(values)] for name, values in flat.items()}
    edges = np.histogram_bin_edges(np.concatenate(list(finite.values())), bins)
    figure = new_figure(6.4, 0.9 + 0.85 * len(flat), title)
    stacked = figure.subplots(len(flat), sharex=True, squeeze=False).ravel()
    for axes, (name, values) in zip(stacked, finite.items(), strict=True):
        axes.hist(values, edges, color=COLORS[0])
        axes.set_yticks([])
        axes.set_ylabel(readable_path(name), rotation=0, ha="right", va="center")
        lost = flat[name].size - values.size
        axes.text(1.01, 0.5, _said(values, lost), transform=axes.transAxes, va="center", fontsize=8)
        finish(axes, legend=False)
        axes.spines["left"].set_visible(False)
    stacked[-1].set_xlabel(f"{quantity} (heights: counts, each layer on a scale of its own)")
    return figure


def _said(values: np.ndarray, lost: int) -> str:
    lines = [f"{values.size} numbers"]
    if values.size:
        lines += [f"{values.mean():.2g} ± {values.std():.2g}", f"{np.mean(values == 0):.0%} zeros"]
    if lost:
        lines.append(f"{lost} not finite")
    return "\n".join(lines)
