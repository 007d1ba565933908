"""New rows for a trained model, from a table: its features by name, its target if it is there."""

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from pyarrow import ArrowException, Table, csv, parquet, types

from jaxopt_course.data import check_features


__all__ = ["class_numbers", "numbers", "read_rows", "take_features"]


def read_rows(path: pathlib.Path) -> Table:
    """The table in a .csv or .parquet file.

    Raises:
        ValueError: if the file is unreadable or has no row.
    """
    try:
        if path.suffix.lower() == ".parquet":
            with parquet.ParquetFile(path) as file:
                table = file.read()
        else:
            options = csv.ConvertOptions(strings_can_be_null=True)
            table = csv.read_csv(path, convert_options=options)
    except (ArrowException, OSError) as error:
        raise ValueError(f"cannot read {str(path)!r}: {error}") from error
    if not table.num_rows:
        raise ValueError(f"{str(path)!r} has no rows.")
    return table


def take_features(table: Table, names: Sequence[str]) -> np.ndarray:
    """The columns ``names`` as f32[rows, features]; other columns are left aside.

    Raises:
        ValueError: if one is missing, not numeric, or has a value that is missing or not finite.
    """
    missing = [name for name in names if name not in table.column_names]
    if missing:
        raise ValueError(f"the table lacks {len(missing)} features, first of all {missing[0]!r}.")
    return np.stack([numbers(table, name) for name in names], axis=1)


def numbers(table: Table, name: str) -> np.ndarray:
    """A numeric column as finite f32[rows]."""
    column = table[name]
    kind = column.type
    if not (types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)):
        raise ValueError(f"column {name!r} must hold numbers, not values of type {kind}.")
    values = np.array([np.nan if v is None else v for v in column.to_pylist()], np.float64)
    check_features("evaluate", values[:, None], (name,))
    return values.astype(np.float32)


def class_numbers(table: Table, name: str, labels: Sequence[str]) -> np.ndarray:
    """A column of labels as the class numbers of a model, i32[rows].

    Raises:
        ValueError: if one of them is not among the model's classes.
    """
    known = {label: number for number, label in enumerate(labels)}
    values: list[Any] = table[name].to_pylist()
    for row, value in enumerate(values):
        if str(value) not in known:
            raise ValueError(
                f"column {name!r}: the model's classes are {', '.join(labels)}, "
                f"got {value!r} in row {row}."
            )
    return np.array([known[str(value)] for value in values], np.int32)
