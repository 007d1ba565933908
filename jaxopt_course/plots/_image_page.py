"""A page of images: augmented beside original ones, or the weights of a first layer."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import ArrayLike
from matplotlib.figure import Figure

from jaxopt_course.core import checks

from ._style import new_figure


def image_page(
    images: ArrayLike,
    titles: Sequence[str] | None = None,
    *,
    columns: int = 8,
    title: str | None = None,
) -> Figure:
    """Images row by row, those of one channel all on one scale of grey.

    Args:
        images: f[n, height, width], or f[n, height, width, channels] of 1 channel, any numbers,
            or of 3, red, green and blue in [0, 1]; integers in [0, 255].
        titles: over each image. None: no titles.
        columns: images in a row, in [1, inf).
        title: over the figure.

    Returns:
        A figure; with one channel, its scale says which number is which grey.

    Raises:
        ValueError: if the shape is another, there is no image, or the titles differ in number.

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
    figure = new_figure(1.1 * across + 0.8 * grey, (1.1 + 0.2 * bool(titles)) * down, title)
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
    if grey:
        figure.colorbar(shown, ax=axes.tolist(), shrink=0.8, label="value", format="%.2g")
    return figure
