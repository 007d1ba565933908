"""Which class was taken for which."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import ArrayLike
from matplotlib.figure import Figure

from ._style import new_figure


def confusion_heatmap(
    matrix: ArrayLike, labels: Sequence[str] | None = None, *, title: str | None = None
) -> Figure:
    """A confusion matrix: the darker a field, the larger the share of its row.

    Args:
        matrix: n[classes, classes]: ``matrix[i, j]`` examples of class i were taken for j, as
            :func:`~jaxopt_course.metrics.confusion_matrix` counts them.
        labels: the names of the classes. None: their numbers.
        title: over the figure.

    Returns:
        A figure with every count that is not 0 in its field.

    Raises:
        ValueError: if the matrix is not square, or the labels differ in number.

    Examples:
        >>> figure = confusion_heatmap(np.array([[9, 1], [0, 5]]), ["cat", "dog"])
        >>> [text.get_text() for text in figure.axes[0].texts]
        ['9', '1', '5']
    """
    counts = np.asarray(matrix)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or not counts.size:
        raise ValueError(
            f"confusion_heatmap: `matrix` must be square, got the shape {counts.shape}."
        )
    names = [str(i) for i in range(len(counts))] if labels is None else list(labels)
    if len(names) != len(counts):
        raise ValueError(
            f"confusion_heatmap: `labels` must be one for each of the {len(counts)} classes, "
            f"got {len(names)}."
        )
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = max(3.2, 1.6 + 0.46 * len(counts))
    figure = new_figure(size + 1.2, size, title)
    axes = figure.add_subplot()
    shown = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(shown, ax=axes, label="share of the true class", shrink=0.8)
    for i, j in np.argwhere(counts != 0):
        color = "w" if shares[i, j] > 0.5 else "k"
        axes.text(j, i, f"{counts[i, j]:g}", ha="center", va="center", color=color, fontsize=9)
    axes.set_xticks(range(len(names)), names)
    axes.set_yticks(range(len(names)), names)
    if max(map(len, names)) > 3:
        for label in axes.get_xticklabels():
            label.set(rotation=45, ha="right")
    axes.set(xlabel="taken for", ylabel="true class")
    return figure
