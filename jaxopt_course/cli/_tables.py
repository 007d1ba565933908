"""A table as a data set: its columns, its split into rows, and its encoding."""

import functools
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jaxopt_course.core import checks
from jaxopt_course.data import (
    Dataset,
    Split,
    TableEncoder,
    every_result,
    open_table,
    split,
    table_targets,
)

from ._options import TrainOptions, check_names
from ._process import UsageError, usage_errors


def load_table(options: TrainOptions, file: pathlib.Path, target: str) -> Dataset:
    """The data set in ``file``, encoded by the statistics of its training rows.

    Raises:
        UsageError: if the options name a column that the file does not have.
        TableError: if the file is unfit for training; the message names all obstacles.
    """
    place = f"read_table: {str(file)!r}"
    table = open_table("read_table", file)
    names = _known("target", target, table)
    features = _features(options, table, names)
    if not features or not table.num_rows:
        raise ValueError(
            f"{place} is empty: it has {table.num_rows} rows and {len(features)} columns besides "
            "the target."
        )
    results: list[Any] = every_result(
        place,
        [
            functools.partial(table_targets, table, names),
            functools.partial(TableEncoder.fit, table, features),
        ],
    )
    targets = results[0]
    rows = split_rows(options, targets.values, targets.problem)[0].train
    (encoder,) = every_result(place, [lambda: TableEncoder.fit(table, features, rows)])
    return Dataset(
        inputs=encoder.transform(table),
        targets=targets.values,
        feature_names=encoder.feature_names,
        target_names=targets.names,
        name=file.stem,
        problem=targets.problem,
        description=f"Read from {file.name}.",
        encoder=encoder,
    )


def split_rows(options: TrainOptions, targets: np.ndarray, problem: str) -> tuple[Split, jax.Array]:
    """The split of the options, and the key of the training."""
    with usage_errors():
        checks.integer("train", "seed", options.seed, "[0, 4294967296)")
        for name in ("validation", "test"):
            checks.number("train", name, getattr(options, name), "(0, 1)")
        split_key, key = jax.random.split(jax.random.key(options.seed))
        parts = split(
            split_key,
            len(targets),
            validation=options.validation,
            test=options.test,
            stratify=classes_of(targets, problem),
        )
    return parts, key


def classes_of(targets: np.ndarray, problem: str) -> np.ndarray | None:
    """The class of each row; None if the rows have no classes."""
    return targets if problem in ("binary", "multiclass") else None


def names_in(text: str, known: Sequence[str]) -> list[str]:
    """The column names in ``text``: one of the ``known`` names, or names separated by commas."""
    return [text] if text in known else [part.strip() for part in text.split(",")]


def _known(option: str, text: str, table: Any) -> list[str]:
    """The columns that an option names; raise unless the table has them."""
    names = names_in(text, table.column_names)
    check_names("train", option, names, dict.fromkeys(table.column_names))
    return names


def _features(options: TrainOptions, table: Any, targets: Sequence[str]) -> list[str]:
    """The columns that are features."""
    chosen = [name for name in table.column_names if name not in targets]
    for option in ("features", "drop"):
        if (text := getattr(options, option)) is None:
            continue
        names = _known(option, text, table)
        if both := [name for name in names if name in targets]:
            raise UsageError(f"--{option} and --target must differ, got {both[0]!r} in both.")
        chosen = names if option == "features" else [x for x in chosen if x not in names]
    return chosen
