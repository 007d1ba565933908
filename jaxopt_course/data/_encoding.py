"""Tables of numbers, booleans, categories and dates as the inputs of a model.

    number, boolean   its value; a missing one is the median of the training rows
    category          one column of 0 and 1 for each category, and one for all others
    date              days since the earliest training row, and its place in the year and the week
                      (and the day, if it has a time), as a sine and a cosine

A numeric column or date with missing values has one more column, which is 1 where the value is
missing. A missing category is a category of its own. Categories that occur once in the training
rows count as others, so that the model has trained on that column before it meets new categories.

The statistics are scikit-learn's: https://scikit-learn.org/stable/modules/preprocessing.html
"""

import collections
import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Bool, Float32, Integer

from jaxopt_course.core import checks

from ._columns import (
    TableError,
    column_days,
    column_kind,
    column_numbers,
    column_texts,
    every_result,
    resolved_numbers,
)
from ._dataset import needs


PERIODS = {"year": 365.2425, "week": 7.0, "day": 1.0}  # in days
MOST_CATEGORIES = 1000  # of a column; text with more is rarely a category
LEAST_COUNT = 2  # rows of a category with a column of its own


@dataclasses.dataclass(frozen=True)
class NumberColumn:
    """A column of numbers or booleans.

    Attributes:
        name: name of the column.
        fill: what replaces missing values; None if none may be missing.
    """

    kind: ClassVar[str] = "number"
    name: str
    fill: float | None = None

    @classmethod
    def fit(cls, table: Any, name: str, rows: np.ndarray) -> "NumberColumn":
        values = resolved_numbers(_OWNER, table, name, missing=True)
        return cls(name, _median(name, values, rows))

    @property
    def feature_names(self) -> tuple[str, ...]:
        return (self.name, *_indicator(self.name, self.fill))

    def encode(self, table: Any) -> np.ndarray:
        values = column_numbers(_OWNER, table, self.name, missing=self.fill is not None)
        return _filled(values, self.fill)


@dataclasses.dataclass(frozen=True)
class CategoryColumn:
    """A column of text.

    Attributes:
        name: name of the column.
        categories: those with a column of their own; None stands for a missing value.
    """

    kind: ClassVar[str] = "category"
    name: str
    categories: tuple[str | None, ...]

    @classmethod
    def fit(cls, table: Any, name: str, rows: np.ndarray) -> "CategoryColumn":
        values = np.array([*column_texts(_OWNER, table, name), None], object)[:-1]
        encoder = _preprocessing().OneHotEncoder(
            handle_unknown="infrequent_if_exist", min_frequency=LEAST_COUNT
        )
        encoder.fit(values[rows, None])
        (known,), (rare,) = encoder.categories_, encoder.infrequent_categories_
        rare = () if rare is None else rare.tolist()
        kept = tuple(text for text in known.tolist() if text not in rare)
        example = next((text for text in rare if text is not None), None)
        if example is not None and len(rare) > len(rows) / 2:
            raise ValueError(
                f"{_OWNER}: column {name!r} holds text that differs in most rows, such as "
                f"{checks.shown(example)}, so it is neither a number nor a category: drop it."
            )
        if len(kept) > MOST_CATEGORIES:
            raise ValueError(
                f"{_OWNER}: column {name!r} holds {len(kept)} categories, at most "
                f"{MOST_CATEGORIES} are encoded: group some of them, or drop it."
            )
        return cls(name, kept)

    @property
    def feature_names(self) -> tuple[str, ...]:
        own = [f"{self.name} {'is missing' if x is None else f'= {x}'}" for x in self.categories]
        return (*own, f"{self.name} is another")

    def encode(self, table: Any) -> np.ndarray:
        place = {text: number for number, text in enumerate(self.categories)}
        other = len(self.categories)
        numbers = [place.get(x, other) for x in column_texts(_OWNER, table, self.name)]
        return np.eye(other + 1, dtype=np.float32)[numbers]


