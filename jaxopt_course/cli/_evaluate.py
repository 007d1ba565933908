"""The command ``evaluate``: a run's model on the run's own test rows, or on new rows."""

import csv
import dataclasses
import io
import math
import pathlib
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
import tyro

from jaxopt_course.data import hash_dataset
from jaxopt_course.training import Bundle, apply_bundle, load_bundle

from ._errors import COMPLETED, UsageError
from ._parse import parse
from ._report import print_json, print_table
from ._rows import NewRows, class_numbers, numbers, read_rows, take_features
from ._run_record import RunRecord, read_record
from ._score import score_bundle
from ._setup import load_data, prepare
from ._streams import print_out
from ._train import BUNDLE, RECORD


@dataclasses.dataclass(frozen=True)
class EvaluateOptions:
    """Apply a trained model.

    Without FILE: the figures of the run's own test rows. With a FILE that holds the target: the
    figures of its rows. With one that does not: a prediction for each row, as CSV.
    """

    file: Annotated[pathlib.Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="[FILE]")] = (
        None
    )
    """A table, .csv or .parquet, with the features that the model was trained on."""
    run: Annotated[pathlib.Path | None, tyro.conf.arg(metavar="DIR")] = None
    """The directory of the run; required."""
    target: str | None = None
    """The column of FILE with the true values. None: called as in training, if it is there."""
    json: bool = False
    """Print JSON, in full precision."""


def evaluate(arguments: Sequence[str]) -> int:
    """Run the command; 0 if it could."""
    options = parse(EvaluateOptions, arguments, prog="jaxopt-course evaluate")
    if options.run is None:
        raise UsageError("--run DIR is missing.")
    record = read_record(options.run / RECORD)
    if not (options.run / BUNDLE).is_file():
        raise ValueError(
            f"{str(options.run)!r} holds no model {BUNDLE}: its training ended as "
            f"{record.outcome!r}."
        )
    bundle = load_bundle(options.run / BUNDLE)
    if options.file is None:
        _show({"test": _test_figures(record, bundle)}, options.json)
        return COMPLETED
    if not options.file.is_file():
        raise UsageError(f"there is no file {str(options.file)!r}.")
    rows = read_rows(options.file)
    inputs = _take_inputs(rows, record, bundle)
    target = options.target or record.options.target or "target"
    if target in rows.table.column_names:
        targets = (
            numbers(rows, target)[:, None]
            if bundle.label_names is None
            else class_numbers(rows, target, bundle.label_names)
        )
        _show(score_bundle(bundle, {options.file.name: (inputs, targets)}), options.json)
        return COMPLETED
    if options.target is not None:
        raise UsageError(f"{str(options.file)!r} has no column {target!r}.")
    _predict(bundle, inputs, options.json)
    return COMPLETED


def _show(figures: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json({"figures": figures})
    else:
        print_table(figures)


def _take_inputs(rows: NewRows, record: RunRecord, bundle: Bundle) -> np.ndarray:
    """The features as the model takes them."""
    wanted, named = math.prod(bundle.input_shape), len(record.feature_names)
    if named != wanted:
        raise ValueError(
            f"{record.path} is not the record of the model beside it: it names {named} features, "
            f"the model takes {wanted}."
        )
    return take_features(rows, record.feature_names).reshape(-1, *bundle.input_shape)


def _test_figures(record: RunRecord, bundle: Bundle) -> dict[str, Any]:
    """The figures of the rows that the run held apart for its test."""
    try:
        dataset = load_data(record.options)
    except UsageError as error:  # it is not the user who asked for it
        raise ValueError(f"{record.path}: {error}") from error
    if hash_dataset(dataset) != record.data_sha256:
        raise ValueError(
            f"{dataset.name} is not the data set of the run in {record.path} any more: it has "
            "changed."
        )
    try:
        examples = prepare(record.options, dataset)
    except UsageError as error:
        raise ValueError(f"{record.path}: {error}") from error
    if bundle.problem != dataset.problem or bundle.input_shape != examples.raw.shape[1:]:
        raise ValueError(f"{record.path} is not the record of the model beside it.")
    rows = examples.parts.test
    return score_bundle(bundle, {"test": (examples.raw[rows], dataset.targets[rows])})["test"]


def _predict(bundle: Bundle, inputs: np.ndarray, as_json: bool) -> None:
    """Print a prediction for each row and, of classes, its probability."""
    predictions = apply_bundle(bundle, inputs)
    values, labels = np.asarray(predictions.values), predictions.labels.reshape(len(inputs))
    table: dict[str, list[Any]] = {"prediction": labels.tolist()}
    if bundle.label_names is not None:
        both = np.concatenate([1 - values, values], axis=1) if values.shape[1] == 1 else values
        table["probability"] = both.max(axis=1).tolist()
    if as_json:
        print_json(table)
        return
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(table)
    writer.writerows(zip(*table.values(), strict=True))
    print_out(lines.getvalue())
