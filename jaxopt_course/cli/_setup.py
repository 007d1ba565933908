"""From options to the parts of a training: data, model, optimizer.

Everything random follows from the seed: one key for the split, one for the training.
"""

from collections.abc import Mapping
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
    UnknownColumnError,
    digit_images,
    fit_scaler,
    load,
    read_table,
    scale_features,
    split,
)
from jaxopt_course.nn import MODELS
from jaxopt_course.problems import problem
from jaxopt_course.schedules import warmup_cosine_decay_schedule
from jaxopt_course.tasks import Task, linen_task, mixed_precision
from jaxopt_course.training import EarlyStopping, Rows
from jaxopt_course.transforms import dynamic_loss_scale

from ._errors import UsageError, usage_errors
from ._options import TrainOptions
from ._recipes import RECIPES


MOST_STEPS = 2**31 - 1  # which a step counter of int32 counts
IMAGES = {"digits": digit_images}  # data sets whose rows are images, and how to unfold them


class Examples(NamedTuple):
    """A data set as a model takes it.

    raw: the inputs before scaling, in the shape that the model takes.
    inputs: scaled by the statistics of the training rows.
    targets: class numbers, or values of mean 0 and deviation 1 in the training rows.
    scaler: of the inputs; None if they are not scaled.
    target_scaler: of the values of a regression; None for classes.
    parts: which rows train, validate, test.
    key: of the training.
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
        """Inputs and targets, as a training takes them."""
        return self.inputs, self.targets

    @property
    def rows(self) -> Rows:
        """Which of them train and which validate."""
        return Rows(jnp.asarray(self.parts.train), None, jnp.asarray(self.parts.validation))


def load_data(options: TrainOptions) -> Dataset:
    """The data set that the options name.

    Raises:
        UsageError: if the file has no column ``target``.
        ValueError: if its content cannot be trained on.
    """
    if options.file is not None and options.target is not None:
        try:
            return read_table(options.file, target=options.target)
        except UnknownColumnError as error:
            raise UsageError(str(error)) from error
    return load(options.dataset or "digits")


def prepare(options: TrainOptions, dataset: Dataset) -> Examples:
    """Split and scale ``dataset``.

    Raises:
        UsageError: if the shares, the seed or the model do not fit the data.
    """
    regression = dataset.problem == "regression"
    with usage_errors():
        checks.integer("train", "seed", options.seed, "[0, 4294967296)")
        for name in ("validation", "test"):
            checks.number("train", name, getattr(options, name), "(0, 1)")
        split_key, key = jax.random.split(jax.random.key(options.seed))
        parts = split(
            split_key,
            len(dataset.inputs),
            validation=options.validation,
            test=options.test,
            stratify=None if regression else dataset.targets,
        )
    raw = _shaped(options, dataset)
    scaler = target_scaler = None
    kind = options.scaling
    if kind == "auto":
        kind = "none" if dataset.name in IMAGES and options.file is None else "standard"
    if kind != "none":
        scaler = fit_scaler(raw[parts.train], kind)
    if regression:
        target_scaler = fit_scaler(dataset.targets[parts.train])
    return Examples(
        raw=raw,
        inputs=raw if scaler is None else np.asarray(scale_features(scaler, raw)),
        targets=(
            dataset.targets
            if target_scaler is None
            else np.asarray(scale_features(target_scaler, dataset.targets))
        ),
        scaler=scaler,
        target_scaler=target_scaler,
        parts=parts,
        key=key,
    )


def _shaped(options: TrainOptions, dataset: Dataset) -> np.ndarray:
    if options.model == "mlp":
        return dataset.inputs
    if options.file is not None or dataset.name not in IMAGES:
        raise UsageError(f"--model cnn needs images: --dataset {' or '.join(IMAGES)}.")
    return np.asarray(IMAGES[dataset.name](dataset.inputs))


def describe_model(
    options: TrainOptions, dataset: Dataset, numbers: Mapping[str, Any] = MappingProxyType({})
) -> dict[str, Any]:
    """The model as a :class:`~jaxopt_course.training.Bundle` describes it.

    Args:
        options: of the training.
        dataset: what it is for.
        numbers: ``"dropout"``, traced or not, instead of that of the options; others are not used.

    Raises:
        UsageError: if the options make no model.
    """
    widths = {"mlp": "hidden", "cnn": "dense"}[options.model]
    name, dropout = options.model.upper(), numbers.get("dropout", options.dropout)
    config = {
        "outputs": problem(dataset.problem).n_outputs(dataset.targets),
        widths: list(options.hidden),
        "activation": options.activation,
        "normalization": None if options.normalization == "none" else options.normalization,
        # Of short trainings: at 0.99 the statistics would lag several epochs behind.
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
    """The steps of an epoch of ``n_train`` rows, the ragged last one included."""
    return -(-n_train // options.batch_size)


def total_steps(options: TrainOptions, n_train: int) -> int:
    """The steps of a whole training."""
    return options.epochs * epoch_steps(options, n_train)


def make_optimizer(
    options: TrainOptions,
    n_train: int,
    constant_rate: ScalarLike | None = None,
    numbers: Mapping[str, Any] = MappingProxyType({}),
) -> GradientTransformationExtraArgs:
    """The optimizer, with the learning rate's schedule over the steps of ``n_train`` rows.

    Args:
        options: what and how fast.
        n_train: how many rows an epoch has.
        constant_rate: a learning rate, traced or not, instead of that and its schedule.
        numbers: ``"learning_rate"`` and ``"warmup"``, traced or not, instead of those of the
            options; others are not used.

    Raises:
        UsageError: if a number is out of range.
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
            steps = total_steps(options, n_train)
            warmup = share * steps
            warmup = jnp.round(warmup) if checks.is_traced(warmup) else round(warmup)
            rate = warmup_cosine_decay_schedule(0.0, rate, warmup, steps)
        optimizer = RECIPES[options.optimizer].build(rate, **options.hyperparameters)
        return dynamic_loss_scale(optimizer) if options.precision == "float16" else optimizer


def make_rule(options: TrainOptions) -> EarlyStopping | None:
    """When to end before the last epoch; None: never.

    Raises:
        UsageError: if the patience is out of range.
    """
    if options.patience is None:
        return None
    with usage_errors():
        checks.integer("train", "patience", options.patience, f"[1, {MOST_STEPS}]")
    return EarlyStopping(options.patience)
