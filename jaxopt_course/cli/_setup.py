"""From options to the parts of a training: data, model, optimizer and record.

All random numbers derive from the seed, with one key for the split and one for the training. A
table is encoded by the statistics of its training rows.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import ScalarLike

from jaxopt_course.core import GradientTransformationExtraArgs, checks
from jaxopt_course.data import (
    Dataset,
    Scaler,
    Split,
    TableEncoder,
    digit_images,
    every_result,
    fit_scaler,
    hash_dataset,
    load,
    open_table,
    scale_features,
    split,
    table_targets,
)
from jaxopt_course.nn import MODELS
from jaxopt_course.problems import problem
from jaxopt_course.schedules import warmup_cosine_decay_schedule
from jaxopt_course.tasks import Task, linen_task, mixed_precision
from jaxopt_course.training import EarlyStopping, Rows
from jaxopt_course.transforms import dynamic_loss_scale

from ._options import TrainOptions, check_names
from ._process import UsageError, usage_errors
from ._recipes import RECIPES
from ._report import describe_versions


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


MOST_STEPS = 2**31 - 1  # the step counter is an int32
IMAGES = {"digits": digit_images}  # data sets of images, and functions from rows to images


class Examples(NamedTuple):
    """A data set in the form that a model takes.

    raw: inputs before scaling, in the shape that the model takes.
    inputs: inputs scaled by the statistics of the training rows.
    targets: class numbers, labels, or values with mean 0 and deviation 1 over the training rows.
    scaler: scaler of the inputs; None if they are not scaled.
    target_scaler: scaler of the targets of a regression; None for classes and labels.
    parts: training, validation and test rows.
    key: key of the training.
    """

    raw: np.ndarray
    inputs: np.ndarray
    targets: np.ndarray
    scaler: Scaler | None
    target_scaler: Scaler | None
    parts: Split
    key: jax.Array

    @property
    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and targets."""
        return self.inputs, self.targets

    @property
    def rows(self) -> Rows:
        """Training and validation rows."""
        return Rows(jnp.asarray(self.parts.train), None, jnp.asarray(self.parts.validation))


class Setup(NamedTuple):
    """A training before it starts; ``model`` describes the model as a bundle does."""

    options: TrainOptions
    dataset: Dataset
    examples: Examples
    model: dict[str, Any]

    @property
    def steps_per_epoch(self) -> int:
        """The number of steps in an epoch."""
        return epoch_steps(self.options, len(self.examples.parts.train))

    def task(self) -> Task:
        """The model with its loss."""
        shape = self.examples.inputs.shape[1:]
        return make_task(self.model, shape, self.dataset.problem, self.options.precision)

    def optimizer(self, constant_rate: ScalarLike | None = None) -> GradientTransformationExtraArgs:
        """The result of :func:`make_optimizer`."""
        return make_optimizer(self.options, len(self.examples.parts.train), constant_rate)


def set_up(options: TrainOptions) -> Setup:
    """The training that the options describe."""
    dataset = load_data(options)
    examples = prepare(options, dataset)
    return Setup(options, dataset, examples, describe_model(options, dataset))


def load_data(options: TrainOptions) -> Dataset:
    """The data set that the options name; raises ValueError if it is unfit for training."""
    if options.file is None or options.target is None:
        return load(options.dataset or "digits")
    return load_table(options, options.file, options.target)


def prepare(options: TrainOptions, dataset: Dataset) -> Examples:
    """Split and scale ``dataset``."""
    parts, key = split_rows(options, dataset.targets, dataset.problem)
    raw, kind = dataset.inputs, options.scaling
    is_image = options.file is None and dataset.name in IMAGES
    if options.model == "cnn":
        if not is_image:
            raise UsageError(f"--model cnn needs images: --dataset {' or '.join(IMAGES)}.")
        raw = np.asarray(IMAGES[dataset.name](raw))
    if kind == "auto":
        kind = "none" if is_image else "standard"
    scaler = None if kind == "none" else fit_scaler(raw[parts.train], kind)
    if scaler is not None and dataset.encoder is not None:
        zero_one = dataset.encoder.indicators
        scaler = Scaler(np.where(zero_one, 0.0, scaler.offset), np.where(zero_one, 1, scaler.scale))
    regression = dataset.problem == "regression"
    target_scaler = fit_scaler(dataset.targets[parts.train]) if regression else None
    inputs, targets = _scaled(scaler, raw), _scaled(target_scaler, dataset.targets)
    return Examples(raw, inputs, targets, scaler, target_scaler, parts, key)


