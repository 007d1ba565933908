"""The command ``train``: from options to a directory with a model and its record."""

import contextlib
import functools
import pathlib
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxopt_course.core import Params, checks, replacing_own
from jaxopt_course.data import Dataset, Scaler
from jaxopt_course.plots import learning_curves
from jaxopt_course.training import (
    Bundle,
    CheckpointError,
    Checkpointing,
    CheckpointStore,
    DivergenceError,
    OutcomeCode,
    Run,
    describe_outcome,
    fit,
    save_bundle,
)

from ._errors import COMPLETED, DIVERGED, UsageError, usage_errors
from ._html import as_png
from ._options import TrainOptions, parse_options
from ._record import describe_training
from ._report import (
    as_json,
    default_directory,
    make_directory,
    print_json,
    print_table,
    refuse_foreign,
    say,
    write_bytes,
    write_text,
)
from ._score import score_bundle
from ._setup import (
    Examples,
    describe_model,
    epoch_steps,
    load_data,
    make_optimizer,
    make_rule,
    make_task,
    prepare,
)


RECORD, BUNDLE, CURVES, CHECKPOINTS = "run.json", "model.bundle", "curves.png", "checkpoints"
OF_THIS_CALL = ("out", "resume", "max_time", "checkpoint_every", "smoke", "tensorboard")


def train(arguments: Sequence[str]) -> int:
    """Run the command; 0 if it trained to the end, 3 if the training diverged."""
    options = parse_options(arguments)
    dataset = load_data(options)
    examples = prepare(options, dataset)
    model = describe_model(options, dataset)
    planned = _plan(options, dataset, examples, model)
    out = _run_directory(options, dataset)
    record = describe_training(options, dataset, examples.parts)
    say(_describe(options, dataset, record["rows"], out))
    begin = time.perf_counter()
    with _recorded(record, out):
        run = _run(planned, options, record, out)
        if options.smoke:
            say("Everything works.")
            return COMPLETED
        ended = _keep(run, options, dataset, examples, model, out)
        record |= {**ended, "seconds": time.perf_counter() - begin}
        _write_record(out, record)
    if options.json:
        print_json(record)
    elif "figures" in record:
        print_table(record["figures"])
    say(describe_outcome(run.outcome, int(run.skipped)))
    return COMPLETED if "figures" in record else DIVERGED


def _plan(
    options: TrainOptions, dataset: Dataset, examples: Examples, model: dict[str, Any]
) -> Callable[..., Run]:
    """The training, but for where its results go.

    Raises:
        UsageError: if a number is out of range.
    """
    with usage_errors():
        checks.number("train", "checkpoint_every", options.checkpoint_every, "[0, inf)")
        if options.max_time is not None:
            checks.number("train", "max_time", options.max_time, "(0, inf)")
    shape = examples.inputs.shape[1:]
    return functools.partial(
        fit,
        make_task(model, shape, dataset.problem, options.precision),
        make_optimizer(options, len(examples.parts.train)),
        examples.data,
        key=examples.key,
        rows=examples.rows,
        early_stopping=make_rule(options),
        epochs=options.epochs,
        batch_size=options.batch_size,
        max_time=options.max_time,
        on_divergence=options.on_divergence,
        tensorboard=options.tensorboard,
        smoke=options.smoke,
    )


def _describe(
    options: TrainOptions, dataset: Dataset, rows: Mapping[str, int], out: pathlib.Path
) -> str:
    """The line before the first step."""
    return (
        f"{dataset.name}: {dataset.problem}, {rows['train']} training, {rows['validation']} "
        f"validation and {checks.counted(rows['test'], 'test row')}; {options.optimizer}, "
        f"{checks.counted(options.epochs, 'epoch')}; "
        f"results in {out}; figures below are of training / validation"
    )


@contextlib.contextmanager
def _recorded(record: dict[str, Any], out: pathlib.Path) -> Iterator[None]:
    """If what is inside ends otherwise than by itself, leave a record which says so."""
    try:
        yield
    except BaseException as error:
        stopped = isinstance(error, KeyboardInterrupt | SystemExit)
        diverged = isinstance(error, DivergenceError)
        outcome = "interrupted" if stopped else "diverged" if diverged else "failed"
        with contextlib.suppress(OSError):  # a full disk, perhaps, which `error` says
            _write_record(out, {**record, "outcome": outcome})
        if stopped:
            say(_what_is_saved(out))
        raise


