"""Features of many dimensions seen in two: how a network has arranged its examples.

Reference: van der Maaten & Hinton, "Visualizing Data using t-SNE", JMLR 2008,
https://www.jmlr.org/papers/v9/vandermaaten08a.html; principal components: Pearson 1901.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import ArrayLike
from matplotlib import patheffects
from matplotlib.figure import Figure

from jaxopt_course.core import checks

from ._style import COLORS, MARKERS, finish, new_figure


PERPLEXITY = 30.0  # of t-SNE: about how many neighbours count, its usual value


def embedding(
    features: ArrayLike,
    labels: ArrayLike,
    *,
    method: Literal["pca", "tsne"] = "pca",
    names: Sequence[str] | None = None,
    title: str | None = None,
) -> Figure:
    """Examples as points in a plane, marked by their class, whose name stands in their middle.

    Args:
        features: f[examples, dimensions], such as what the last hidden layer gives; further axes
            are taken as flat.
        labels: the class of each example, i[examples].
        method: "pca": the two directions of the largest variance, which keep distances as far as
            they go. "tsne": neighbours stay neighbours; distances between groups mean little.
            Both give the same picture every time.
        names: of the classes. None: their numbers.
        title: over the figure.

    Returns:
        A figure.

    Raises:
        ValueError: if there are fewer than 3 examples or 2 dimensions, features and labels differ
            in number, a class has no name, or ``method`` is another.

    Examples:
        >>> classes = np.array([0, 0, 1, 1, 2, 2])
        >>> figure = embedding(np.eye(3)[classes], classes)
        >>> [len(group.get_offsets()) for group in figure.axes[0].collections]
        [2, 2, 2]
    """
    checks.choice("embedding", "method", method, ("pca", "tsne"))
    x, y = np.asarray(features, float), np.asarray(labels)
    x = x.reshape(len(x), -1) if x.ndim else x
    if x.ndim != 2 or len(x) < 3 or x.shape[1] < 2:
        raise ValueError(
            "embedding: `features` must be of 3 examples and 2 dimensions at least, "
            f"got the shape {np.shape(features)}."
        )
    if y.shape != (len(x),):
        raise ValueError(
            f"embedding: `labels` must be one for each of the {len(x)} examples, "
            f"got the shape {y.shape}."
        )
    classes = np.unique(y)
    if names is not None and not set(classes.tolist()) <= set(range(len(names))):
        raise ValueError(
            f"embedding: `names` must be one for each class, up to {classes.max()}, "
            f"got {len(names)}."
        )
    points, axis_names = _pca(x) if method == "pca" else _tsne(x)
    figure = new_figure(6.0, 4.6, title)
    axes = figure.add_subplot()
    for index, number in enumerate(classes.tolist()):
        chosen = points[y == number]
        name = str(number) if names is None else names[number]
        marker, color = MARKERS[index % len(MARKERS)], COLORS[index % len(COLORS)]
        axes.scatter(
            chosen[:, 0], chosen[:, 1], s=14, marker=marker, c=color, alpha=0.7, lw=0, label=name
        )
        x_middle, y_middle = np.median(chosen, axis=0)
        text = axes.text(x_middle, y_middle, name, weight="bold", ha="center")
        text.set_path_effects([patheffects.withStroke(linewidth=3, foreground="w")])
    axes.set(xlabel=axis_names[0], ylabel=axis_names[1])
    finish(axes, legend=False)
    figure.legend(loc="outside right upper", frameon=False, markerscale=2)
    return figure


def _pca(x: np.ndarray) -> tuple[np.ndarray, list[str]]:
    from sklearn.decomposition import PCA

    pca = PCA(2, svd_solver="full").fit(x)
    shares = pca.explained_variance_ratio_
    ordinals = zip(("first", "second"), shares, strict=True)
    return pca.transform(x), [f"{o} component, {s:.0%} of the variance" for o, s in ordinals]


def _tsne(x: np.ndarray) -> tuple[np.ndarray, list[str]]:
    from sklearn.manifold import TSNE

    perplexity = min(PERPLEXITY, (len(x) - 1) / 3)
    points = TSNE(2, perplexity=perplexity, init="pca", random_state=0).fit_transform(x)
    return points, ["first t-SNE coordinate, no unit", "second t-SNE coordinate, no unit"]
