"""A data set on the host, what makes one unfit for training, and its fingerprint."""

import contextlib
import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float32, Num, Shaped


class Dataset(NamedTuple):
    """Examples as NumPy arrays, one a row, and what their columns mean.

    inputs: the features as they were measured, unscaled unless the description says otherwise.
    targets: class numbers i32[n], or for a regression the values f32[n, outputs].
    feature_names: one for each column of the inputs.
    target_names: the label of each class; for a regression, the name of each output.
    name: of the data set, for logs and records.
    problem: the problem type: ``"binary"``, ``"multiclass"`` or ``"regression"``.
    description: where the data come from, in a sentence or two.
    """

    inputs: Float32[np.ndarray, "n features"]
    targets: Shaped[np.ndarray, "n *outputs"]
    feature_names: tuple[str, ...]
    target_names: tuple[str, ...]
    name: str
    problem: str
    description: str


def check_examples(
    owner: str,
    inputs: Shaped[np.ndarray | Array, "..."],
    targets: Shaped[np.ndarray | Array, "..."],
) -> None:
    """Raise unless there is at least one example, and one target for each input.

    Args:
        owner: the function, or the data set, for the message.
        inputs: examples on the first axis.
        targets: likewise.

    Raises:
        ValueError: if the arrays are empty, or differ in length.
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
    """Raise if a feature is NaN or infinite; name the row, from 0, and the column.

    Args:
        owner: the function, or the data set, for the message.
        inputs: examples on the first axis.
        feature_names: what to call the columns; without them they go by their index.

    Raises:
        ValueError: for the first such entry, in the order of rows.

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
    """The SHA-256 of all that a training could see: for the record of a run.

    Covers the bytes (little-endian), dtypes and shapes of both arrays, the problem type and the
    names of features and targets; not the data set's own name and description.
    """
    arrays = {"inputs": dataset.inputs, "targets": dataset.targets}
    header = {
        "problem": dataset.problem,
        "feature_names": dataset.feature_names,
        "target_names": dataset.target_names,
        "arrays": [(name, array.dtype.name, array.shape) for name, array in arrays.items()],
    }
    digest = hashlib.sha256(json.dumps(header).encode() + b"\n")
    for array in arrays.values():
        digest.update(array.astype(array.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()


@contextlib.contextmanager
def needs(owner: str, package: str) -> Iterator[None]:
    """Say which extra brings ``package`` where an import inside the ``with`` fails."""
    try:
        yield
    except ImportError as error:
        raise ImportError(f"{owner} needs {package}: pip install 'jaxopt_course[data]'.") from error
