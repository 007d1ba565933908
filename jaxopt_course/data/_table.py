"""Tables of numeric features and a target, and the targets of any table.

A value that a model cannot use is refused when the file is read, and the message names the file,
the row and the column. Rows are counted from 0, without the header.
"""

import functools
import os
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Shaped

from jaxopt_course.core import checks

from ._columns import column_labels, every_result, open_table, resolved_numbers, value_is_float
from ._dataset import Dataset


_OWNER = "read_table"


class UnknownColumnError(ValueError):
    """The table has no such column."""


class TableTargets(NamedTuple):
    """The targets of a table.

    values: class numbers i32[n], labels of 0 and 1 i32[n, labels], or numbers f32[n, outputs].
    names: label of each class, or name of each column.
    problem: ``"binary"``, ``"multiclass"``, ``"multilabel"`` or ``"regression"``.
    """

    values: Shaped[np.ndarray, "n *outputs"]
    names: tuple[str, ...]
    problem: str


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
    inputs = np.stack([resolved_numbers(place, table, name) for name in feature_names], axis=1)
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


def table_targets(table: Any, names: Sequence[str]) -> TableTargets:
    """The targets in one or several columns of a table.

    A column of strings, booleans or integers is a classification. Its sorted distinct values are
    the classes 0, 1, ... A column of floats is a regression. Several columns of booleans or of the
    integers 0 and 1 are labels, and several columns of other numbers are regressions.

    Args:
        table: a ``pyarrow.Table``, such as :func:`open_table` returns.
        names: the columns.

    Raises:
        UnknownColumnError: if there is no such column.
        TableError: if a value is missing or not finite, or a column is no target of a problem.

    Examples:
        >>> import pyarrow
        >>> table = pyarrow.table({"wet": [True, False], "warm": [1, 1], "heat": [0.5, 1.5]})
        >>> table_targets(table, ["wet", "warm"]).problem, table_targets(table, ["heat"]).problem
        ('multilabel', 'regression')
    """
    owner = "table_targets"
    if not names:
        raise ValueError(f"{owner}: `names` must be at least one column, got none.")
    for name in names:
        try:
            checks.choice(owner, "names", name, table.column_names)
        except ValueError as error:
            raise UnknownColumnError(str(error)) from None
    if len(names) == 1:
        return every_result(owner, [lambda: TableTargets(*_targets(owner, table, names[0]))])[0]
    columns = every_result(
        owner, [functools.partial(resolved_numbers, owner, table, name) for name in names]
    )
    values = np.stack(columns, axis=1)
    if any(value_is_float(table, name) for name in names) or not np.isin(values, (0, 1)).all():
        return TableTargets(values, tuple(names), "regression")
    return TableTargets(values.astype(np.int32), tuple(names), "multilabel")


def _targets(
    place: str, table: Any, name: str
) -> tuple[Shaped[np.ndarray, "n *outputs"], tuple[str, ...], str]:
    """Targets, names of the classes or outputs, and the problem type."""
    if value_is_float(table, name):
        return resolved_numbers(place, table, name)[:, None], (name,), "regression"
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
