"""The columns of a CSV or Parquet file: one reader for what trains and for what is predicted.

What a model could not use is refused here by file, row and column. Rows count from 0 and leave the
header out.
"""

import os
import pathlib
from typing import Any

import numpy as np
from jaxtyping import Float, Float32

from jaxopt_course.core import checks

from ._dataset import check_features, needs


ENDINGS = (".csv", ".parquet")


def open_table(owner: str, path: str | os.PathLike[str]) -> Any:
    """The ``pyarrow.Table`` in a ``.csv`` or ``.parquet`` file, whose column names all differ.

    Args:
        owner: the function that reads, for messages.
        path: the file. A CSV file has a header and commas, and is written in UTF-8.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if its name ends otherwise, or it cannot be read, is not UTF-8, or has a column
            twice.
        ImportError: if pyarrow is missing.
    """
    path = pathlib.Path(path)
    checks.choice(owner, "path ending", path.suffix.lower(), ENDINGS)
    if not path.is_file():
        raise FileNotFoundError(f"{owner}: there is no file {str(path)!r}.")
    place = f"{owner}: {str(path)!r}"
    table = _read(owner, path)
    try:
        names = table.column_names
    except UnicodeDecodeError as error:
        raise ValueError(f"{place} has column names that are not UTF-8 text.") from error
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{place}: column names must differ, got {twice} more than once.")
    if path.suffix.lower() == ".csv":
        _require_text(place, table)
    return table


def column_numbers(place: str, table: Any, name: str) -> Float32[np.ndarray, " n"]:
    """A column of integers, floats or booleans in float32; all of them are finite there.

    Args:
        place: the reader and the file, for messages.
        table: as :func:`open_table` gives it.
        name: of the column.

    Raises:
        ValueError: if a value is missing, no number, NaN, or beyond the range of float32.
    """
    return as_float32(place, name, exact_numbers(place, table, name))


def exact_numbers(place: str, table: Any, name: str) -> Float[np.ndarray, " n"]:
    """The same in float64."""
    from pyarrow import types

    column = _plain(table[name])
    _refuse_missing(place, name, column)
    kind = column.type
    if not (types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)):
        raise ValueError(
            f"{place}: column {name!r} must hold numbers, but it holds values of type {kind}, such "
            f"as {column[0].as_py()!r}: encode or drop it."
        )
    exact = column.to_numpy().astype(np.float64)
    check_features(place, exact[:, None], (name,))
    return exact


def as_float32(place: str, name: str, exact: Float[np.ndarray, " n"]) -> Float32[np.ndarray, " n"]:
    """Finite numbers in float32, in which models compute.

    Raises:
        ValueError: if one is beyond its range, where it would become infinite.
    """
    with np.errstate(over="ignore"):
        rounded = exact.astype(np.float32)
    beyond = np.flatnonzero(~np.isfinite(rounded))
    if len(beyond):
        raise ValueError(
            f"{place}: every number must lie in the range of float32, got {exact[beyond[0]]} in "
            f"row {beyond[0]}, column {name!r}: change the unit."
        )
    return rounded


def column_labels(place: str, table: Any, name: str) -> list[Any]:
    """A column of strings, integers or booleans, or of categories of such, as Python values.

    Raises:
        ValueError: if a value is missing, or of another kind.
    """
    from pyarrow import types

    column = _plain(table[name])
    _refuse_missing(place, name, column)
    kinds = (types.is_integer, types.is_boolean, types.is_string, types.is_large_string)
    if not any(is_kind(column.type) for is_kind in kinds):
        raise ValueError(
            f"{place}: a target must hold labels, integers or floats, but column {name!r} holds "
            f"values of type {column.type}."
        )
    values: list[Any] = column.to_pylist()
    return values


def _plain(column: Any) -> Any:
    """A column of categories as one of their values."""
    from pyarrow import types

    return column.cast(column.type.value_type) if types.is_dictionary(column.type) else column


def _read(owner: str, path: pathlib.Path) -> Any:
    with needs(owner, "pyarrow"):
        import pyarrow
        from pyarrow import csv, parquet
    try:
        if path.suffix.lower() == ".parquet":
            with parquet.ParquetFile(path) as file:
                return file.read()
        # An empty field of a text column is missing, as it is in a column of numbers.
        return csv.read_csv(path, convert_options=csv.ConvertOptions(strings_can_be_null=True))
    except (pyarrow.ArrowException, OSError) as error:
        said = " ".join(str(error).split())
        raise ValueError(f"{owner}: cannot read {str(path)!r}: {said}") from error


def _require_text(place: str, table: Any) -> None:
    """Raise unless all text is UTF-8: pyarrow reads a column of other text as bytes."""
    from pyarrow import types

    for name in table.column_names:
        if not types.is_binary(table[name].type):
            continue
        for row, value in enumerate(table[name].to_pylist()):
            try:
                (value or b"").decode()
            except UnicodeDecodeError:
                raise ValueError(
                    f"{place} must be UTF-8 text, got the bytes {value[:40]!r} in row {row}, "
                    f"column {name!r}: save it again in that encoding."
                ) from None


def _refuse_missing(place: str, name: str, column: Any) -> None:
    if column.null_count:
        row = int(np.flatnonzero(column.is_null().to_numpy())[0])
        raise ValueError(f"{place}: row {row} has no value in column {name!r}.")
