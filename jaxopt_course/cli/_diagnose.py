"""The command ``diagnose``: find what is wrong with a training, and what to change.

It checks gradients against finite differences, looks at the gradient flow of one batch, tries many
learning rates in short trainings, and reads the learning curves of a whole training.
"""

import dataclasses
import time
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxopt_course.core import GradientTransformationExtraArgs, Params, checks
from jaxopt_course.diagnostics import (
    DiagnosisReport,
    GradientCheckReport,
    GradientFlowReport,
    LearningRateRangeReport,
    check_gradients,
    diagnose,
    gradient_flow,
    learning_rate_range,
)
from jaxopt_course.plots import gradient_bars, learning_curves, learning_rate_curve
from jaxopt_course.tasks import Batch, Task, losses_of
from jaxopt_course.training import OutcomeCode, Run, fit, init_state, make_train

from ._options import Directory, TrainOptions, parse_options
from ._process import COMPLETED, DIVERGED, UsageError, print_out, say
from ._report import (
    Section,
    as_png,
    json_text,
    make_directory,
    picture_name,
    show_stage,
    write_file,
    write_report,
)
from ._setup import Examples, Setup, describe_model, set_up


TEXT, HTML = "report.txt", "report.html"
FLOW, RANGE, CURVES = "Gradient flow", "Learning rate", "Learning curves"  # captions

# A check evaluates the loss hundreds of times, and few rows show a wrong derivative as well.
CHECKED_ROWS = 8
# At the initial parameters, biases of 0 and blank parts of images put ReLUs exactly at their kink,
# where derivative and difference differ rightly. The check moves the parameters away from it.
OFF_KINKS = 0.01
RATES: dict[str, Any] = {"low": 1e-6, "high": 10.0, "points": 22}  # three per decade
RATE_EPOCHS, RATE_STEPS = 2, 100  # length of the training for each rate: the shorter of the two
RATE_EVALUATIONS = 4  # the first and the last are compared
EVALUATIONS = 8  # at least, in the whole training: enough to see the shape of a curve


@dataclasses.dataclass(frozen=True)
class DiagnoseOptions(TrainOptions):
    """The options of the command ``diagnose``."""

    unused: ClassVar[tuple[str, ...]] = (
        *("patience", "precision", "on_divergence", "max_time"),
        *("resume", "checkpoint_every", "tensorboard", "smoke"),
    )

    out: Directory = None
    """Directory of report.html, report.txt and the figures. By default nothing is written."""


class Findings(NamedTuple):
    """The results of the four parts; ``fit`` is None if the training diverged."""

    gradients: GradientCheckReport
    flow: GradientFlowReport
    rates: LearningRateRangeReport
    run: Run
    fit: DiagnosisReport | None


def run(arguments: Sequence[str]) -> int:
    """Run the command; return 0, or 3 if the training diverged."""
    about = "Check the gradients, the learning rate and the fit of a training."
    options = parse_options(arguments, DiagnoseOptions, command="diagnose", about=about)
    setup = set_up(options)
    optimizer = setup.optimizer()
    steps = options.epochs * setup.steps_per_epoch
    if steps < EVALUATIONS:
        raise UsageError(
            f"a diagnosis needs at least {EVALUATIONS} steps, got {steps}: raise --epochs, or "
            "lower --batch-size."
        )
    if options.out is not None:
        files = (TEXT, HTML, *map(picture_name, (FLOW, RANGE, CURVES)))
        make_directory(options.out, files, "a report", overwrite=options.overwrite)
    begin = time.perf_counter()
    found = _examine(setup, optimizer)
    seconds = time.perf_counter() - begin

    title = f"Diagnosis: {setup.dataset.name}, {options.model}, {options.optimizer}"
    sections = _sections(setup, found, with_pictures=options.out is not None)
    text = "\n".join(f"{s.title}\n{'-' * len(s.title)}\n{s.text}\n" for s in sections)
    text = f"{title}\n{'=' * len(title)}\n\n{text}"
    if options.out is not None:
        write_file(options.out / TEXT, text)
        write_report(options.out / HTML, title, sections)
        say(f"report in {options.out / HTML}")
    print_out(json_text(_numbers(options, found) | {"seconds": seconds}) if options.json else text)
    return DIVERGED if found.fit is None else COMPLETED