@dataclasses.dataclass(frozen=True)
class DateColumn:
    """A column of dates or times.

    Attributes:
        name: name of the column.
        origin: the earliest training row, in days since 1970.
        periods: keys of ``PERIODS``.
        fill: days after the origin that replace missing dates; None if none may be missing.
    """

    kind: ClassVar[str] = "date"
    name: str
    origin: float
    periods: tuple[str, ...]
    fill: float | None = None

    @classmethod
    def fit(cls, table: Any, name: str, rows: np.ndarray) -> "DateColumn":
        days = column_days(_OWNER, table, name, missing=True)
        median = _median(name, days, rows)
        origin = float(np.nanmin(days[rows]))
        has_time = bool(np.any(np.nan_to_num(days) % 1 != 0))
        periods = tuple(PERIODS) if has_time else ("year", "week")
        return cls(name, origin, periods, None if median is None else median - origin)

    @property
    def feature_names(self) -> tuple[str, ...]:
        waves = [f"{wave} of {period}" for period in self.periods for wave in ("sine", "cosine")]
        names = (self.name, *(f"{self.name}, {wave}" for wave in waves))
        return (*names, *_indicator(self.name, self.fill))

    def encode(self, table: Any) -> np.ndarray:
        days = column_days(_OWNER, table, self.name, missing=self.fill is not None)
        values = _filled(days - self.origin, self.fill)
        phases = [2 * np.pi * (values[:, 0] + self.origin) / PERIODS[p] for p in self.periods]
        waves = [wave(phase) for phase in phases for wave in (np.sin, np.cos)]
        return np.column_stack([values[:, 0], *waves, *values[:, 1:].T])


Column = NumberColumn | CategoryColumn | DateColumn
KINDS: dict[str, type[Any]] = {k.kind: k for k in (NumberColumn, CategoryColumn, DateColumn)}
_OWNER = "TableEncoder"


