"""The command ``train``: from options to a directory with a model and its record."""

import pathlib
import re
import shutil
import time
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxopt_course.core import Params, check_number
from jaxopt_course.data import Dataset, Scaler
from jaxopt_course.plots import learning_curves
from jaxopt_course.training import (
    Bundle,
    Checkpointing,
    CheckpointStore,
    DivergenceError,
    OutcomeCode,
    Rows,
    Run,
    describe_outcome,
    fit,
    save_bundle,
)

from ._errors import UsageError, usage_errors
from ._options import TrainOptions, parse_options
from ._record import describe_training
from ._report import (
    as_json,
    default_directory,
    make_directory,
    print_json,
    print_table,
    say,
    write_text,
)
from ._score import score_bundle
from ._setup import (
    Examples,
    describe_model,
    load_data,
    make_optimizer,
    make_rule,
    make_task,
    prepare,
)


__all__ = ["BUNDLE", "RECORD", "train"]

RECORD, BUNDLE, CURVES, CHECKPOINTS = "run.json", "model.bundle", "curves.png", "checkpoints"
DIVERGED = 3  # the exit code
OF_THIS_CALL = ("out", "resume", "max_time", "checkpoint_every", "smoke", "tensorboard")


def train(arguments: Sequence[str]) -> int:
    """Run the command; 0 if it trained to the end, 3 if the training diverged."""
    options = parse_options(arguments)
    dataset = load_data(options)
    examples = prepare(options, dataset)
    model = describe_model(options, dataset)
    parts, n_train = examples.parts, len(examples.parts.train)
    optimizer = make_optimizer(options, n_train)
    steps_per_epoch = -(-n_train // options.batch_size)
    task = make_task(model, examples.inputs.shape[1:], dataset.problem, options.precision)
    rule = make_rule(options)
    with usage_errors():
        check_number("train", "checkpoint_every", options.checkpoint_every, "[0, inf)")
        if options.max_time is not None:
            check_number("train", "max_time", options.max_time, "(0, inf)")
    out = _run_directory(options, dataset)
    sizes = dict(zip(("train", "validation", "test"), map(len, parts), strict=True))
    say(
        f"{dataset.name}: {dataset.problem}, {sizes['train']} training, "
        f"{sizes['validation']} validation and {sizes['test']} test rows; "
        f"{options.optimizer}, {options.epochs} epochs; results in {out}; "
        "figures below are of training / validation"
    )

    record = describe_training(options, dataset, parts)
    begin = time.perf_counter()
    try:
        run = fit(
            task,
            optimizer,
            (examples.inputs, examples.targets),
            key=examples.key,
            epochs=options.epochs,
            max_time=options.max_time,
            batch_size=options.batch_size,
            rows=Rows(jnp.asarray(parts.train), None, jnp.asarray(parts.validation)),
            early_stopping=rule,
            on_divergence=options.on_divergence,
            checkpoint=Checkpointing(out / CHECKPOINTS, every_seconds=options.checkpoint_every),
            resume="auto" if options.resume else "never",
            config={k: v for k, v in record["config"].items() if k not in OF_THIS_CALL},
            log=out,
            tensorboard=options.tensorboard,
            smoke=options.smoke,
        )
    except BaseException as error:
        stopped = isinstance(error, KeyboardInterrupt | SystemExit)
        record["outcome"] = "interrupted" if stopped else "failed"
        if isinstance(error, DivergenceError):
            record["outcome"] = "diverged"
        _write_record(out, record)
        if stopped:
            say(f"Stopped and saved; `--out {out} --resume` goes on.")
        raise
    if options.smoke:
        say("Everything works.")
        return 0

    unit = "" if examples.target_scaler is None else ", targets scaled"
    title = f"{dataset.name}, {options.optimizer}{unit}"
    figure = learning_curves(run, steps_per_epoch=steps_per_epoch, title=title)
    figure.savefig(out / CURVES, dpi=150)
    outcome = OutcomeCode(int(run.outcome.code))
    record["outcome"] = outcome.name.lower()
    record["steps"] = int(run.outcome.step)
    if outcome is not OutcomeCode.DIVERGED:
        bundle = _bundle(run, model, dataset, examples)
        save_bundle(out / BUNDLE, bundle)
        chosen = zip(sizes, parts, strict=True)
        record["best_epoch"] = _best_epoch(run, steps_per_epoch)
        record["figures"] = score_bundle(
            bundle, {name: (examples.raw[rows], dataset.targets[rows]) for name, rows in chosen}
        )
    record["seconds"] = time.perf_counter() - begin
    _write_record(out, record)
    if options.json:
        print_json(record)
    elif "figures" in record:
        print_table(record["figures"])
    say(describe_outcome(run.outcome))
    return DIVERGED if outcome is OutcomeCode.DIVERGED else 0


def _write_record(out: pathlib.Path, record: dict[str, Any]) -> None:
    write_text(out / RECORD, as_json(record, indent=2) + "\n")


def _run_directory(options: TrainOptions, dataset: Dataset) -> pathlib.Path:
    """The directory of the run, made, and empty of an earlier run's results."""
    out = options.out or default_directory(dataset.name, options.optimizer, options.seed)
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*", out.name):
        raise UsageError(
            f"the name of a run may hold letters, digits, and _ . - (not first), got {out.name!r}."
        )
    if options.resume:
        return make_directory(out, (), "a run", overwrite=False)
    files = (RECORD, BUNDLE, CURVES, "history.jsonl", "history.csv")
    make_directory(out, files, "a run", overwrite=options.overwrite)
    if options.overwrite and (out / CHECKPOINTS).is_dir():
        with CheckpointStore(out / CHECKPOINTS):  # which nobody else is using
            shutil.rmtree(out / CHECKPOINTS)
    return out


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