def describe_training(options: TrainOptions, dataset: Dataset, parts: Split) -> dict[str, Any]:
    """The record of a training before it starts: options, data, versions and device."""
    every = dataclasses.replace(options, hyperparameters=dict(options.hyperparameters))
    config = {
        name: str(value) if isinstance(value, pathlib.Path) else value
        for name, value in dataclasses.asdict(every).items()
        if name not in ("config", "json", "overwrite")
    }
    if options.file is not None:
        config["file"] = str(options.file.resolve())
    return {
        "config": config,
        "dataset": {
            "name": dataset.name,
            "problem": dataset.problem,
            "sha256": hash_dataset(dataset),
            "feature_names": dataset.feature_names,
            "target_names": dataset.target_names,
        },
        "rows": {name: len(rows) for name, rows in parts._asdict().items()},
        "versions": describe_versions(),
        "device": str(jax.devices()[0].device_kind),
    }


def describe_model(
    options: TrainOptions, dataset: Dataset, numbers: Mapping[str, Any] = MappingProxyType({})
) -> dict[str, Any]:
    """The model as a :class:`~jaxopt_course.training.Bundle` describes it.

    Args:
        options: options of the training.
        dataset: data set that the model is for.
        numbers: may hold ``"dropout"``, traced or not, in place of the options' value.
    """
    widths = {"mlp": "hidden", "cnn": "dense"}[options.model]
    name, dropout = options.model.upper(), numbers.get("dropout", options.dropout)
    config = {
        "outputs": problem(dataset.problem).n_outputs(dataset.targets),
        widths: list(options.hidden),
        "activation": options.activation,
        "normalization": None if options.normalization == "none" else options.normalization,
        # Trainings are short: with 0.99 the statistics would lag several epochs behind.
        "batch_momentum": 0.9,
        "dropout": dropout if checks.is_traced(dropout) else dropout or None,
    }
    with usage_errors():
        MODELS[name](**config)
    return {"name": name, "config": config}


def make_task(
    model: dict[str, Any],
    input_shape: tuple[int, ...],
    problem_name: str,
    precision: str = "float32",
) -> Task:
    """The task of a described model, which computes in ``precision``."""
    module = MODELS[model["name"]](**model["config"])
    task = linen_task(module, jnp.zeros((1, *input_shape), jnp.float32), problem(problem_name))
    return task if precision == "float32" else mixed_precision(task, jnp.dtype(precision))


def epoch_steps(options: TrainOptions, n_train: int) -> int:
    """The number of steps in an epoch of ``n_train`` rows."""
    return -(-n_train // options.batch_size)


def make_optimizer(
    options: TrainOptions,
    n_train: int,
    constant_rate: ScalarLike | None = None,
    numbers: Mapping[str, Any] = MappingProxyType({}),
) -> GradientTransformationExtraArgs:
    """The optimizer, with the schedule of its learning rate.

    Args:
        options: options of the training.
        n_train: number of training rows.
        constant_rate: a learning rate, traced or not, in place of the options' rate and schedule.
        numbers: may hold ``"learning_rate"`` and ``"warmup"``, traced or not, in place of the
            options' values.
    """
    with usage_errors():
        checks.integer("train", "batch_size", options.batch_size, f"[1, {n_train}]")
        most = MOST_STEPS // epoch_steps(options, n_train)
        checks.integer("train", "epochs", options.epochs, f"[1, {most}]")
        learning_rate = numbers.get("learning_rate", options.learning_rate)
        share = numbers.get("warmup", options.warmup)
        checks.learning_rate("train", learning_rate)
        checks.number("train", "warmup", share, "[0, 1]")
        rate: Any = learning_rate if constant_rate is None else constant_rate
        if options.schedule == "warmup_cosine" and constant_rate is None:
            steps = options.epochs * epoch_steps(options, n_train)
            warmup = share * steps
            warmup = jnp.round(warmup) if checks.is_traced(warmup) else round(warmup)
            rate = warmup_cosine_decay_schedule(0.0, rate, warmup, steps)
        optimizer = RECIPES[options.optimizer].build(rate, **options.hyperparameters)
        return dynamic_loss_scale(optimizer) if options.precision == "float16" else optimizer


def make_rule(options: TrainOptions) -> EarlyStopping | None:
    """The rule of early stopping, or None."""
    if options.patience is None:
        return None
    with usage_errors():
        checks.integer("train", "patience", options.patience, f"[1, {MOST_STEPS}]")
    return EarlyStopping(options.patience)


def _scaled(scaler: Scaler | None, values: np.ndarray) -> np.ndarray:
    return values if scaler is None else np.asarray(scale_features(scaler, values))