@dataclasses.dataclass(frozen=True)
class TableEncoder:
    """How the columns of a table become the inputs of a model.

    A number or boolean keeps its value, and a missing one is the median of the training rows. Text
    is one-hot, with one more column for missing text, if there was any, and one for all categories
    that are new or occurred once. A date becomes the days since the earliest one, and the sine and
    cosine of its place in the year, the week and, if it has a time, the day. A number or date that
    may be missing has one more column, which is 1 where it is.

    Attributes:
        columns: one for each column of the table that is encoded, in order.

    Examples:
        >>> import pyarrow
        >>> table = pyarrow.table({"heat": [1.0, None, 3.0], "pump": ["a", "b", "b"]})
        >>> encoder = TableEncoder.fit(table)
        >>> encoder.feature_names
        ('heat', 'heat is missing', 'pump = b', 'pump is another')
        >>> encoder.transform(table).tolist()
        [[1.0, 0.0, 0.0, 1.0], [2.0, 1.0, 1.0, 0.0], [3.0, 0.0, 1.0, 0.0]]
    """

    columns: tuple[Column, ...]

    @classmethod
    def fit(
        cls,
        table: Any,
        names: Sequence[str] | None = None,
        rows: Integer[np.ndarray, " n"] | None = None,
    ) -> "TableEncoder":
        """The encoder of some columns, whose statistics are those of some rows.

        Args:
            table: a ``pyarrow.Table``, such as :func:`open_table` returns.
            names: columns to encode. None: all.
            rows: numbers of the training rows. None: all. Whether values may be missing depends on
                all rows.

        Raises:
            TableError: if a column cannot be encoded, and every such column is named; or if two
                columns or features have the same name.
            ImportError: if pyarrow or scikit-learn is missing.
        """
        chosen = np.arange(table.num_rows) if rows is None else np.asarray(rows)
        names = table.column_names if names is None else names
        for name in names:
            checks.choice(_OWNER, "names", name, table.column_names)
        _refuse_repeated("columns", [n for n in table.column_names if n in names])
        _refuse_repeated("`names`", names)
        if not (len(names) and len(chosen)):
            raise TableError(_OWNER, [f"there are {len(names)} columns and {len(chosen)} rows"])
        fits = [functools.partial(_fit, table, name, chosen) for name in names]
        encoder = cls(tuple(every_result(_OWNER, fits)))
        _refuse_repeated("features", encoder.feature_names)
        encoder.transform(table)
        return encoder

    @classmethod
    def of_numbers(cls, names: Sequence[str]) -> "TableEncoder":
        """The encoder of columns of numbers, none of which may be missing."""
        return cls(tuple(map(NumberColumn, names)))

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The name of each column of the inputs."""
        return tuple(name for column in self.columns for name in column.feature_names)

    @property
    def indicators(self) -> Bool[np.ndarray, " features"]:
        """Which columns of the inputs are only 0 or 1, so that they need no scaling."""
        found = []
        for column in self.columns:
            one_hot, n = isinstance(column, CategoryColumn), len(column.feature_names)
            found += [one_hot] * (n - 1) + [one_hot or getattr(column, "fill", None) is not None]
        return np.array(found)

    def transform(self, table: Any) -> Float32[np.ndarray, "n features"]:
        """The inputs: one row for each row of a table, one column for each feature.

        Raises:
            TableError: if the table lacks a column, or if a value is of another kind, is not
                finite, or is a missing number or date in a column that had none when the encoder
                was fitted; it names every such column.
        """
        lacking = [c.name for c in self.columns if c.name not in table.column_names]
        if lacking:
            raise TableError(
                _OWNER,
                [
                    f"lacks {len(lacking)} of the model's {len(self.columns)} features; the first "
                    f"is {lacking[0]!r}"
                ],
            )
        parts = every_result(_OWNER, [functools.partial(c.encode, table) for c in self.columns])
        return np.concatenate([np.asarray(part, np.float32) for part in parts], axis=1)

    def to_json(self) -> list[dict[str, Any]]:
        """The encoder in terms of JSON."""
        return [{"kind": column.kind, **dataclasses.asdict(column)} for column in self.columns]

    @classmethod
    def from_json(cls, entries: Any) -> "TableEncoder":
        """The encoder that :meth:`to_json` described.

        Raises:
            ValueError: if ``entries`` describe no encoder.
        """
        if not isinstance(entries, list) or not entries:
            raise ValueError(f"{_OWNER}: must be a list of columns, got {checks.shown(entries)}.")
        encoder = cls(tuple(map(_column_of, entries)))
        _refuse_repeated("columns", [column.name for column in encoder.columns])
        return encoder


def _refuse_repeated(what: str, names: Sequence[str]) -> None:
    twice = [name for name, count in collections.Counter(names).items() if count > 1]
    if twice:
        raise TableError(_OWNER, [f"the names of {what} must differ, got {twice} more than once"])


def _fit(table: Any, name: str, rows: np.ndarray) -> Column:
    found: Column = KINDS[column_kind(_OWNER, table, name)].fit(table, name, rows)
    return found


def _column_of(entry: Any) -> Column:
    """A column from JSON, with every entry checked."""
    kind = KINDS.get(str(entry.get("kind"))) if isinstance(entry, dict) else None
    is_number = lambda x: (
        isinstance(x, int | float) and not isinstance(x, bool) and math.isfinite(x)
    )
    texts = lambda x: isinstance(x, list) and len(set(map(repr, x))) == len(x)
    valid = {
        "name": lambda x: isinstance(x, str),
        "fill": lambda x: x is None or is_number(x),
        "categories": lambda x: texts(x) and all(t is None or isinstance(t, str) for t in x),
        "origin": is_number,
        "periods": lambda x: texts(x) and all(isinstance(t, str) and t in PERIODS for t in x),
    }
    fields = {} if kind is None else {field.name for field in dataclasses.fields(kind)}
    if not (kind and entry.keys() == {"kind", *fields} and all(valid[f](entry[f]) for f in fields)):
        raise ValueError(f"{_OWNER}: a column is damaged: {checks.shown(entry)}.")
    own = {name: entry[name] for name in fields}
    column: Column = kind(**{k: tuple(x) if isinstance(x, list) else x for k, x in own.items()})
    return column


def _median(name: str, values: np.ndarray, rows: np.ndarray) -> float | None:
    """The median of some rows; None if no row at all lacks a value."""
    if not np.isnan(values).any():
        return None
    if np.isnan(values[rows]).all():
        raise ValueError(f"{_OWNER}: column {name!r} has no value in the training rows: drop it.")
    with needs(_OWNER, "scikit-learn"):
        from sklearn.impute import SimpleImputer
    known = values[rows, None].astype(np.float64)
    return float(SimpleImputer(strategy="median").fit(known).statistics_[0])


def _filled(values: np.ndarray, fill: float | None) -> np.ndarray:
    """A column of values and, if some may be missing, one that says where they are."""
    if fill is None:
        return values[:, None]
    missing = np.isnan(values)
    return np.column_stack([np.where(missing, fill, values), missing])


def _indicator(name: str, fill: float | None) -> tuple[str, ...]:
    return () if fill is None else (f"{name} is missing",)


def _preprocessing() -> Any:
    with needs(_OWNER, "scikit-learn"):
        from sklearn import preprocessing
    return preprocessing
