"""Tables: CSV and Parquet files of numeric features with one target column.

What a training could not use is refused here by row and column, for a NaN found after an hour
names neither. Rows count from 0 and leave the header out.
"""

import os
import pathlib
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Shaped

from jaxopt_course.core import check_choice

from ._dataset import Dataset, check_features, needs


__all__ = ["UnknownColumnError", "read_table"]


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
    check_choice(_OWNER, "path ending", path.suffix.lower(), (".csv", ".parquet"))
    if not path.is_file():
        raise FileNotFoundError(f"{_OWNER}: there is no file {str(path)!r}.")
    table = _read(path)
    names = table.column_names
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{_OWNER}: column names must differ, got {twice} more than once.")
    try:
        check_choice(_OWNER, "target", target, names)
    except ValueError as error:
        raise UnknownColumnError(str(error)) from None
    feature_names = tuple(name for name in names if name != target)
    if not feature_names or not table.num_rows:
        raise ValueError(
            f"{_OWNER}: {str(path)!r} is empty: it has {table.num_rows} rows "
            f"and {len(feature_names)} columns besides the target."
        )
    inputs = np.stack([_numbers(name, table[name]) for name in feature_names], axis=1)
    targets, target_names, problem = _targets(target, table[target])
    return Dataset(
        inputs=inputs,
        targets=targets,
        feature_names=feature_names,
        target_names=target_names,
        name=path.stem,
        problem=problem,
        description=f"Read from {path.name}.",
    )


def _read(path: pathlib.Path) -> Any:
    with needs(_OWNER, "pyarrow"):
        import pyarrow
        from pyarrow import csv, parquet
    try:
        if path.suffix.lower() == ".parquet":
            with parquet.ParquetFile(path) as file:
                return file.read()
        # An empty field of a text column is missing, as it is in a column of numbers.
        return csv.read_csv(path, convert_options=csv.ConvertOptions(strings_can_be_null=True))
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f"{_OWNER}: cannot read {str(path)!r}: {error}") from error


def _numbers(name: str, column: Any) -> Float32[np.ndarray, " n"]:
    """A numeric or boolean column as finite float32."""
    from pyarrow import types

    _refuse_missing(name, column)
    kind = column.type
    if not (types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)):
        raise ValueError(
            f"{_OWNER}: features must be numbers, but column {name!r} holds values of type "
            f"{kind}, such as {column[0].as_py()!r}: encode or drop it."
        )
    exact = column.to_numpy().astype(np.float64)
    check_features(_OWNER, exact[:, None], (name,))
    return _single(name, exact)


def _single(name: str, exact: Float[np.ndarray, " n"]) -> Float32[np.ndarray, " n"]:
    """``exact`` in float32, unless that would drown its differences in rounding."""
    with np.errstate(over="ignore", invalid="ignore"):
        rounded = exact.astype(np.float32)
        noise, spread = np.abs(rounded - exact).max(), exact.std()
    if not np.isfinite(noise) or (noise > _ROUNDING * spread and exact.min() < exact.max()):
        raise ValueError(
            f"{_OWNER}: float32 cannot resolve column {name!r}, whose values lie in "
            f"[{exact.min()}, {exact.max()}]: subtract an offset, or change the unit."
        )
    return rounded


def _targets(
    name: str, column: Any
) -> tuple[Shaped[np.ndarray, "n *outputs"], tuple[str, ...], str]:
    """The targets, the names of classes or outputs, and the problem type."""
    from pyarrow import types

    if types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    if types.is_floating(kind):
        return _numbers(name, column)[:, None], (name,), "regression"
    _refuse_missing(name, column)
    if not (
        types.is_integer(kind)
        or types.is_boolean(kind)
        or types.is_string(kind)
        or types.is_large_string(kind)
    ):
        raise ValueError(
            f"{_OWNER}: a target must hold labels, integers or floats, but column {name!r} "
            f"holds values of type {kind}."
        )
    values = column.to_pylist()
    classes = sorted(set(values))
    if len(classes) == 1:
        raise ValueError(f"{_OWNER}: column {name!r} has one class only, {classes[0]!r}.")
    if len(classes) > len(values) / 2:
        raise ValueError(
            f"{_OWNER}: column {name!r} has {len(classes)} classes in {len(values)} rows, fewer "
            "than two rows a class: write its values as floats if they are to be a regression."
        )
    number = {label: index for index, label in enumerate(classes)}
    targets = np.array([number[value] for value in values], np.int32)
    return targets, tuple(map(str, classes)), "binary" if len(classes) == 2 else "multiclass"


def _refuse_missing(name: str, column: Any) -> None:
    if column.null_count:
        row = int(np.flatnonzero(column.is_null().to_numpy())[0])
        raise ValueError(f"{_OWNER}: row {row} has no value in column {name!r}.")
