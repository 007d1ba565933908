"""The command ``diagnose``: what is wrong with a training, and what to try."""

import dataclasses
import pathlib
import time
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import jax
import numpy as np
import tyro

from jaxopt_course.core import checks
from jaxopt_course.diagnostics import (
    DiagnosisReport,
    GradientCheckReport,
    GradientFlowReport,
    LearningRateRangeReport,
    diagnose,
)
from jaxopt_course.plots import gradient_bars, learning_curves, learning_rate_curve
from jaxopt_course.training import OutcomeCode, Run, describe_outcome

from ._errors import COMPLETED, DIVERGED
from ._examine import (
    RATES,
    Subject,
    check_slopes,
    look_at_batch,
    make_subject,
    train_fully,
    try_rates,
)
from ._html import Section, as_png, picture_name, write_report
from ._options import TrainOptions, parse_options
from ._progress import show_stage
from ._report import make_directory, print_json, say, write_text
from ._streams import print_out


TEXT, HTML = "report.txt", "report.html"
FLOW, RANGE, CURVES = "Gradient flow", "Learning rate", "Learning curves"  # the pictures

NOT_USED = (
    *("patience", "precision", "on_divergence", "max_time"),
    *("resume", "checkpoint_every", "tensorboard", "smoke"),
)


@dataclasses.dataclass(frozen=True)
class DiagnoseOptions(TrainOptions):
    """The options of a training, a few of which mean something else here."""

    unused: ClassVar[tuple[str, ...]] = NOT_USED

    patience: tyro.conf.Suppress[int | None] = None
    precision: tyro.conf.Suppress[Literal["float32", "bfloat16", "float16"]] = "float32"
    on_divergence: tyro.conf.Suppress[Literal["stop", "raise", "skip"]] = "stop"
    max_time: tyro.conf.Suppress[float | None] = None
    resume: tyro.conf.Suppress[bool] = False
    checkpoint_every: tyro.conf.Suppress[float] = 30.0
    tensorboard: tyro.conf.Suppress[bool] = False
    smoke: tyro.conf.Suppress[bool] = False
    out: Annotated[pathlib.Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Where report.html, report.txt and the figures go. None: nothing is written."""
    overwrite: bool = False
    """Replace an earlier report in the same place."""
    json: bool = False
    """Print all numbers as JSON instead of the text; progress goes to stderr anyway."""


class _Looks(NamedTuple):
    """What the four looks have found; ``fit`` is None of a training that diverged."""

    gradients: GradientCheckReport
    flow: GradientFlowReport
    rates: LearningRateRangeReport
    run: Run
    fit: DiagnosisReport | None


def diagnose_training(arguments: Sequence[str]) -> int:
    """Run the command; 0 if the training came to its end, 3 if it diverged."""
    about = "Check the gradients, the learning rate and the fit of a training: what to change?"
    options = parse_options(arguments, DiagnoseOptions, command="diagnose", about=about)
    subject = make_subject(options)
    if options.out is not None:
        files = (TEXT, HTML, *map(picture_name, (FLOW, RANGE, CURVES)))
        make_directory(options.out, files, "a report", overwrite=options.overwrite)
    begin = time.perf_counter()
    looks = _look(subject)
    seconds = time.perf_counter() - begin

    title = f"Diagnosis: {subject.dataset.name}, {options.model}, {options.optimizer}"
    sections = _sections(subject, looks)
    text = "\n".join(f"{s.title}\n{'-' * len(s.title)}\n{s.text}\n" for s in sections)
    text = f"{title}\n{'=' * len(title)}\n\n{text}"
    if options.out is not None:
        write_text(options.out / TEXT, text)
        pictures = _pictures(subject, looks)
        placed = [s._replace(pictures=pictures.get(s.title, {})) for s in sections]
        write_report(options.out / HTML, title, placed)
        say(f"report in {options.out / HTML}")
    if options.json:
        print_json(_numbers(options, looks) | {"seconds": seconds})
    else:
        print_out(text)
    return DIVERGED if looks.fit is None else COMPLETED


def _look(subject: Subject) -> _Looks:
    with show_stage("checking gradients against differences"):
        gradients = check_slopes(subject)
    with show_stage("looking at the first batch"):
        flow = look_at_batch(subject)
    with show_stage(f"trying {RATES['points']} learning rates"):
        rates = try_rates(subject)
    run = train_fully(subject)
    diverged = int(run.outcome.code) == OutcomeCode.DIVERGED
    return _Looks(gradients, flow, rates, run, None if diverged else diagnose(run.history))


def _sections(subject: Subject, looks: _Looks) -> list[Section]:
    """The report."""
    options, parts = subject.options, subject.examples.parts
    size = sum(int(np.size(leaf)) for leaf in jax.tree.leaves(looks.run.best_params))
    training = (
        f"{subject.dataset.name}: {subject.dataset.problem}, {len(parts.train)} training and "
        f"{checks.counted(len(parts.validation), 'validation row')}.\n"
        f"{options.model} of {size} parameters; {options.optimizer} at {options.learning_rate:g}, "
        f"{options.schedule}; {checks.counted(options.epochs, 'epoch')} in batches of "
        f"{options.batch_size}."
    )
    fit = "" if looks.fit is None else f"\n{looks.fit}"
    return [
        Section("Training", training),
        Section("Gradient check", str(looks.gradients)),
        Section("Gradient flow", str(looks.flow)),
        Section("Learning rate", _on_rates(looks.rates, float(options.learning_rate))),
        Section("Fit", describe_outcome(looks.run.outcome) + fit),
    ]


def _on_rates(report: LearningRateRangeReport, rate: float) -> str:
    low, high = report.usable
    if np.isnan(low):
        return str(report)
    place = "below them" if rate < low else "above them" if rate > high else "one of them"
    return f"{report}\nThe training's own rate is {rate:.1e}: {place}."


def _pictures(subject: Subject, looks: _Looks) -> dict[str, dict[str, bytes]]:
    """Section -> {caption: PNG}."""
    curves = learning_curves(looks.run, steps_per_epoch=subject.steps_per_epoch)
    return {
        "Gradient flow": {FLOW: as_png(gradient_bars(looks.flow))},
        "Learning rate": {RANGE: as_png(learning_rate_curve(looks.rates))},
        "Fit": {CURVES: as_png(curves)},
    }


def _numbers(options: TrainOptions, looks: _Looks) -> dict[str, Any]:
    """All that was measured, for JSON."""
    flow, rates = looks.flow, looks.rates
    return {
        "options": {
            key: str(value) if isinstance(value, pathlib.Path) else value
            for key, value in vars(options).items()
            if key not in ("config", "json", "overwrite", "out", *NOT_USED)
        },
        "gradient_check": looks.gradients._asdict()
        | {"wrong": looks.gradients.wrong, "unclear": looks.gradients.unclear},
        "gradient_flow": {
            "loss": flow.loss,
            "layers": {name: layer._asdict() for name, layer in flow.layers.items()},
            "leaves": {path: leaf._asdict() for path, leaf in flow.leaves.items()},
            "flags": flow.flags,
            "depth_ratios": dict(flow.depth_ratios),
        },
        "learning_rate_range": {
            "rates": rates.rates.tolist(),
            "losses": rates.losses.tolist(),
            "start": rates.start,
            "suggested": rates.suggested,
        },
        "fit": {
            "outcome": OutcomeCode(int(looks.run.outcome.code)).name.lower(),
            "findings": [] if looks.fit is None else [f._asdict() for f in looks.fit.findings],
            "history": {name: np.asarray(v).tolist() for name, v in looks.run.history.items()},
        },
    }
