"""CSV and Parquet files, and their columns as numbers, text or days.

The functions take the ``place`` that their messages name, such as the reader and the file. Rows are
counted from 0, without the header.
"""

import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float, Float32

from jaxopt_course.core import checks

from ._dataset import check_features, needs


_ENDINGS = (".csv", ".parquet")
_MICROSECONDS = 86_400e6  # in a day
_ROUNDING = 1e-3  # largest rounding error in float32, as a share of a column's standard deviation

Result = TypeVar("Result")


class TableError(ValueError):
    """A table cannot be used.

    Attributes:
        obstacles: all that is wrong with it, a sentence each without its full stop.
    """

    def __init__(self, place: str, obstacles: Sequence[str]) -> None:
        self.obstacles = tuple(text.removesuffix(".") for text in obstacles)
        if len(obstacles) == 1:
            super().__init__(f"{place}: {self.obstacles[0]}.")
        else:
            numbered = (f"({i}) {text}." for i, text in enumerate(self.obstacles, 1))
            super().__init__(f"{place} has {len(obstacles)} obstacles: {' '.join(numbered)}")


def every_result(place: str, calls: Sequence[Callable[[], Result]]) -> list[Result]:
    """The results of all ``calls``.

    Raises:
        TableError: if one of them raises ValueError; its obstacles are those of all calls.

    Examples:
        >>> every_result("a.csv", [lambda: 1, lambda: int("2")])
        [1, 2]
    """
    results, obstacles = [], list[str]()
    for call in calls:
        try:
            results.append(call())
        except TableError as error:
            obstacles += error.obstacles
        except ValueError as error:
            obstacles.append(str(error).removeprefix(place).removeprefix(": "))
    if obstacles:
        raise TableError(place, obstacles)
    return results


