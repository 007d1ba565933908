"""Tables: CSV and Parquet files of numeric features with one target column.

What a training could not use is refused when the file is read, by row and column, for a NaN found
after an hour names neither.
"""

import os
import pathlib
from typing import Any

import numpy as np
from jaxtyping import Float32, Shaped

from jaxopt_course.core import checks

from ._columns import as_float32, column_labels, exact_numbers, open_table
from ._dataset import Dataset


class UnknownColumnError(ValueError):
    """The column to predict is not one of the table's."""


_OWNER = "read_table"

# Of a column's standard deviation: what rounding to float32 may add as noise.
_ROUNDING = 1e-3


def read_table(path: str | os.PathLike[str], *, target: str) -> Dataset:
    r"""Read ``path`` (``.csv`` or ``.parquet``) with pyarrow.

    A target column of strings, booleans or integers is a classification: its sorted distinct
    values are the classes 0, 1, ... and their labels the ``target_names``. A column of floats
    is a regression. All other columns are features.

    Args:
        path: the file. A CSV file has a header and commas.
        target: the name of the column to predict.

    Returns:
        The data set, named as the file without its ending.

    Raises:
        FileNotFoundError: if there is no such file.
        UnknownColumnError: if there is no column ``target``.
        ValueError: if the file is empty or unreadable; if a feature is not numeric; if a value
            is missing or not finite; if float32 cannot resolve a column; if a target has one
            class only, or mostly distinct integers.
        ImportError: if pyarrow is missing.

    Examples:
        >>> import pathlib, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "pumps.csv")
        ...     _ = path.write_text("flow,state\n1.5,good\n2.5,bad\n2.0,good\n3.0,bad\n")
        ...     data = read_table(path, target="state")
        >>> data.target_names, data.targets
        (('bad', 'good'), array([1, 0, 1, 0], dtype=int32))
    """
    path = pathlib.Path(path)
    place = f"{_OWNER}: {str(path)!r}"
    table = open_table(_OWNER, path)
    names = table.column_names
    try:
        checks.choice(place, "target", target, names)
    except ValueError as error:
        raise UnknownColumnError(str(error)) from None
    feature_names = tuple(name for name in names if name != target)
    if not feature_names or not table.num_rows:
        raise ValueError(
            f"{place} is empty: it has {table.num_rows} rows "
            f"and {len(feature_names)} columns besides the target."
        )
    inputs = np.stack([_numbers(place, table, name) for name in feature_names], axis=1)
    targets, target_names, problem = _targets(place, table, target)
    return Dataset(
        inputs=inputs,
        targets=targets,
        feature_names=feature_names,
        target_names=target_names,
        name=path.stem,
        problem=problem,
        description=f"Read from {path.name}.",
    )


def _numbers(place: str, table: Any, name: str) -> Float32[np.ndarray, " n"]:
    """A column of numbers in float32, unless that would drown its differences in rounding."""
    exact = exact_numbers(place, table, name)
    rounded = as_float32(place, name, exact)
    noise, spread = np.abs(rounded - exact).max(), exact.std()
    if noise > _ROUNDING * spread and exact.min() < exact.max():
        raise ValueError(
            f"{place}: float32 cannot resolve column {name!r}, whose values lie in "
            f"[{exact.min()}, {exact.max()}]: subtract an offset, or change the unit."
        )
    return rounded


def _targets(
    place: str, table: Any, name: str
) -> tuple[Shaped[np.ndarray, "n *outputs"], tuple[str, ...], str]:
    """The targets, the names of classes or outputs, and the problem type."""
    from pyarrow import types

    kind = table[name].type
    value_kind = kind.value_type if types.is_dictionary(kind) else kind
    if types.is_floating(value_kind):
        return _numbers(place, table, name)[:, None], (name,), "regression"
    values = column_labels(place, table, name)
    classes = sorted(set(values))
    if len(classes) == 1:
        raise ValueError(f"{place}: column {name!r} has one class only, {classes[0]!r}.")
    if len(classes) > len(values) / 2:
        raise ValueError(
            f"{place}: column {name!r} has {len(classes)} classes in {len(values)} rows, fewer "
            "than two rows a class: write its values as floats if they are to be a regression."
        )
    number = {label: index for index, label in enumerate(classes)}
    targets = np.array([number[value] for value in values], np.int32)
    return targets, tuple(map(str, classes)), "binary" if len(classes) == 2 else "multiclass"
