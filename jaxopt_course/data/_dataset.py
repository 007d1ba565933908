"""Data sets on the host: their checks, their hash, and the small ones of scikit-learn.

Reference: https://scikit-learn.org/stable/datasets/toy_dataset.html, with the origins of each.
"""

import contextlib
import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Float, Float32, Num, Shaped

from jaxopt_course.core import checks, sha256


class Dataset(NamedTuple):
    """Examples as NumPy arrays with one row per example, and the meaning of their columns.

    inputs: features, unscaled unless the description says otherwise.
    targets: class numbers i32[n], labels i32[n, labels], or the values f32[n, outputs] of a
        regression.
    feature_names: name of each column of the inputs.
    target_names: label of each class, or name of each label or output of a regression.
    name: name of the data set.
    problem: ``"binary"``, ``"multiclass"``, ``"multilabel"`` or ``"regression"``.
    description: origin of the data in a sentence or two.
    encoder: the :class:`TableEncoder` that made the inputs from a table; None if there is none.
    """

    inputs: Float32[np.ndarray, "n features"]
    targets: Shaped[np.ndarray, "n *outputs"]
    feature_names: tuple[str, ...]
    target_names: tuple[str, ...]
    name: str
    problem: str
    description: str
    encoder: Any = None


def check_examples(
    owner: str,
    inputs: Shaped[np.ndarray | Array, "..."],
    targets: Shaped[np.ndarray | Array, "..."],
) -> None:
    """Raise ValueError unless there are examples, with one target for each input.

    Examples are on the first axis, and ``owner`` names the caller in the message.
    """
    for name, array in (("inputs", inputs), ("targets", targets)):
        if array.ndim == 0 or 0 in array.shape:
            raise ValueError(f"{owner}: the {name} are empty: their shape is {array.shape}.")
    if len(inputs) != len(targets):
        raise ValueError(
            f"{owner}: every input needs one target: got {len(inputs)} inputs "
            f"and {len(targets)} targets."
        )


def check_features(
    owner: str,
    inputs: Num[np.ndarray | Array, "n *features"],
    feature_names: Sequence[str] = (),
) -> None:
    """Raise ValueError if a feature is NaN or infinite, and name the row, from 0, and the column.

    Columns without ``feature_names`` are identified by their numbers. The other arguments are those
    of :func:`check_examples`.

    Examples:
        >>> import numpy as np
        >>> check_features("pumps", np.array([[1.0, 2.0], [3.0, np.nan]]), ("flow", "heat"))
        Traceback (most recent call last):
        ValueError: pumps: every number must be finite, got nan in row 1, column 'heat'.
    """
    values = np.asarray(inputs)
    bad = np.argwhere(~np.isfinite(values))
    if not len(bad):
        return
    row, *column = (int(i) for i in bad[0])
    place = ", ".join(map(str, column))
    if len(column) == 1 and feature_names:
        place = repr(feature_names[column[0]])
    where = f", column {place}" if column else ""
    raise ValueError(
        f"{owner}: every number must be finite, got {values[tuple(bad[0])]} in row {row}{where}."
    )


def hash_dataset(dataset: Dataset) -> str:
    """The SHA-256 of a data set, for the record of a run.

    It covers the bytes (little-endian), dtypes and shapes of both arrays, the problem type, and the
    names of features and targets, but not the name and the description of the data set.
    """
    arrays = {"inputs": dataset.inputs, "targets": dataset.targets}
    header = {
        "problem": dataset.problem,
        "feature_names": dataset.feature_names,
        "target_names": dataset.target_names,
        "arrays": [(name, array.dtype.name, array.shape) for name, array in arrays.items()],
    }
    little = [array.astype(array.dtype.newbyteorder("<")) for array in arrays.values()]
    return sha256(f"{json.dumps(header)}\n", *little)


@contextlib.contextmanager
def needs(owner: str, package: str) -> Iterator[None]:
    """Name the extra that installs ``package`` if an import inside the ``with`` fails."""
    try:
        yield
    except ImportError as error:
        raise ImportError(f"{owner} needs {package}: pip install 'jaxopt_course[data]'.") from error


def digits() -> Dataset:
    """1797 handwritten digits of 8x8 pixels in [0, 1], ten classes; see :func:`digit_images`."""
    data = _dataset("digits", "Handwritten digits, 8x8 grey pixels.")
    return data._replace(inputs=data.inputs / 16)


def digit_images(
    inputs: Float[np.ndarray | Array, "*n 64"],
) -> Float[np.ndarray | Array, "*n 8 8 1"]:
    """The rows of :func:`digits` as images with one channel, for convolutions and plots."""
    return inputs.reshape(*inputs.shape[:-1], 8, 8, 1)


def breast_cancer() -> Dataset:
    """569 tumours, 30 measurements of cell nuclei: malignant (0) or benign (1)."""
    return _dataset("breast_cancer", "Tumours: measurements of cell nuclei.")


def wine() -> Dataset:
    """178 wines, 13 chemical measurements, three growers; the features differ 1e4-fold in size."""
    return _dataset("wine", "Wines of three growers: chemical analyses.")


def iris() -> Dataset:
    """150 flowers, 4 lengths in cm, three species."""
    return _dataset("iris", "Iris flowers of three species: lengths in cm.")


def diabetes() -> Dataset:
    """442 patients, 10 unscaled measurements, progress of the disease after a year.

    scikit-learn by default scales them by the statistics of all rows, including test rows.
    """
    origin = "Diabetes patients: progress of the disease after a year."
    return _dataset("diabetes", origin, ("progression",), scaled=False)


_LOADERS = {loader.__name__: loader for loader in (breast_cancer, diabetes, digits, iris, wine)}
DATASETS = tuple(_LOADERS)


def load(name: str) -> Dataset:
    """The data set called ``name``, one of ``DATASETS``.

    Raises:
        ImportError: if scikit-learn is missing.

    Examples:
        >>> load("iris").inputs.shape
        (150, 4)
    """
    checks.choice("load", "name", name, DATASETS)
    return _LOADERS[name]()


def _dataset(
    name: str, description: str, outputs: tuple[str, ...] | None = None, **options: Any
) -> Dataset:
    """A data set of scikit-learn: a regression of ``outputs``, or a classification."""
    with needs(name, "scikit-learn"):
        from sklearn import datasets
    bunch = getattr(datasets, f"load_{name}")(**options)
    targets: np.ndarray = bunch.target
    target_names = outputs or tuple(map(str, bunch.target_names))
    problem = "binary" if len(target_names) == 2 else "multiclass"
    return Dataset(
        inputs=bunch.data.astype(np.float32),
        targets=targets.astype(np.float32)[:, None] if outputs else targets.astype(np.int32),
        feature_names=tuple(map(str, bunch.feature_names)),
        target_names=target_names,
        name=name,
        problem="regression" if outputs else problem,
        description=description,
    )
