"""The four looks that ``diagnose`` takes at a training, from the quickest to the longest."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxopt_course.core import GradientTransformationExtraArgs, Params
from jaxopt_course.data import Dataset
from jaxopt_course.diagnostics import (
    GradientCheckReport,
    GradientFlowReport,
    LearningRateRangeReport,
    check_gradients,
    gradient_flow,
    learning_rate_range,
)
from jaxopt_course.tasks import Batch, Task, losses_of
from jaxopt_course.training import Run, fit, init_state, make_train

from ._errors import UsageError
from ._options import TrainOptions
from ._setup import (
    Examples,
    describe_model,
    epoch_steps,
    load_data,
    make_optimizer,
    make_task,
    prepare,
    total_steps,
)


# A check evaluates the loss hundreds of times; a few rows show a wrong derivative as well as many.
CHECKED_ROWS = 8
# At the initial parameters biases of 0 and blank parts of images put a ReLU exactly at its kink,
# where slope and difference rightly differ: the check moves away from there.
OFF_KINKS = 0.01
RATES: dict[str, Any] = {"low": 1e-6, "high": 10.0, "points": 22}  # three to a decade
RATE_EPOCHS, RATE_STEPS = 2, 100  # of the training for each rate: two epochs, but no more steps
RATE_EVALUATIONS = 4  # the first and the last of which are compared
EVALUATIONS = 8  # of the whole training, at least: the shape of a curve takes some


class Subject(NamedTuple):
    """The training that is looked at.

    options: all that decides it.
    dataset: its data as they are.
    examples: the same as the model takes them.
    task: the model.
    steps: how many, in all.
    steps_per_epoch: how many of them an epoch has.
    """

    options: TrainOptions
    dataset: Dataset
    examples: Examples
    task: Task
    steps: int
    steps_per_epoch: int


def make_subject(options: TrainOptions) -> Subject:
    """The training that the options of ``train`` mean.

    Raises:
        UsageError: if they mean none, or one of too few steps to judge it.
    """
    dataset = load_data(options)
    examples = prepare(options, dataset)
    n_train = len(examples.parts.train)
    task = make_task(describe_model(options, dataset), examples.inputs.shape[1:], dataset.problem)
    make_optimizer(options, n_train)  # refuses what is out of range
    steps = total_steps(options, n_train)
    if steps < EVALUATIONS:
        raise UsageError(
            f"a diagnosis takes at least {EVALUATIONS} steps, got {steps}: raise --epochs, or "
            "lower --batch-size."
        )
    return Subject(options, dataset, examples, task, steps, epoch_steps(options, n_train))


def check_slopes(subject: Subject) -> GradientCheckReport:
    """The gradient of the training loss of a few rows, against differences.

    Without dropout, which only sets entries to 0 and takes long to compile.
    """
    batch = _first_rows(subject, CHECKED_ROWS)
    options = dataclasses.replace(subject.options, dropout=0.0)
    model = describe_model(options, subject.dataset)
    task = make_task(model, subject.examples.inputs.shape[1:], subject.dataset.problem)
    init_key, key = jax.random.split(subject.examples.key)
    params, model_state = task.init(init_key)
    noise = np.random.default_rng(options.seed)
    moved = lambda w: w + OFF_KINKS * noise.normal(size=w.shape).astype(w.dtype)
    params = jax.tree.map(moved, params)

    @jax.jit
    def loss(params: Params) -> Array:
        losses, _ = losses_of(task, params, model_state, batch, key=key, train=True)
        return jnp.mean(losses)

    return check_gradients(loss, params, key=key)


def look_at_batch(subject: Subject) -> GradientFlowReport:
    """The gradient flow of the first rows, with updates at the highest learning rate."""
    options, task = subject.options, subject.task
    n_train = len(subject.examples.parts.train)
    optimizer = make_optimizer(options, n_train, options.learning_rate)
    state = init_state(task, optimizer, subject.examples.key)
    return gradient_flow(task, state, _first_rows(subject, options.batch_size), optimizer)


def try_rates(subject: Subject) -> LearningRateRangeReport:
    """Short trainings at constant rates."""

    def build(rate: Array) -> tuple[Task, GradientTransformationExtraArgs]:
        n_train = len(subject.examples.parts.train)
        return subject.task, make_optimizer(subject.options, n_train, rate)

    # A multiple of the steps between evaluations: a rest would be compiled for itself.
    every = max(1, min(RATE_EPOCHS * subject.steps_per_epoch, RATE_STEPS) // RATE_EVALUATIONS)
    train = make_train(
        build,
        subject.examples.data,
        steps=RATE_EVALUATIONS * every,
        batch_size=subject.options.batch_size,
        evaluate_every=every,
    )
    rows = subject.examples.rows._replace(validation=None)
    key = subject.examples.key
    return learning_rate_range(
        train, key=key, rows=rows, hyperparameters=lambda rate: rate, **RATES
    )


def train_fully(subject: Subject) -> Run:
    """The whole training, as ``train`` would do it, without an early end."""
    options = subject.options
    return fit(
        subject.task,
        make_optimizer(options, len(subject.examples.parts.train)),
        subject.examples.data,
        key=subject.examples.key,
        epochs=options.epochs,
        batch_size=options.batch_size,
        rows=subject.examples.rows,
        evaluate_every=min(subject.steps_per_epoch, subject.steps // EVALUATIONS),
    )


def _first_rows(subject: Subject, count: int) -> Batch:
    chosen = subject.examples.parts.train[:count]
    inputs, targets = subject.examples.inputs[chosen], subject.examples.targets[chosen]
    return Batch(jnp.asarray(inputs), jnp.asarray(targets))
