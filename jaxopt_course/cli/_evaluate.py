"""The command ``evaluate``: metrics of a trained model, or its predictions for new rows.

The record of the run may be damaged or belong to another program, so each entry that is used is
checked first.
"""

import csv
import dataclasses
import functools
import io
import json
import math
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxopt_course.core import checks
from jaxopt_course.data import (
    TableEncoder,
    TableError,
    column_labels,
    column_numbers,
    every_result,
    hash_dataset,
    open_table,
    scale_features,
)
from jaxopt_course.metrics import r2
from jaxopt_course.training import Bundle, apply_bundle, evaluate, load_bundle, predict

from ._options import Directory, Name, TableFile, TrainOptions, parse
from ._process import COMPLETED, UsageError, print_out
from ._report import json_text, print_table
from ._setup import load_data, names_in, prepare


RECORD, BUNDLE = "run.json", "model.bundle"


@dataclasses.dataclass(frozen=True)
class EvaluateOptions:
    """Compute the metrics of a trained model, or its predictions for new rows.

    Without FILE the metrics over the test rows of the run are printed. If FILE has the target
    column, the metrics over its rows are printed. Otherwise, or with --id, a prediction for each
    row of FILE is printed as CSV, with the probability of every class.
    """

    file: TableFile = None
    """A .csv or .parquet table with the features that the model was trained on."""
    run: Directory = None
    """Directory of the run (required)."""
    target: Name = None
    """Column of FILE with the true values. By default the target column of the training."""
    id: Name = None
    """Column of FILE that identifies the predictions. By default the number of the row, from 0."""
    json: bool = False
    """Print JSON in full precision instead of a table or CSV."""


class RunRecord(NamedTuple):
    """The record of a run, as far as ``evaluate`` needs it.

    path: its file, for messages.
    outcome: how the training ended.
    options: the options that decide the data and their split; all others have their defaults.
    data_sha256: digest of the data set.
    feature_names: name of each column of the inputs.
    target_names: label of each class, or name of each label or output of a regression.
    """

    path: pathlib.Path
    outcome: str
    options: TrainOptions
    data_sha256: str
    feature_names: tuple[str, ...]
    target_names: tuple[str, ...]


def run(arguments: Sequence[str]) -> int:
    """Run the command; return 0."""
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
        _print_metrics({"test": _test_metrics(record, bundle)}, options.json)
        return COMPLETED
    if not options.file.is_file():
        raise UsageError(f"FILE does not exist: {str(options.file)!r}.")
    place, table = f"evaluate: {str(options.file)!r}", _open(options.file, bundle, options.id)
    names = names_in(options.target or record.options.target or "target", table.column_names)
    _check_columns(options, table, [] if options.target is None else names)
    if not table.num_rows:
        raise ValueError(f"{place} has no rows.")
    inputs = _take_inputs(place, table, record, bundle)
    if options.id is None and set(names) <= set(table.column_names):
        targets = _take_targets(place, table, names, bundle, record.target_names)
        metrics = score_bundle(bundle, {options.file.name: (inputs, targets)})
        _print_metrics(metrics, options.json)
    else:
        columns = {"row": _row_ids(table, options.id)} | _predictions(
            bundle, inputs, record.target_names
        )
        print_out(json_text(columns) if options.json else _csv_text(columns))
    return COMPLETED


def score_bundle(
    bundle: Bundle, parts: dict[str, tuple[np.ndarray, np.ndarray]]
) -> dict[str, dict[str, Any]]:
    """Loss and metrics over each of ``parts``, pairs of unscaled inputs and targets."""
    task = bundle.task()
    params, model_state = jax.tree.map(jnp.asarray, (bundle.params, bundle.model_state))
    metrics: dict[str, dict[str, Any]] = {}
    for name, (inputs, targets) in parts.items():
        if bundle.scaler is not None:
            inputs = np.asarray(scale_features(bundle.scaler, inputs))
        means = evaluate(task, params, model_state, inputs, targets)
        metrics[name] = {"rows": len(inputs), "loss": means.pop("loss"), **means}
        if bundle.problem == "regression":
            outputs = predict(task, params, model_state, inputs)
            metrics[name]["r2"] = float(r2(outputs, jnp.asarray(targets)))
    return metrics


