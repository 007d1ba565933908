"""A training as a loop on the host: the same step, compiled in segments, with pauses in between.

The parameters are, bit for bit, those of the whole training in one program. In the pauses, about
twice a second, it reports, logs, saves, and grants a request to stop.
"""

import contextlib
import math
import os
import pathlib
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, get_args

import jax
import optax
from jax.sharding import Mesh

from jaxopt_course.core import checks, on_mesh, under_automatic_mesh
from jaxopt_course.tasks import Task

from ._arguments import check_key, check_parts
from ._array_source import open_arrays
from ._early_stopping import EarlyStopping, check_early_stopping
from ._log import describe_rows, open_log
from ._loop import Evaluated
from ._placement import check_divided, make_placement
from ._progress_bar import show_progress
from ._resume import Checkpointing, describe_training, open_keeper
from ._session import Record, Session, run_session
from ._signals import requests_to_stop
from ._sources import History, MakeSource, Parts
from ._state import OnDivergence, Rows, Run
from ._stream import is_stream
from ._stream_source import open_stream
from ._timetable import WITHOUT_END, Timetable, smoke_timetable


@under_automatic_mesh
def fit(
    task: Task,
    optimizer: optax.GradientTransformation,
    data: Any,
    *,
    key: Any,
    epochs: int | None = None,
    steps: int | None = None,
    max_time: float | None = None,
    batch_size: int | None = None,
    rows: Rows | None = None,
    validation: Any = None,
    evaluate_every: int | None = None,
    early_stopping: EarlyStopping | None = None,
    evaluate: Evaluated = "averaged",
    on_divergence: OnDivergence = "stop",
    mesh: Mesh | None = None,
    sharding: Literal["replicated", "fsdp"] = "replicated",
    checkpoint: str | os.PathLike[str] | Checkpointing | None = None,
    resume: Literal["never", "auto"] = "never",
    accept: Sequence[str] = (),
    config: Mapping[str, Any] | None = None,
    log: str | os.PathLike[str] | None = None,
    tensorboard: bool = False,
    progress: bool = True,
    callbacks: Sequence[Callable[[Record], Any]] = (),
    segment: int | None = None,
    smoke: bool = False,
) -> Run:
    """Train in segments, and report, log and save in between.

    Averages of the parameters, accumulation of gradients and the like are wrappers of the
    optimizer: :func:`~jaxopt_course.transforms.ema_params`,
    :class:`~jaxopt_course.transforms.MultiSteps`. Accumulated batches count by their rows, or by
    the weights of these, as they do in one large batch. Gradients that are still accumulated after
    the last step are applied then; the last evaluation and ``state`` are those after this update.
    A checkpoint is as of before it, so a training that is resumed with more steps completes its
    group of batches. A training that stops early or diverges drops them, which ``str(run)`` says.

    Args:
        task: what is trained.
        optimizer: any gradient transformation.
        data: a pair (inputs, targets) of arrays, or anything with these attributes, of all rows.
            Or a stream: an iterable of batches ``(inputs, targets)`` or ``(inputs, targets,
            weights)`` of equal shapes, which is gone through again when it ends, if it is no
            iterator; or a function of the number of batches to leave out that gives one, so that
            a resumed training need not draw them.
        key: for all randomness.
        epochs: how often to see every training row, in [1, inf), of arrays and of streams with a
            length; or else
        steps: how many batches to see, in [1, inf); or as long as
        max_time: says, in seconds, in (0, inf): a limit of this call, also beside the others.
        batch_size: in [1, training rows]. A stream's own if None; else its short batches are
            filled up to it.
        rows: which rows of arrays train and which validate. None: all train.
        validation: of a stream, a pair (inputs, targets) of arrays to validate on.
        evaluate_every: steps from one evaluation to the next, in [1, inf). None: one epoch; 1000
            where a stream has no length.
        early_stopping: when to end before that. None: never.
        evaluate: ``"averaged"`` evaluates and keeps the averages of the parameters where the
            optimizer defines them, as ``ema_params`` and ``schedule_free`` do; ``"raw"`` evaluates
            the parameters that are trained. Averaged parameters are evaluated with the model state
            of the trained ones: a warning says so if there is one.
        on_divergence: what happens when something is not finite. ``"stop"`` ends the training at
            the next evaluation with the outcome ``DIVERGED``, which
            :class:`~jaxopt_course.training.OutcomeCode` defines. ``"raise"`` raises at the end of
            the segment, and names the step, the rows, and which of loss, gradient, update and
            state was not finite first. ``"skip"`` leaves a step without effect if one of these
            four is not finite, and counts it in the history; gradients are left to an optimizer
            that scales the loss. The last two judge every step, which takes longer.
        mesh: devices with an axis ``"data"`` over which batches are spread; it must divide the
            batch size. Every process must call ``fit`` alike; a stream gives each its part. A mesh
            with explicit axes is taken as one of ``AxisType.Auto`` during the training; the
            arrays of the run lie on the mesh that was given.
        sharding: how the state lies on the mesh: ``"replicated"``, or ``"fsdp"``, spread too,
            which needs ``mesh``.
        checkpoint: a directory for checkpoints, or a :class:`Checkpointing`.
        resume: ``"auto"`` goes on from the newest valid checkpoint, bit for bit, or begins where
            there is none; ``"never"`` refuses a directory that has some.
        accept: what may have become another program since the checkpoint: ``"optimizer"``,
            ``"model"``, ``"data"``.
        config: numbers and names by which a person knows the run, as JSON can write them. They
            are kept in checkpoints; those that have changed are warned of when it is resumed.
        log: a directory for ``history.jsonl`` and ``history.csv``: one line an evaluation. One
            that holds them already is refused, unless ``resume`` is ``"auto"``.
        tensorboard: whether ``tensorboard/`` is there too.
        progress: show it on stderr: a bar on a terminal, else a line every five seconds and
            one at the end.
        callbacks: functions of a :class:`Record`, called in turn after each segment.
        segment: steps from one pause to the next, in [1, inf); it changes no result. None: as
            many as take half a second.
        smoke: only try everything out, within two steps: evaluation, log and checkpoint
            included, the latter in a temporary directory.

    Returns:
        The run, as :func:`make_train` would give it. Where time was up, the history ends with an
        evaluation made then.

    Raises:
        TypeError: if `task`, `optimizer`, `key` or the like is something else.
        ValueError: if an argument is out of range, there is no example, a stream ends before
            ``steps``, or the task's problem does not allow a target: of a row that is used with a
            weight above 0, before the training begins; of a stream, batch by batch.
        DivergenceError: if something is not finite and ``on_divergence`` is ``"raise"``.
        FileExistsError: if there is a log already.
        CheckpointError: if the directory is in use, of another training, holds other things, or
            cannot be written.
        KeyboardInterrupt, SystemExit: with ``checkpoint``, on Ctrl-C and on SIGTERM (code 143),
            after it has saved. A second signal ends the process at once.

    Examples:
        >>> import jax.numpy as jnp
        >>> from jaxopt_course.optimizers import sgd
        >>> from jaxopt_course.problems import problem
        >>> from jaxopt_course.tasks import function_task
        >>> init = lambda key: {"w": jnp.zeros((1, 1))}
        >>> task = function_task(init, lambda p, x: x @ p["w"], problem("regression"))
        >>> x = jnp.array([[1.0], [2.0], [3.0]])
        >>> run = fit(task, sgd(0.1), (x, 2 * x), key=jax.random.key(0), epochs=20, batch_size=2)
        >>> round(float(run.state.params["w"][0, 0]), 3)
        2.0
    """
    check_parts("fit", task, optimizer)
    check_key("fit", key)
    check_early_stopping("fit", early_stopping)
    checks.choice("fit", "on_divergence", on_divergence, ("stop", "raise", "skip"))
    checks.choice("fit", "evaluate", evaluate, get_args(Evaluated))
    checks.choice("fit", "resume", resume, ("auto", "never"))
    for name in accept:
        checks.choice("fit", "accept", name, ("optimizer", "model", "data"))
    if segment is not None:
        checks.integer("fit", "segment", segment, "[1, inf)")
    if max_time is not None:
        checks.number("fit", "max_time", max_time, "(0, inf)")
    kept, written = checkpoint is not None, log is not None
    checks.beside("fit", "`log`", present=written, tensorboard=tensorboard)
    checks.beside("fit", "`checkpoint`", present=kept, config=config)
    is_again = "auto" if resume == "auto" else None
    checks.beside("fit", "`checkpoint` or `log`", present=kept or written, resume=is_again)
    resumed = "`checkpoint` and `resume='auto'`"
    checks.beside("fit", resumed, present=kept and bool(is_again), accept=tuple(accept))
    placement = make_placement("fit", mesh, sharding)
    explain = on_divergence == "raise"
    if epochs is steps is None and max_time is not None:
        steps = WITHOUT_END
    lengths = {"epochs": epochs, "steps": steps, "evaluate_every": evaluate_every}
    timetable, make_source = _opened(data, rows, validation, batch_size, lengths, keep=explain)
    shares = jax.process_count() if is_stream("fit", data) else 1  # each has its part of a batch
    check_divided("fit", "the batch size", shares * timetable.batch_size, placement)
    timetable = smoke_timetable(timetable) if smoke else timetable
    parts = Parts(task, optimizer, timetable, on_divergence, evaluate, placement)
    source = make_source(early_stopping, parts)
    start = source.start(key)
    history: History = []
    with contextlib.ExitStack() as stack:
        if smoke:
            scratch = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
            checkpoint = checkpoint and Checkpointing(scratch / "checkpoints", every_steps=1)
            log, resume, segment = log and scratch / "log", "never", 1
        keeper, requested = None, lambda: 0
        if checkpoint is not None:
            numbers = {
                "early_stopping": early_stopping,
                "evaluate": evaluate,
                "key": jax.random.key_data(key),
            }
            about = describe_training(task, optimizer, source, start, numbers, config)
            keeper = stack.enter_context(open_keeper(checkpoint, about, resume=resume))
            row_like = jax.eval_shape(source.evaluate, start)[1]
            start, history = keeper.restore(start, row_like, accept) or (start, [])
            requested = stack.enter_context(requests_to_stop())
        write = show = lambda *_: None
        if jax.process_index() == 0:  # the one that speaks
            if log is not None:
                rows_so_far = describe_rows(history, timetable)
                kinds = {"replace": resume == "auto", "tensorboard": tensorboard}
                write = stack.enter_context(open_log(log, rows_so_far, **kinds))
            if progress:
                show = stack.enter_context(show_progress(timetable, int(start.state.step)))
        run = run_session(
            Session(
                task=task,
                optimizer=optimizer,
                source=source,
                progress=start,
                history=history,
                explain=explain,
                keeper=keeper,
                write=write,
                show=show,
                requested=requested,
                callbacks=callbacks,
                segment=segment,
                deadline=math.inf if max_time is None else time.monotonic() + max_time,
            )
        )
        if smoke and keeper is not None:
            keeper.restore(start, row_like, ())  # what was saved can be read
        return run if mesh is None else on_mesh(run, mesh)


def _opened(
    data: Any,
    rows: Rows | None,
    validation: Any,
    batch_size: int | None,
    lengths: Mapping[str, int | None],
    *,
    keep: bool,
) -> tuple[Timetable, MakeSource]:
    """The timetable of a training on ``data``, arrays or a stream, and what makes its source."""
    if not is_stream("fit", data):
        if validation is not None:
            raise ValueError(
                "fit: `validation` is of a stream; of arrays give all rows as `data`, and which of "
                "them validate by `rows=Rows(train, validation=...)`."
            )
        return open_arrays(data, rows, batch_size, lengths)
    if rows is not None:
        raise ValueError("fit: `rows` are of arrays; a stream is given `validation`.")
    return open_stream(data, validation, batch_size, lengths, keep=keep)