def open_table(owner: str, path: str | os.PathLike[str], *, text: Sequence[str] = ()) -> Any:
    """The ``pyarrow.Table`` in a file whose column names differ.

    Args:
        owner: name of the caller, for messages.
        path: a ``.parquet`` file, or a ``.csv`` file with a header and commas, in UTF-8.
        text: columns of a ``.csv`` file that are text, even where all of it looks like numbers.

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
    table = _read(owner, path, text)
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


def column_kind(place: str, table: Any, name: str) -> str:
    """Whether a column holds values of the kind ``"number"``, ``"category"`` or ``"date"``.

    Raises:
        ValueError: if it holds nothing, values of another type, or text that is mostly numbers.
    """
    from pyarrow import types

    column = _plain(table[name])
    kind = column.type
    if column.null_count == len(column):
        raise ValueError(f"{place}: column {name!r} holds no value: drop it.")
    if types.is_date(kind) or types.is_timestamp(kind):
        return "date"
    if _is_text(kind):
        texts = [text for text in set(column.to_pylist()) if text is not None]
        if 2 * sum(map(_is_numeral, texts)) > len(texts) > 1:
            raise _not_numbers(place, name, column)
        return "category"
    if not _is_number(kind):
        raise ValueError(f"{place}: column {name!r} holds values of type {kind}: drop it.")
    return "number"


def column_numbers(
    place: str, table: Any, name: str, *, missing: bool = False
) -> Float32[np.ndarray, " n"]:
    """The column ``name`` of integers, floats, decimals or booleans in float32.

    ``table`` is from :func:`open_table`, and ``place`` names the reader and the file in messages.
    With ``missing`` a missing value is NaN.

    Raises:
        ValueError: if a value is missing, not a number, or not finite in float32.
    """
    return _as_float32(place, name, _exact_numbers(place, table, name, missing))


def resolved_numbers(
    place: str, table: Any, name: str, *, missing: bool = False
) -> Float32[np.ndarray, " n"]:
    """The result of :func:`column_numbers`; raise if rounding would hide its differences."""
    exact = _exact_numbers(place, table, name, missing)
    rounded = _as_float32(place, name, exact)
    known = exact[~np.isnan(exact)]
    noise = np.abs(rounded - exact).max(initial=0.0, where=~np.isnan(exact))
    if noise > 0 and noise > _ROUNDING * known.std() and known.min() < known.max():
        raise ValueError(
            f"{place}: float32 cannot resolve column {name!r}, whose values lie in "
            f"[{known.min()}, {known.max()}]: subtract an offset, or change the unit."
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


def column_texts(place: str, table: Any, name: str) -> list[str | None]:
    """A column of text, or of integers or booleans as text; None where a value is missing.

    Raises:
        ValueError: if it holds values of another type.
    """
    from pyarrow import string, types

    column = _plain(table[name])
    kinds = (_is_text, types.is_integer, types.is_boolean, types.is_null)
    if not any(is_kind(column.type) for is_kind in kinds):
        raise ValueError(
            f"{place}: column {name!r} must hold text, but it holds values of type {column.type}."
        )
    texts: list[str | None] = column.cast(string()).to_pylist()
    return texts


def column_days(
    place: str, table: Any, name: str, *, missing: bool = False
) -> Float[np.ndarray, " n"]:
    """A column of dates or times in days since 1970; with ``missing`` a missing date is NaN.

    Raises:
        ValueError: if a date is missing, or the column holds no dates.
    """
    from pyarrow import int64, timestamp, types

    column = _plain(table[name])
    if not missing:
        _refuse_missing(place, name, column)
    if types.is_null(column.type):
        return np.full(len(column), np.nan)
    if not (types.is_date(column.type) or types.is_timestamp(column.type)):
        raise ValueError(
            f"{place}: column {name!r} must hold dates, but it holds values of type {column.type}, "
            f"such as {checks.shown(_first(column))}."
        )
    unit = timestamp("us", getattr(column.type, "tz", None))
    moments = column.cast(unit, safe=False).cast(int64()).to_numpy()
    return moments.astype(np.float64) / _MICROSECONDS


def _exact_numbers(
    place: str, table: Any, name: str, missing: bool = False
) -> Float[np.ndarray, " n"]:
    """A column of finite numbers in float64; with ``missing`` some may be NaN."""
    from pyarrow import types

    column = _plain(table[name])
    if not missing:
        _refuse_missing(place, name, column)
    if not (_is_number(column.type) or (missing and types.is_null(column.type))):
        raise _not_numbers(place, name, column)
    exact = column.to_numpy().astype(np.float64)
    finite = np.nan_to_num(exact, nan=0.0, posinf=np.inf, neginf=-np.inf) if missing else exact
    check_features(place, finite[:, None], (name,))
    return exact


def _not_numbers(place: str, name: str, column: Any) -> ValueError:
    """The error about a column that must hold numbers."""
    return ValueError(
        f"{place}: column {name!r} must hold numbers, but it holds values of type {column.type}, "
        f"such as {checks.shown(_first(column))}: encode or drop it."
    )


def _first(column: Any) -> Any:
    """The first value that is not missing, of text the first that is not a number, or None."""
    values = [x for x in column.to_pylist() if x is not None]
    return next((x for x in values if not _is_numeral(x)), next(iter(values), None))


def _is_numeral(text: Any) -> bool:
    try:
        float(text)
    except (TypeError, ValueError):
        return False
    return True


def _is_number(kind: Any) -> bool:
    from pyarrow import types

    kinds = (types.is_integer, types.is_floating, types.is_boolean, types.is_decimal)
    return any(is_kind(kind) for is_kind in kinds)


def _is_text(kind: Any) -> bool:
    from pyarrow import types

    return types.is_string(kind) or types.is_large_string(kind)


def value_is_float(table: Any, name: str) -> bool:
    """Whether a column holds floats, or categories that are floats."""
    from pyarrow import types

    kind = table[name].type
    return types.is_floating(kind.value_type if types.is_dictionary(kind) else kind)


def _as_float32(place: str, name: str, exact: Float[np.ndarray, " n"]) -> Float32[np.ndarray, " n"]:
    """Finite numbers in float32; raise if one of them becomes infinite."""
    with np.errstate(over="ignore"):
        rounded = exact.astype(np.float32)
    beyond = np.flatnonzero(np.isinf(rounded))
    if len(beyond):
        raise ValueError(
            f"{place}: every number must lie in the range of float32, got {exact[beyond[0]]} in "
            f"row {beyond[0]}, column {name!r}: change the unit."
        )
    return rounded


def _plain(column: Any) -> Any:
    """A column with its categories, if it has any, replaced by their values."""
    from pyarrow import types

    return column.cast(column.type.value_type) if types.is_dictionary(column.type) else column


def _read(owner: str, path: pathlib.Path, text: Sequence[str]) -> Any:
    with needs(owner, "pyarrow"):
        import pyarrow
        from pyarrow import csv, parquet
    try:
        if path.suffix.lower() == ".parquet":
            with parquet.ParquetFile(path) as file:
                return file.read()
        # An empty field is a missing value in columns of text too.
        own = dict.fromkeys(text, pyarrow.string())
        options = csv.ConvertOptions(strings_can_be_null=True, column_types=own)
        return csv.read_csv(path, convert_options=options)
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