Rule = tuple[str, Callable[[Any], bool]]  # in words, and as a test


def _one_of(*names: str) -> Rule:
    return f"one of {', '.join(names)}", lambda x: x in names


TEXT: Rule = "a string", lambda x: isinstance(x, str)
TEXT_OR_NULL: Rule = "a string or null", lambda x: x is None or isinstance(x, str)
SHARE: Rule = "a finite number", lambda x: isinstance(x, float) and math.isfinite(x)
OBJECT: Rule = "an object", lambda x: isinstance(x, dict)
NAMES: Rule = (
    "a list of different strings",
    lambda x: isinstance(x, list) and all(map(TEXT[1], x)) and len(set(x)) == len(x) > 0,
)
ENTRIES: dict[str, Rule] = {
    "outcome": TEXT,
    **dict.fromkeys(("config.file", "config.target", "config.dataset"), TEXT_OR_NULL),
    **dict.fromkeys(("config.features", "config.drop"), TEXT_OR_NULL),
    "config.model": _one_of("mlp", "cnn"),
    "config.scaling": _one_of("auto", "standard", "min_max", "none"),
    **dict.fromkeys(("config.validation", "config.test"), SHARE),
    "config.seed": ("an integer", lambda x: type(x) is int),
    "dataset.sha256": TEXT,
    "dataset.feature_names": NAMES,
    "dataset.target_names": NAMES,
}
ADDED = ("config.features", "config.drop")  # which older records do not have


def read_record(path: pathlib.Path) -> RunRecord:
    """The record in the file ``path``.

    Raises:
        UsageError: if there is no such file.
        ValueError: if it is damaged, or not the record of a run.
    """
    if not path.is_file():
        raise UsageError(f"{str(path.parent)!r} holds no run: it has no {path.name}.")
    try:
        record = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        why = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise ValueError(f"{path} is not JSON, so not the record of a run: {why}.") from error
    if not isinstance(record, dict):
        raise ValueError(f"{path} is not the record of a run: it must hold an object.")
    found = {name: _entry(path, record, name, rule) for name, rule in ENTRIES.items()}
    config = {k[7:]: value for k, value in found.items() if k.startswith("config.")}
    file = config.pop("file")
    if (file is None) != (config["target"] is None) or (file is not None and config["dataset"]):
        raise ValueError(f"{path} is damaged: `config` must name exactly one data set.")
    return RunRecord(
        path=path,
        outcome=found["outcome"],
        options=TrainOptions(**config, file=None if file is None else pathlib.Path(file)),
        data_sha256=found["dataset.sha256"],
        feature_names=tuple(found["dataset.feature_names"]),
        target_names=tuple(found["dataset.target_names"]),
    )


def _entry(path: pathlib.Path, record: dict[str, Any], name: str, rule: Rule) -> Any:
    """The entry of a record; the name of one in a table has a dot."""
    table, _, key = name.rpartition(".")
    entries = _entry(path, record, table, OBJECT) if table else record
    if key not in entries and name in ADDED:
        return None
    if key not in entries:
        raise ValueError(f"{path} is not the record of a run: it has no `{name}`.")
    value, (words, is_valid) = entries[key], rule
    if not is_valid(value):
        got = repr(value) if len(repr(value)) <= 60 else f"{repr(value)[:60]}..."
        raise ValueError(f"{path} is damaged: `{name}` must be {words}, got {got}.")
    return value


def _test_metrics(record: RunRecord, bundle: Bundle) -> dict[str, Any]:
    """The metrics over the test rows of the run."""
    try:
        dataset = load_data(record.options)
        if hash_dataset(dataset) != record.data_sha256:
            raise ValueError(f"{record.path}: the data set {dataset.name} has changed since.")
        examples = prepare(record.options, dataset)
    except UsageError as error:  # of the record, not of the command line
        raise ValueError(f"{record.path}: {error}") from error
    if bundle.problem != dataset.problem or bundle.input_shape != examples.raw.shape[1:]:
        raise ValueError(f"{record.path} is not the record of the model beside it.")
    rows = examples.parts.test
    return score_bundle(bundle, {"test": (examples.raw[rows], dataset.targets[rows])})["test"]


