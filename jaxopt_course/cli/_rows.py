"""New rows for a trained model, from a table: its features by name, its target if it is there."""

import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxopt_course.data import column_labels, column_numbers, open_table


class NewRows(NamedTuple):
    """A table that was read.

    place: what messages call it: the command and the file.
    table: the ``pyarrow.Table``.
    """

    place: str
    table: Any


def read_rows(path: pathlib.Path) -> NewRows:
    """The table in a .csv or .parquet file, read as a training reads it.

    Raises:
        ValueError: if the file is unreadable or has no row.
    """
    table = open_table("evaluate", path)
    if not table.num_rows:
        raise ValueError(f"evaluate: {str(path)!r} has no rows.")
    return NewRows(f"evaluate: {str(path)!r}", table)


def take_features(rows: NewRows, names: Sequence[str]) -> np.ndarray:
    """The columns ``names`` as f32[rows, features]; other columns are left aside.

    Raises:
        ValueError: if one is missing, not numeric, or has a value that is missing, not finite or
            beyond the range of float32.
    """
    missing = [name for name in names if name not in rows.table.column_names]
    if missing:
        raise ValueError(
            f"{rows.place} lacks {len(missing)} of the model's {len(names)} features, first of all "
            f"{missing[0]!r}."
        )
    return np.stack([numbers(rows, name) for name in names], axis=1)


def numbers(rows: NewRows, name: str) -> np.ndarray:
    """A numeric column as finite f32[rows]."""
    return column_numbers(rows.place, rows.table, name)


def class_numbers(rows: NewRows, name: str, labels: Sequence[str]) -> np.ndarray:
    """A column of labels as the class numbers of a model, i32[rows].

    Raises:
        ValueError: if one of them is not among the model's classes.
    """
    known = {label: number for number, label in enumerate(labels)}
    values = column_labels(rows.place, rows.table, name)
    for row, value in enumerate(values):
        if str(value) not in known:
            raise ValueError(
                f"{rows.place}: column {name!r} must hold the model's classes "
                f"{', '.join(labels)}, got {value!r} in row {row}."
            )
    return np.array([known[str(value)] for value in values], np.int32)
