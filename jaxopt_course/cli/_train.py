"""The command ``train``: train a model, and write it and its record to a directory."""

import contextlib
import functools
import pathlib
import re
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from jaxopt_course.checkpoints import CheckpointError, CheckpointStore
from jaxopt_course.core import Params, checks, replacing_own
from jaxopt_course.data import Dataset, Scaler
from jaxopt_course.plots import learning_curves
from jaxopt_course.training import (
    Bundle,
    Checkpointing,
    DivergenceError,
    Logging,
    OutcomeCode,
    Run,
    fit,
    save_bundle,
    smoke_test,
)

from ._evaluate import BUNDLE, RECORD, score_bundle
from ._options import TrainOptions, parse_options
from ._process import COMPLETED, DIVERGED, UsageError, print_out, say, usage_errors
from ._report import (
    as_png,
    default_directory,
    json_text,
    make_directory,
    print_table,
    refuse_foreign,
    write_file,
)
from ._setup import Setup, describe_training, make_rule, set_up


CURVES, CHECKPOINTS, HISTORY = "curves.png", "checkpoints", "history.csv"
OF_THIS_CALL = ("out", "resume", "max_time", "checkpoint_every", "smoke", "tensorboard")


def run(arguments: Sequence[str]) -> int:
    """Run the command; return 0, or 3 if the training diverged."""
    options = parse_options(arguments)
    setup = set_up(options)
    dataset, parts = setup.dataset, setup.examples.parts
    train = _prepared(setup)
    out = _make_run_directory(options, dataset)
    record = describe_training(options, dataset, parts)
    rows = record["rows"]
    say(
        f"{dataset.name}: {dataset.problem}, {rows['train']} training, {rows['validation']} "
        f"validation and {checks.counted(rows['test'], 'test row')}; {options.optimizer}, "
        f"{checks.counted(options.epochs, 'epoch')}; results in {out}; "
        "metrics below: training / validation"
    )
    begin = time.perf_counter()
    with _recorded(record, out):
        trained = train(record["config"], out)
        if options.smoke:
            say("Everything works.")
            return COMPLETED
        record |= _save(trained, setup, out)
        record["seconds"] = time.perf_counter() - begin
        write_file(out / RECORD, json_text(record))
    if options.json:
        print_out(json_text(record))
    elif "figures" in record:
        epoch = record["best_epoch"]  # 0 if the first one did not end
        of_epoch = f", of epoch {epoch}," if epoch else ","
        print_out(f"Best parameters{of_epoch} evaluated without dropout:\n")
        print_table(record["figures"])
    say(str(trained))
    model = f"the model ({BUNDLE}), " if "figures" in record else ""
    say(f"Saved {model}the curves ({CURVES}) and the metrics ({RECORD}, {HISTORY}) in {out}.")
    return COMPLETED if "figures" in record else DIVERGED


def _prepared(setup: Setup) -> Callable[[dict[str, Any], pathlib.Path], Run]:
    """The training, as a function of its config and the directory of the run."""
    options, examples = setup.options, setup.examples
    with usage_errors():
        checks.number("train", "checkpoint_every", options.checkpoint_every, "[0, inf)")
        if options.max_time is not None:
            checks.number("train", "max_time", options.max_time, "(0, inf)")
    of_training = functools.partial(
        smoke_test if options.smoke else fit,
        setup.task(),
        setup.optimizer(),
        examples.data,
        key=examples.key,
        rows=examples.rows,
        early_stopping=make_rule(options),
        epochs=options.epochs,
        batch_size=options.batch_size,
        max_time=options.max_time,
        on_divergence=options.on_divergence,
    )
    return lambda config, out: of_training(
        checkpoint=Checkpointing(
            out / CHECKPOINTS,
            every_seconds=options.checkpoint_every,
            resume="auto" if options.resume else "never",
            config={name: value for name, value in config.items() if name not in OF_THIS_CALL},
        ),
        log=Logging(out, tensorboard=options.tensorboard),
    )


