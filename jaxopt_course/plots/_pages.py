"""Pages of images, and histograms of layers."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import ArrayLike
from matplotlib.figure import Figure

from jaxopt_course.core import checks

from ._style import COLORS, finish, new_figure, readable_path


def image_page(
    images: ArrayLike,
    titles: Sequence[str] | None = None,
    *,
    columns: int = 8,
    row_titles: Sequence[str] | None = None,
    title: str | None = None,
) -> Figure:
    """Draw images in rows: augmented and original ones, or the weights of a first layer.

    Images of one channel share one scale of grey, which the colorbar shows.

    Args:
        images: f[n, height, width] or f[n, height, width, 1] of any numbers, or
            f[n, height, width, 3] of red, green and blue in [0, 1], or integers in [0, 255].
        titles: one title for each image. None: no titles.
        columns: number of images in a row, in [1, inf).
        row_titles: one title for each row, to the left of it, such as "original" and "augmented".
            None: no titles.
        title: title of the figure.

    Examples:
        The filters of a first layer of 64 inputs, which are 8x8 pixels, and 16 units:

        >>> kernel = np.random.default_rng(0).normal(size=(64, 16))
        >>> figure = image_page(kernel.T.reshape(16, 8, 8), columns=4)
        >>> sum(len(axes.images) for axes in figure.axes)
        16
    """
    pictures = np.asarray(images)
    if pictures.ndim == 4 and pictures.shape[-1] == 1:
        pictures = pictures[..., 0]
    grey = pictures.ndim == 3
    if not len(pictures.shape) or not len(pictures) or not (grey or pictures.shape[3:] == (3,)):
        raise ValueError(
            "image_page: `images` must be f[n, height, width] or f[n, height, width, 1 or 3] with "
            f"n in [1, inf), got the shape {np.shape(images)}."
        )
    if titles is not None and len(titles) != len(pictures):
        raise ValueError(
            f"image_page: `titles` must be one for each of the {len(pictures)} images, "
            f"got {len(titles)}."
        )
    checks.integer("image_page", "columns", columns, "[1, inf)")
    across = min(columns, len(pictures))
    down = -(-len(pictures) // across)
    if row_titles is not None and len(row_titles) != down:
        raise ValueError(
            f"image_page: `row_titles` must be one for each of the {down} rows, "
            f"got {len(row_titles)}."
        )
    beside = 0.08 * max(map(len, row_titles or [""]))  # inches for the longest title, about
    width = 1.1 * across + 0.8 * grey + beside
    figure = new_figure(width, (1.1 + 0.2 * bool(titles)) * down, title)
    axes = figure.subplots(down, across, squeeze=False).ravel()
    scale = {}
    if grey:
        scale = {"vmin": np.nanmin(pictures), "vmax": np.nanmax(pictures), "cmap": "gray"}
    for index, place in enumerate(axes):
        place.set_axis_off()
        if index < len(pictures):
            shown = place.imshow(pictures[index], **scale)
            if titles is not None:
                place.set_title(titles[index], fontsize=8)
            if row_titles is not None and index % across == 0:
                at: Any = {"transform": place.transAxes, "ha": "right", "va": "center"}
                place.text(-0.06, 0.5, row_titles[index // across], fontsize=8, **at)
    if grey:
        figure.colorbar(shown, ax=axes.tolist(), shrink=0.8, label="value", format="%.2g")
    return figure


def histograms(
    arrays: Mapping[str, ArrayLike],
    *,
    quantity: str = "activation",
    bins: int = 60,
    title: str | None = None,
) -> Figure:
    """Draw a histogram for each layer, one below the other, over one range.

    Beside each histogram stand the number of values, their mean and standard deviation, the share
    of zeros, which dead units produce, and the number of values that are not finite, which are left
    out.

    Args:
        arrays: layer -> numbers of any shape, such as the ``activations`` of a task or the leaves
            of a gradient.
        quantity: label of the horizontal axis.
        bins: number of bins over the range of all layers, in [1, inf).
        title: title of the figure.

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
        said = [f"{values.size} numbers"]
        if values.size:
            said.append(f"{values.mean():.2g} ± {values.std():.2g}")
            said.append(f"{np.mean(values == 0):.0%} zeros")
        if lost := flat[name].size - values.size:
            said.append(f"{lost} not finite")
        place = {"transform": axes.transAxes, "va": "center", "fontsize": 8}
        axes.text(1.01, 0.5, "\n".join(said), **place)
        finish(axes, legend=False)
        axes.spines["left"].set_visible(False)
    stacked[-1].set_xlabel(f"{quantity} (heights: counts, each layer on a scale of its own)")
    return figure