def _what_is_saved(out: pathlib.Path) -> str:
    """What a training that was stopped has left."""
    step = None
    if (out / CHECKPOINTS).is_dir():
        with (
            contextlib.suppress(CheckpointError, OSError),
            CheckpointStore(out / CHECKPOINTS) as store,
        ):
            step = store.latest()
    if step is None:
        return "Stopped before anything was saved."
    return f"Stopped; step {step} is saved, and `--out {out} --resume` resumes from it."


def _run(
    planned: Callable[..., Run], options: TrainOptions, record: dict[str, Any], out: pathlib.Path
) -> Run:
    """Train."""
    return planned(
        checkpoint=Checkpointing(out / CHECKPOINTS, every_seconds=options.checkpoint_every),
        resume="auto" if options.resume else "never",
        config={k: v for k, v in record["config"].items() if k not in OF_THIS_CALL},
        log=out,
    )


def _keep(
    run: Run,
    options: TrainOptions,
    dataset: Dataset,
    examples: Examples,
    model: dict[str, Any],
    out: pathlib.Path,
) -> dict[str, Any]:
    """Write curves and model; what the record says of the end."""
    steps_per_epoch = epoch_steps(options, len(examples.parts.train))
    unit = "" if examples.target_scaler is None else ", targets scaled"
    title = f"{dataset.name}, {options.optimizer}{unit}"
    figure = learning_curves(run, steps_per_epoch=steps_per_epoch, title=title)
    write_bytes(out / CURVES, as_png(figure))
    outcome = OutcomeCode(int(run.outcome.code))
    ended = {"outcome": outcome.name.lower(), "steps": int(run.outcome.step)}
    if outcome is OutcomeCode.DIVERGED:
        return ended
    bundle = _bundle(run, model, dataset, examples)
    with replacing_own(out / BUNDLE) as part:
        save_bundle(part, bundle)
    parts = {
        name: (examples.raw[rows], dataset.targets[rows])
        for name, rows in examples.parts._asdict().items()
    }
    best = _best_epoch(run, steps_per_epoch)
    return {**ended, "best_epoch": best, "figures": score_bundle(bundle, parts)}


def _write_record(out: pathlib.Path, record: dict[str, Any]) -> None:
    write_text(out / RECORD, as_json(record, indent=2) + "\n")


def _run_directory(options: TrainOptions, dataset: Dataset) -> pathlib.Path:
    """The directory of the run, made, and empty of an earlier run's results."""
    out = options.out or default_directory(dataset.name, options.optimizer, options.seed)
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*", out.name):
        raise UsageError(
            f"the name of a run may hold letters, digits, and _ . - (not first), got {out.name!r}."
        )
    if (out / CHECKPOINTS).is_symlink():
        raise UsageError(f"{out / CHECKPOINTS} is a symbolic link: give another --out.")
    if options.resume:
        refuse_foreign(out, (RECORD, BUNDLE, CURVES))
        return make_directory(out, (), "a run", overwrite=False)
    files = (RECORD, BUNDLE, CURVES, "history.jsonl", "history.csv")
    if options.overwrite and (out / CHECKPOINTS).exists():
        refuse_foreign(out, files)
        with CheckpointStore(out / CHECKPOINTS) as store:  # which nobody else is using
            store.clear()
    return make_directory(out, files, "a run", overwrite=options.overwrite)


def _best_epoch(run: Run, steps_per_epoch: int) -> int:
    best = int(np.nanargmin(np.asarray(run.history["validation_loss"])))
    return int(run.history["step"][best]) // steps_per_epoch


def _bundle(run: Run, model: dict[str, Any], dataset: Dataset, examples: Examples) -> Bundle:
    params = jax.tree.map(np.asarray, run.best_params)
    if examples.target_scaler is not None:
        params = _in_units(params, examples.target_scaler)
    return Bundle(
        model=model,
        input_shape=examples.inputs.shape[1:],
        problem=dataset.problem,
        params=params,
        model_state=run.best_model_state,
        scaler=examples.scaler,
        label_names=None if dataset.problem == "regression" else dataset.target_names,
    )


def _in_units(params: Params, scaler: Scaler) -> Params:
    """``params`` whose last, affine layer gives the targets' unit instead of scaled values."""
    last = max((name for name in params if name.startswith("Dense_")), key=lambda n: int(n[6:]))
    layer, (offset, scale) = params[last], (np.asarray(part) for part in scaler)
    kernel, bias = layer["kernel"] * scale, layer["bias"] * scale + offset
    in_units = {"kernel": kernel.astype(np.float32), "bias": bias.astype(np.float32)}
    return {**params, last: in_units}