def _open(file: pathlib.Path, bundle: Bundle, row_id: str | None) -> Any:
    """The table in a file, whose identifiers and categories are text even if they are digits."""
    kinds = {c.name: c.kind for c in bundle.encoder.columns} if bundle.encoder else {}
    if row_id is not None:
        kinds.setdefault(row_id, "category")
    return open_table("evaluate", file, text=[n for n, kind in kinds.items() if kind == "category"])


def _check_columns(options: EvaluateOptions, table: Any, targets: Sequence[str]) -> None:
    """Raise unless a table has the columns that the options name."""
    for name in [*targets, *([] if options.id is None else [options.id])]:
        if name not in table.column_names:
            raise UsageError(f"{str(options.file)!r} has no column {name!r}.")


def _take_inputs(place: str, table: Any, record: RunRecord, bundle: Bundle) -> np.ndarray:
    """The features of a table in the shape that the model takes; other columns are ignored."""
    names, wanted = record.feature_names, math.prod(bundle.input_shape or ())
    if len(names) != wanted:
        raise ValueError(
            f"{record.path} is not the record of the model beside it: it names {len(names)} "
            f"features, the model takes {wanted}."
        )
    # The model of a bundled data set has no encoder: it takes numbers.
    encoder = bundle.encoder or TableEncoder.of_numbers(names)
    try:
        return encoder.transform(table).reshape(-1, *(bundle.input_shape or ()))
    except TableError as error:
        raise TableError(place, error.obstacles) from None


def _take_targets(
    place: str, table: Any, names: Sequence[str], bundle: Bundle, target_names: Sequence[str]
) -> np.ndarray:
    """The target columns of a table: values, labels, or class numbers of the model."""
    in_columns = bundle.problem in ("regression", "multilabel")
    count = len(target_names) if in_columns else 1
    if len(names) != count:
        raise UsageError(
            f"--target must name {checks.counted(count, 'column')} for this model, got "
            f"{len(names)}: {', '.join(names)}."
        )
    if in_columns:
        columns = every_result(
            place, [functools.partial(column_numbers, place, table, name) for name in names]
        )
        return np.stack(columns, axis=1)
    labels, (name,) = bundle.label_names or (), names
    known = {label: number for number, label in enumerate(labels)}
    values = column_labels(place, table, name)
    for row, value in enumerate(values):
        if str(value) not in known:
            raise ValueError(
                f"{place}: column {name!r} must hold the model's classes "
                f"{', '.join(labels)}, got {value!r} in row {row}."
            )
    return np.array([known[str(value)] for value in values], np.int32)


def _print_metrics(metrics: dict[str, Any], in_json: bool) -> None:
    if in_json:
        print_out(json_text({"figures": metrics}))
    else:
        print_table(metrics)


def _predictions(
    bundle: Bundle, inputs: np.ndarray, target_names: Sequence[str]
) -> dict[str, list[Any]]:
    """The prediction for each row and, of classes and labels, the probability of each."""
    predicted = apply_bundle(bundle, inputs)
    values, labels = np.asarray(predicted.values), predicted.labels.reshape(len(inputs), -1)
    if bundle.problem in ("regression", "multilabel"):
        ends = [""] if len(target_names) == 1 else [f"_{name}" for name in target_names]
        table = {f"prediction{end}": labels[:, i].tolist() for i, end in enumerate(ends)}
    else:
        values = np.concatenate([1 - values, values], axis=1) if values.shape[1] == 1 else values
        table = {"prediction": labels[:, 0].tolist(), "probability": values.max(axis=1).tolist()}
    if bundle.label_names is not None:
        each = zip(bundle.label_names, values.T.tolist(), strict=True)
        table |= {f"probability_{name}": column for name, column in each}
    return table


def _row_ids(table: Any, name: str | None) -> list[Any]:
    """What identifies each prediction; dates and other values are text."""
    if name is None:
        return list(range(table.num_rows))
    values = table[name].to_pylist()
    return [x if x is None or isinstance(x, int | float | str) else str(x) for x in values]


def _csv_text(table: dict[str, list[Any]]) -> str:
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(table)
    writer.writerows(zip(*table.values(), strict=True))
    return lines.getvalue()
