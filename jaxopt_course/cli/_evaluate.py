"""The command ``evaluate``: metrics of a trained model, or its predictions for new rows.

The record of the run may be damaged or belong to another program, so each entry that is used is
checked first.
"""

import csv
import dataclasses
import io
import json
import math
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxopt_course.data import (
    column_labels,
    column_numbers,
    hash_dataset,
    open_table,
    scale_features,
)
from jaxopt_course.metrics import r2_score
from jaxopt_course.training import Bundle, apply_bundle, evaluate, load_bundle, predict

from ._options import Directory, Name, TableFile, TrainOptions, parse
from ._process import COMPLETED, UsageError, print_out
from ._report import json_text, print_table
from ._setup import load_data, prepare


RECORD, BUNDLE = "run.json", "model.bundle"


@dataclasses.dataclass(frozen=True)
class EvaluateOptions:
    """Compute the metrics of a trained model, or its predictions for new rows.

    Without FILE the metrics over the test rows of the run are printed. If FILE has the target
    column, the metrics over its rows are printed. Otherwise a prediction for each row of FILE is
    printed as CSV.
    """

    file: TableFile = None
    """A .csv or .parquet table with the features that the model was trained on."""
    run: Directory = None
    """Directory of the run (required)."""
    target: Name = None
    """Column of FILE with the true values. By default the target column of the training."""
    json: bool = False
    """Print JSON in full precision instead of a table or CSV."""


class RunRecord(NamedTuple):
    """The record of a run, as far as ``evaluate`` needs it.

    path: its file, for messages.
    outcome: how the training ended.
    options: the options that decide the data and their split; all others have their defaults.
    data_sha256: digest of the data set.
    feature_names: name of each column of the inputs.
    """

    path: pathlib.Path
    outcome: str
    options: TrainOptions
    data_sha256: str
    feature_names: tuple[str, ...]


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
    table, place = open_table("evaluate", options.file), f"evaluate: {str(options.file)!r}"
    if not table.num_rows:
        raise ValueError(f"{place} has no rows.")
    inputs = _take_inputs(place, table, record, bundle)
    target = options.target or record.options.target or "target"
    if target in table.column_names:
        targets = _take_targets(place, table, target, bundle.label_names)
        metrics = score_bundle(bundle, {options.file.name: (inputs, targets)})
        _print_metrics(metrics, options.json)
    elif options.target is not None:
        raise UsageError(f"{str(options.file)!r} has no column {target!r}.")
    else:
        _print_predictions(bundle, inputs, options.json)
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
            metrics[name]["r2_score"] = float(r2_score(outputs, jnp.asarray(targets)))
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
    "config.model": _one_of("mlp", "cnn"),
    "config.scaling": _one_of("auto", "standard", "min_max", "none"),
    **dict.fromkeys(("config.validation", "config.test"), SHARE),
    "config.seed": ("an integer", lambda x: type(x) is int),
    "dataset.sha256": TEXT,
    "dataset.feature_names": NAMES,
}


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
    )


def _entry(path: pathlib.Path, record: dict[str, Any], name: str, rule: Rule) -> Any:
    """The entry of a record; the name of one in a table has a dot."""
    table, _, key = name.rpartition(".")
    entries = _entry(path, record, table, OBJECT) if table else record
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


def _take_inputs(place: str, table: Any, record: RunRecord, bundle: Bundle) -> np.ndarray:
    """The features of a table in the shape that the model takes; other columns are ignored."""
    names, wanted = record.feature_names, math.prod(bundle.input_shape or ())
    if len(names) != wanted:
        raise ValueError(
            f"{record.path} is not the record of the model beside it: it names {len(names)} "
            f"features, the model takes {wanted}."
        )
    missing = [name for name in names if name not in table.column_names]
    if missing:
        raise ValueError(
            f"{place} lacks {len(missing)} of the model's {len(names)} features; the first is "
            f"{missing[0]!r}."
        )
    columns = [column_numbers(place, table, name) for name in names]
    return np.stack(columns, axis=1).reshape(-1, *(bundle.input_shape or ()))


def _take_targets(place: str, table: Any, name: str, labels: Sequence[str] | None) -> np.ndarray:
    """The target column of a table: values, or class numbers of the model's ``labels``."""
    if labels is None:
        return column_numbers(place, table, name)[:, None]
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


def _print_predictions(bundle: Bundle, inputs: np.ndarray, in_json: bool) -> None:
    """Print a prediction for each row and, of classes, its probability."""
    predictions = apply_bundle(bundle, inputs)
    values, labels = np.asarray(predictions.values), predictions.labels.reshape(len(inputs))
    table: dict[str, list[Any]] = {"prediction": labels.tolist()}
    if bundle.label_names is not None:
        both = np.concatenate([1 - values, values], axis=1) if values.shape[1] == 1 else values
        table["probability"] = both.max(axis=1).tolist()
    if in_json:
        print_out(json_text(table))
        return
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(table)
    writer.writerows(zip(*table.values(), strict=True))
    print_out(lines.getvalue())
