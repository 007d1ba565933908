"""Tables: CSV and Parquet files of numeric features and a target column.

A value that a model cannot use is refused when the file is read, and the message names the file,
the row and the column. Rows are counted from 0, without the header.
"""

import os
import pathlib
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Shaped

from jaxopt_course.core import checks

from ._dataset import Dataset, check_features, needs


_OWNER = "read_table"
_ENDINGS = (".csv", ".parquet")
_ROUNDING = 1e-3  # largest rounding error in float32, as a share of a column's standard deviation


class UnknownColumnError(ValueError):
    """The table has no such column."""


def read_table(path: str | os.PathLike[str], *, target: str) -> Dataset:
    r"""Read a table with pyarrow.

    A target column of strings, booleans or integers is a classification. Its sorted distinct values
    are the classes 0, 1, ..., and their labels are the ``target_names``. A target column of floats
    is a regression. All other columns are features.

    Args:
        path: a ``.parquet`` file, or a ``.csv`` file with a header and commas, in UTF-8.
        target: name of the column to predict.

    Returns:
        The data set, named as the file without its ending.

    Raises:
        FileNotFoundError: if there is no such file.
        UnknownColumnError: if there is no column ``target``.
        ValueError: if the file is empty or unreadable, a feature is not numeric, a value is missing
            or not finite, float32 cannot resolve a column, or a target of classes has only one
            class or mostly distinct values.
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
    """A column of numbers in float32; raise if rounding would hide its differences."""
    exact = _exact_numbers(place, table, name)
    rounded = _as_float32(place, name, exact)
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
    """Targets, names of the classes or outputs, and the problem type."""
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


def open_table(owner: str, path: str | os.PathLike[str]) -> Any:
    """The ``pyarrow.Table`` in a file whose column names differ; ``owner`` is for messages.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is of another kind, is unreadable, is not UTF-8, or has two columns
            of the same name.
        ImportError: if pyarrow is missing.
    """
    path = pathlib.Path(path)
    checks.choice(owner, "path ending", path.suffix.lower(), _ENDINGS)
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
    """The column ``name`` of integers, floats or booleans in float32.

    ``table`` is from :func:`open_table`, and ``place`` names the reader and the file in messages.

    Raises:
        ValueError: if a value is missing, not a number, or not finite in float32.
    """
    return _as_float32(place, name, _exact_numbers(place, table, name))


def _exact_numbers(place: str, table: Any, name: str) -> Float[np.ndarray, " n"]:
    """A column of finite numbers in float64."""
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


def _as_float32(place: str, name: str, exact: Float[np.ndarray, " n"]) -> Float32[np.ndarray, " n"]:
    """Finite numbers in float32; raise if one of them becomes infinite."""
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
    """A column of strings, integers or booleans, or of categories of them, as Python values.

    Raises:
        ValueError: if a value is missing or has another type.
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
    """A column with its categories, if it has any, replaced by their values."""
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
        # An empty field is a missing value in columns of text too.
        return csv.read_csv(path, convert_options=csv.ConvertOptions(strings_can_be_null=True))
    except (pyarrow.ArrowException, OSError) as error:
        said = " ".join(str(error).split())
        raise ValueError(f"{owner}: cannot read {str(path)!r}: {said}") from error


def _require_text(place: str, table: Any) -> None:
    """Raise unless all text is UTF-8; pyarrow reads a column of other text as bytes."""
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
