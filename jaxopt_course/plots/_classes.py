"""Classes of examples: which are confused, and how features separate them."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import ArrayLike
from matplotlib import patheffects
from matplotlib.figure import Figure

from jaxopt_course.core import checks

from ._style import COLORS, MARKERS, finish, one_panel


PERPLEXITY = 30.0  # of t-SNE: effective number of neighbours, its usual value


def confusion_heatmap(
    matrix: ArrayLike, labels: Sequence[str] | None = None, *, title: str | None = None
) -> Figure:
    """Draw a confusion matrix: the darker a cell, the larger its share of the true class.

    Args:
        matrix: n[classes, classes]: ``matrix[i, j]`` examples of class i were predicted as class j,
            as :func:`~jaxopt_course.metrics.confusion_matrix` counts them.
        labels: names of the classes. None: their numbers.
        title: title of the figure.

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
    figure, axes = one_panel(size + 1.2, size, title)
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
    axes.set(xlabel="predicted class", ylabel="true class")
    return figure


def embedding(
    features: ArrayLike,
    labels: ArrayLike,
    *,
    method: Literal["pca", "tsne"] = "pca",
    names: Sequence[str] | None = None,
    title: str | None = None,
) -> Figure:
    """Project features to a plane, and draw each example with a marker for its class.

    The name of a class stands at the median of its examples. The picture is deterministic.

    Args:
        features: f[examples, dimensions], such as the activations of the last hidden layer, with at
            least 3 examples and 2 dimensions; further axes are flattened.
        labels: the class of each example, i[examples].
        method: "pca" projects on the two directions of largest variance. "tsne" keeps neighbours
            together; its distances between groups have no meaning.
        names: names of the classes. None: their numbers.
        title: title of the figure.

    Examples:
        >>> classes = np.array([0, 0, 1, 1, 2, 2])
        >>> figure = embedding(np.eye(3)[classes], classes)
        >>> [len(group.get_offsets()) for group in figure.axes[0].collections]
        [2, 2, 2]

    References: van der Maaten & Hinton, "Visualizing Data using t-SNE", JMLR 2008,
    https://www.jmlr.org/papers/v9/vandermaaten08a.html; Pearson, "On Lines and Planes of Closest
    Fit", 1901.
    """
    checks.choice("embedding", "method", method, ("pca", "tsne"))
    x, y = _examples(features, labels)
    classes = np.unique(y).tolist()
    if names is not None and not set(classes) <= set(range(len(names))):
        raise ValueError(
            f"embedding: `names` must be one for each class, up to {max(classes)}, "
            f"got {len(names)}."
        )
    points, axis_names = _pca(x) if method == "pca" else _tsne(x)
    figure, axes = one_panel(6.0, 4.6, title)
    for index, number in enumerate(classes):
        chosen, name = points[y == number], str(number) if names is None else names[number]
        marker, color = MARKERS[index % len(MARKERS)], COLORS[index % len(COLORS)]
        style: Any = {"s": 14, "marker": marker, "c": color, "alpha": 0.7, "lw": 0}
        axes.scatter(*chosen.T, label=name, **style)
        x_middle, y_middle = np.median(chosen, axis=0)
        text = axes.text(x_middle, y_middle, name, weight="bold", ha="center")
        text.set_path_effects([patheffects.withStroke(linewidth=3, foreground="w")])
    axes.set(xlabel=axis_names[0], ylabel=axis_names[1])
    finish(axes, legend=False)
    figure.legend(loc="outside right upper", frameon=False, markerscale=2)
    return figure


def _examples(features: ArrayLike, labels: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """The features f[examples, dimensions] and the labels of :func:`embedding`, checked."""
    x, y = np.asarray(features, float), np.asarray(labels)
    x = x.reshape(len(x), -1) if x.ndim else x
    if x.ndim != 2 or len(x) < 3 or x.shape[1] < 2:
        raise ValueError(
            "embedding: `features` must have at least 3 examples and 2 dimensions, "
            f"got the shape {np.shape(features)}."
        )
    if y.shape != (len(x),):
        raise ValueError(
            f"embedding: `labels` must be one for each of the {len(x)} examples, "
            f"got the shape {y.shape}."
        )
    return x, y


def _pca(x: np.ndarray) -> tuple[np.ndarray, list[str]]:
    from sklearn.decomposition import PCA

    pca = PCA(2, svd_solver="full").fit(x)
    ordinals = zip(("first", "second"), pca.explained_variance_ratio_, strict=True)
    return pca.transform(x), [f"{o} component, {s:.0%} of the variance" for o, s in ordinals]


def _tsne(x: np.ndarray) -> tuple[np.ndarray, list[str]]:
    from sklearn.manifold import TSNE

    perplexity = min(PERPLEXITY, (len(x) - 1) / 3)
    points = TSNE(2, perplexity=perplexity, init="pca", random_state=0).fit_transform(x)
    return points, ["first t-SNE coordinate, no unit", "second t-SNE coordinate, no unit"]
