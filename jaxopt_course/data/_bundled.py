"""The small data sets that scikit-learn carries: no download, the same bytes everywhere.

Reference: https://scikit-learn.org/stable/datasets/toy_dataset.html, with the origins of each.
"""

from typing import Any

import numpy as np
from jaxtyping import Array, Float

from jaxopt_course.core import checks

from ._dataset import Dataset, needs


def digits() -> Dataset:
    """1797 handwritten digits of 8x8 pixels in [0, 1], ten classes; see :func:`digit_images`."""
    data = _classes("digits", "Handwritten digits, 8x8 grey pixels.")
    return data._replace(inputs=data.inputs / 16)


def digit_images(
    inputs: Float[np.ndarray | Array, "*n 64"],
) -> Float[np.ndarray | Array, "*n 8 8 1"]:
    """The rows of :func:`digits` as images with one channel, for convolutions and plots."""
    return inputs.reshape(*inputs.shape[:-1], 8, 8, 1)


def breast_cancer() -> Dataset:
    """569 tumours, 30 measurements of cell nuclei: malignant (0) or benign (1)."""
    return _classes("breast_cancer", "Tumours: measurements of cell nuclei.")


def wine() -> Dataset:
    """178 wines, 13 chemical measurements, three growers; the features differ 1e4-fold in size."""
    return _classes("wine", "Wines of three growers: chemical analyses.")


def iris() -> Dataset:
    """150 flowers, 4 lengths in cm, three species."""
    return _classes("iris", "Iris flowers of three species: lengths in cm.")


def diabetes() -> Dataset:
    """442 patients, 10 measurements in their own units, progress of the disease after a year.

    The form that scikit-learn hands out by default is scaled by the statistics of all rows, of
    test rows too; this one is not scaled.
    """
    bunch = _bunch("diabetes", scaled=False)
    return Dataset(
        inputs=bunch.data.astype(np.float32),
        targets=bunch.target.astype(np.float32)[:, None],
        feature_names=tuple(map(str, bunch.feature_names)),
        target_names=("progression",),
        name="diabetes",
        problem="regression",
        description="Diabetes patients: progress of the disease after a year.",
    )


_LOADERS = {loader.__name__: loader for loader in (breast_cancer, diabetes, digits, iris, wine)}
DATASETS = tuple(_LOADERS)


def load(name: str) -> Dataset:
    """The data set called ``name``, one of ``DATASETS``.

    Raises:
        ValueError: if there is no such data set.
        ImportError: if scikit-learn is missing.

    Examples:
        >>> load("iris").inputs.shape
        (150, 4)
    """
    checks.choice("load", "name", name, DATASETS)
    return _LOADERS[name]()


def _bunch(name: str, **options: Any) -> Any:
    with needs(name, "scikit-learn"):
        from sklearn import datasets
    return getattr(datasets, f"load_{name}")(**options)


def _classes(name: str, description: str) -> Dataset:
    bunch = _bunch(name)
    target_names = tuple(map(str, bunch.target_names))
    return Dataset(
        inputs=bunch.data.astype(np.float32),
        targets=bunch.target.astype(np.int32),
        feature_names=tuple(map(str, bunch.feature_names)),
        target_names=target_names,
        name=name,
        problem="binary" if len(target_names) == 2 else "multiclass",
        description=description,
    )