@contextlib.contextmanager
def _recorded(record: dict[str, Any], out: pathlib.Path) -> Iterator[None]:
    """Write a record with the outcome if an error or a signal ends the ``with``."""
    try:
        yield
    except BaseException as error:
        stopped = isinstance(error, KeyboardInterrupt | SystemExit)
        diverged = isinstance(error, DivergenceError)
        outcome = "interrupted" if stopped else "diverged" if diverged else "failed"
        with contextlib.suppress(OSError):  # the disk may be full, which `error` reports
            write_file(out / RECORD, json_text({**record, "outcome": outcome}))
        if stopped:
            say(_what_is_saved(out))
        raise


def _what_is_saved(out: pathlib.Path) -> str:
    """What is left of a training that was stopped."""
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


def _save(trained: Run, setup: Setup, out: pathlib.Path) -> dict[str, Any]:
    """Write the curves and the model; return what the record says of them."""
    dataset, examples, per_epoch = setup.dataset, setup.examples, setup.steps_per_epoch
    unit = "" if examples.target_scaler is None else ", targets scaled"
    title = f"{dataset.name}, {setup.options.optimizer}{unit}"
    figure = learning_curves(trained, steps_per_epoch=per_epoch, title=title)
    write_file(out / CURVES, as_png(figure))
    outcome = OutcomeCode(int(trained.outcome.code))
    ended = {"outcome": outcome.name.lower(), "steps": int(trained.outcome.step)}
    if outcome is OutcomeCode.DIVERGED:
        return ended
    bundle = _make_bundle(trained, setup)
    with replacing_own(out / BUNDLE) as part:
        save_bundle(part, bundle)
    best = int(np.nanargmin(np.asarray(trained.history["validation_loss"])))
    parts = {
        name: (examples.raw[rows], dataset.targets[rows])
        for name, rows in examples.parts._asdict().items()
    }
    best_epoch = int(trained.history["step"][best]) // per_epoch
    return {**ended, "best_epoch": best_epoch, "figures": score_bundle(bundle, parts)}


def _make_bundle(trained: Run, setup: Setup) -> Bundle:
    """The best model, which takes unscaled inputs and returns values in the unit of the targets."""
    dataset, examples = setup.dataset, setup.examples
    params = jax.tree.map(np.asarray, trained.best_params)
    if examples.target_scaler is not None:
        params = _in_units(params, examples.target_scaler)
    return Bundle(
        model=setup.model,
        input_shape=examples.inputs.shape[1:],
        problem=dataset.problem,
        params=params,
        model_state=trained.best_model_state,
        scaler=examples.scaler,
        label_names=None if dataset.problem == "regression" else dataset.target_names,
        encoder=dataset.encoder,
    )


def _make_run_directory(options: TrainOptions, dataset: Dataset) -> pathlib.Path:
    """The directory of the run, without the results of an earlier run."""
    out = options.out or default_directory(dataset.name, options.optimizer, options.seed)
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*", out.name):
        raise UsageError(
            "the name of a run must consist of letters, digits, `_`, `-` and `.`, and must not "
            f"start with `.`, got {out.name!r}."
        )
    if (out / CHECKPOINTS).is_symlink():
        raise UsageError(f"{out / CHECKPOINTS} is a symbolic link: give another --out.")
    results = (RECORD, BUNDLE, CURVES)
    if options.resume:
        refuse_foreign(out, results)
        return make_directory(out, (), "a run", overwrite=False)
    files = (*results, "history.jsonl", HISTORY)
    if options.overwrite and (out / CHECKPOINTS).exists():
        refuse_foreign(out, files)
        with CheckpointStore(out / CHECKPOINTS) as store:  # fails if another process uses it
            store.clear()
    return make_directory(out, files, "a run", overwrite=options.overwrite)


def _in_units(params: Params, scaler: Scaler) -> Params:
    """``params`` with a last layer whose outputs have the unit of the targets before scaling."""
    last = max((name for name in params if name.startswith("Dense_")), key=lambda n: int(n[6:]))
    layer, (offset, scale) = params[last], (np.asarray(part) for part in scaler)
    kernel, bias = layer["kernel"] * scale, layer["bias"] * scale + offset
    in_units = {"kernel": kernel.astype(np.float32), "bias": bias.astype(np.float32)}
    return {**params, last: in_units}