def _examine(setup: Setup, optimizer: GradientTransformationExtraArgs) -> Findings:
    options, examples, per_epoch = setup.options, setup.examples, setup.steps_per_epoch
    with show_stage("checking gradients against finite differences"):
        gradients = _check_gradients(setup)
    with show_stage("looking at the first batch"):
        task, batch = setup.task(), _first_rows(examples, options.batch_size)
        highest = setup.optimizer(options.learning_rate)  # with the highest learning rate
        flow = gradient_flow(task, init_state(task, highest, examples.key), batch, highest)
    with show_stage(f"trying {RATES['points']} learning rates"):
        rates = _try_rates(setup, task)
    trained = fit(
        task,
        optimizer,
        examples.data,
        key=examples.key,
        epochs=options.epochs,
        batch_size=options.batch_size,
        rows=examples.rows,
        evaluate_every=min(per_epoch, options.epochs * per_epoch // EVALUATIONS),
    )
    diverged = int(trained.outcome.code) == OutcomeCode.DIVERGED
    found = None if diverged else diagnose(trained.history)
    return Findings(gradients, flow, rates, trained, found)


def _check_gradients(setup: Setup) -> GradientCheckReport:
    """Compare the gradient of the training loss of a few rows with finite differences.

    Dropout, which only sets entries to 0 and takes long to compile, is left out.
    """
    options, examples = setup.options, setup.examples
    model = describe_model(dataclasses.replace(options, dropout=0.0), setup.dataset)
    task, batch = setup._replace(model=model).task(), _first_rows(examples, CHECKED_ROWS)
    init_key, key = jax.random.split(examples.key)
    params, model_state = task.init(init_key)
    noise = np.random.default_rng(options.seed)
    moved = lambda w: w + OFF_KINKS * noise.normal(size=w.shape).astype(w.dtype)
    params = jax.tree.map(moved, params)

    @jax.jit
    def loss(params: Params) -> Array:
        losses, _ = losses_of(task, params, model_state, batch, key=key, train=True)
        return jnp.mean(losses)

    return check_gradients(loss, params, key=key)


def _try_rates(setup: Setup, task: Task) -> LearningRateRangeReport:
    """Short trainings with constant learning rates."""
    # The number of steps is a multiple of `every`: a remainder would compile another program.
    every = max(1, min(RATE_EPOCHS * setup.steps_per_epoch, RATE_STEPS) // RATE_EVALUATIONS)
    train = make_train(
        lambda rate: (task, setup.optimizer(rate)),
        setup.examples.data,
        steps=RATE_EVALUATIONS * every,
        batch_size=setup.options.batch_size,
        evaluate_every=every,
    )
    rows, key = setup.examples.rows._replace(validation=None), setup.examples.key
    return learning_rate_range(
        train, key=key, rows=rows, hyperparameters=lambda rate: rate, **RATES
    )


def _first_rows(examples: Examples, count: int) -> Batch:
    chosen = examples.parts.train[:count]
    return Batch(jnp.asarray(examples.inputs[chosen]), jnp.asarray(examples.targets[chosen]))


def _sections(setup: Setup, found: Findings, *, with_pictures: bool) -> list[Section]:
    """The report."""
    options, parts = setup.options, setup.examples.parts
    size = sum(int(np.size(leaf)) for leaf in jax.tree.leaves(found.run.best_params))
    training = (
        f"{setup.dataset.name}: {setup.dataset.problem}, {len(parts.train)} training and "
        f"{checks.counted(len(parts.validation), 'validation row')}.\n"
        f"{options.model} with {checks.counted(size, 'parameter')}; {options.optimizer} with "
        f"learning rate {options.learning_rate:g}, {options.schedule}; "
        f"{checks.counted(options.epochs, 'epoch')} in batches of {options.batch_size}."
    )
    outcome, per_epoch = str(found.run.outcome), setup.steps_per_epoch
    fit = outcome if found.fit is None else f"{outcome}\n{found.fit}"
    rates = _on_rates(found.rates, float(options.learning_rate))
    figures = {
        FLOW: lambda: gradient_bars(found.flow),
        RANGE: lambda: learning_rate_curve(found.rates),
        CURVES: lambda: learning_curves(found.run, steps_per_epoch=per_epoch),
    }
    shown = lambda caption: {caption: as_png(figures[caption]())} if with_pictures else {}
    return [
        Section("Training", training),
        Section("Gradient check", str(found.gradients), is_table=True),
        Section("Gradient flow", str(found.flow), shown(FLOW), is_table=True),
        Section("Learning rate", rates, shown(RANGE)),
        Section("Fit", fit, shown(CURVES)),
    ]


def _on_rates(report: LearningRateRangeReport, rate: float) -> str:
    low, high = report.usable
    if np.isnan(low):
        return str(report)
    place = "below them" if rate < low else "above them" if rate > high else "one of them"
    return f"{report}\nThe learning rate of the training, {rate:.1e}, is {place}."


def _numbers(options: TrainOptions, found: Findings) -> dict[str, Any]:
    """Everything that was measured, for JSON."""
    gradients, rates = found.gradients, found.rates
    omitted = ("config", "json", "overwrite", "out", *options.unused)
    return {
        "options": {key: x for key, x in vars(options).items() if key not in omitted},
        "gradient_check": gradients._asdict()
        | {"wrong": gradients.wrong, "unclear": gradients.unclear},
        "gradient_flow": found.flow,
        "learning_rate_range": rates._asdict() | {"suggested": rates.suggested},
        "fit": {
            "outcome": OutcomeCode(int(found.run.outcome.code)).name.lower(),
            "findings": [] if found.fit is None else found.fit.findings,
            "history": found.run.history,
        },
    }
