"""A training as a loop on the host: the same training, compiled in segments.

The parameters are bitwise identical to those of the whole training in one program. After each
segment, about twice a second, `fit` writes the log, moves the progress bar, saves a checkpoint,
calls callbacks and handles requests to stop. In this order every saved step has been logged, and an
error in a callback comes after the save. With `on_evaluation` segments also end at evaluations.
"""

import itertools
import math
import os
import pathlib
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import Float

from jaxopt_course.checkpoints import CheckpointError
from jaxopt_course.core import checks, on_mesh, under_automatic_mesh
from jaxopt_course.tasks import Task

from ._arguments import WITHOUT_END, Evaluated, OnDivergence, Timetable, check_key, check_parts
from ._divergence import (
    DivergenceError,
    explain_divergence,
    explain_evaluation,
    nan_checks,
)
from ._early_stopping import EarlyStopping, check_early_stopping, described
from ._evaluation import OnEvaluation, after_hook
from ._log import Logging, Report, as_logging, open_reports
from ._progress import Progress, code_of, frozen_metrics, run_of
from ._resume import Checkpointing, Saver, as_checkpointing, open_saver
from ._segments import History, Segments, finish_program, open_segments
from ._sharding import agree, make_placement
from ._signals import leave, requests_to_stop
from ._state import Outcome, OutcomeCode, Rows, Run, TrainState
from ._step import check_track
from ._stream import Stream
from ._training import Setup, Training


SEGMENT_SECONDS = 0.5


class Record(NamedTuple):
    """What callbacks receive after each segment.

    step: number of steps taken.
    epoch: number of whole epochs.
    losses: losses of the batches of this segment, one per step.
    metrics: history of the evaluations in this segment, by name; empty if there were none.
    state: the state after the segment.
    """

    step: int
    epoch: int
    losses: Float[np.ndarray, "steps"]
    metrics: dict[str, np.ndarray]
    state: TrainState


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
    evaluate_every: int | None = None,
    early_stopping: EarlyStopping | None = None,
    evaluate: Evaluated = "averaged",
    on_divergence: OnDivergence = "stop",
    mesh: Mesh | None = None,
    sharding: Literal["replicated", "fsdp"] = "replicated",
    checkpoint: str | os.PathLike[str] | Checkpointing | None = None,
    log: str | os.PathLike[str] | Logging | None = None,
    progress: bool = True,
    track: Sequence[str] = (),
    on_evaluation: OnEvaluation | None = None,
    callbacks: Sequence[Callable[[Record], Any]] = (),
    segment: int | None = None,
) -> Run:
    """Train a task in compiled segments; log, checkpoint and handle interrupts between them.

    Wrappers of the optimizer average parameters or accumulate gradients:
    :func:`~jaxopt_course.transforms.ema_params`, :class:`~jaxopt_course.transforms.MultiSteps`.
    Accumulated batches are weighed by their rows, or by the weights of these, as in one large
    batch. Gradients that are still accumulated after the last step are applied, and the last
    evaluation and ``state`` include this update. Checkpoints do not, so a training that is resumed
    with more steps completes its group of batches. A training that stops early or diverges drops
    these gradients, and ``str(run)`` says so.

    Args:
        task: the task to train.
        optimizer: any gradient transformation.
        data: all rows, as in :func:`make_train`, or a stream of batches: a :class:`Stream`, or its
            ``batches`` alone.
        key: key of all randomness.
        epochs: number of passes over the training rows, in [1, inf), for arrays and for streams
            with a length. Give exactly one of `epochs` and `steps`; both may be omitted if
            `max_time` is given, or to train to the end of an iterator.
        steps: number of batches, in [1, inf).
        max_time: limit of this call in seconds, in (0, inf).
        batch_size: rows of a batch, in [1, training rows]. None keeps the batches of a stream;
            otherwise its short batches are padded.
        rows: the rows of arrays that train and validate. None: all train.
        evaluate_every: steps between evaluations, in [1, inf). None: one epoch, or 1000 steps for a
            stream without a length.
        early_stopping: rule that ends the training before its last step, and the metric that
            decides which parameters are best. None: no rule; the lowest loss is best.
        evaluate: the parameters to evaluate, ``"averaged"`` or ``"raw"``, as in :func:`make_train`.
        on_divergence: what to do if something is not finite. ``"stop"`` ends the training at the
            next evaluation with the outcome ``DIVERGED`` of :class:`OutcomeCode`. ``"raise"``
            raises at the end of the segment; the error names the step, the rows, and which of loss,
            gradient, update and state was not finite first. ``"skip"`` skips a step if one of these
            is not finite, and counts it in the history; gradients are left to an optimizer that
            scales the loss. ``"raise"`` and ``"skip"`` check every step, which takes longer.
        mesh: devices, with an axis ``"data"`` over which batches are split; its size must divide
            the batch size. All processes must call ``fit`` with the same arguments; a stream gives
            each process its part. Explicit axes are automatic ones during the training.
        sharding: sharding of the state on the mesh: ``"replicated"``, or ``"fsdp"``, which also
            splits the state and needs ``mesh``.
        checkpoint: directory of checkpoints, or a :class:`Checkpointing`, which also says how to
            resume. None: no checkpoints.
        log: directory of the log, or a :class:`Logging`. None: no log.
        progress: whether to show the progress on stderr: a bar on a terminal, else a line every
            five seconds and at the end.
        track: numbers to add to every row of the history, as in :func:`make_train`. A training is
            resumed with the same norms.
        on_evaluation: function of an :class:`Evaluation`, called on the host at each evaluation. It
            returns a mapping from names to numbers, which join the row of this evaluation in
            history, log and progress and may be monitored by ``early_stopping``; ``STOP``, which
            ends the training; or None. A name that it omits is NaN in the history, but a mapping
            without the monitored metric is an error. With several processes it must return the same
            in all of them.
        callbacks: functions of a :class:`Record`, called in turn after each segment, whether or not
            there was an evaluation. What they return is ignored.
        segment: steps of a segment, in [1, inf); it does not change the result. None: as many as
            take half a second.

    Returns:
        The run that :func:`make_train` returns for the same arguments. If `max_time` ended it, the
        history ends with an additional evaluation.

    Raises:
        TypeError: if `task`, `optimizer`, `data` or `key` has the wrong type.
        ValueError: if an argument is out of range, there is no example, a stream ends before
            ``steps``, or the task's problem does not allow a target. Targets of arrays are checked
            before the training begins if their weight is above 0, those of streams batch by batch.
        DivergenceError: if something is not finite and ``on_divergence`` is ``"raise"``.
        FileExistsError: if there is a log already.
        CheckpointError: if the directory of checkpoints is in use, belongs to another training,
            holds other files, or cannot be written.
        KeyboardInterrupt, SystemExit: with ``checkpoint``, on Ctrl-C and on SIGTERM (exit code
            143), after saving. A second signal ends the process at once.

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
    _check_options(early_stopping, evaluate, on_divergence, max_time, segment)
    if epochs is steps is None and max_time is not None:
        steps = WITHOUT_END
    checkpoint = as_checkpointing(checkpoint)
    log = as_logging(log, resumes=checkpoint is not None and checkpoint.resume == "auto")
    anything = Timetable(1, 1, 1, 1)  # until the data are known
    placement, tracked = make_placement("fit", mesh, sharding), check_track("fit", track)
    is_heard = on_evaluation is not None
    parts = (task, optimizer, anything, evaluate, on_divergence, placement, is_heard, tracked)
    lengths = {"epochs": epochs, "steps": steps, "evaluate_every": evaluate_every}
    segments = open_segments(Setup(*parts), data, rows, batch_size, early_stopping, lengths)
    start = segments.start(key)
    key_data = jax.random.key_data(key)
    compared = {"early_stopping": described(early_stopping), "evaluate": evaluate, "key": key_data}
    with open_saver(checkpoint, segments, start, compared) as saver:
        start, history = saver.restore(start, segments)
        with (
            nan_checks(on_divergence),
            requests_to_stop(when=checkpoint is not None) as requested,
            open_reports(log, progress, segments.setup.timetable, start, history) as report,
        ):
            deadline = math.inf if max_time is None else time.monotonic() + max_time
            between = Between(report, callbacks, on_evaluation, requested, segment, deadline)
            run = _run(segments, start, history, saver, between)
    return run if mesh is None else on_mesh(run, mesh)


def smoke_test(
    task: Task,
    optimizer: optax.GradientTransformation,
    data: Any,
    *,
    checkpoint: str | os.PathLike[str] | Checkpointing | None = None,
    log: str | os.PathLike[str] | Logging | None = None,
    **options: Any,
) -> Run:
    """Run two steps of :func:`fit` with these arguments, to find errors before a long training.

    Both steps are evaluated, and if there are ``log`` and ``checkpoint``, they are logged and saved
    to a temporary directory, and the checkpoint is restored. Returns the run of two steps.
    """
    options |= {"epochs": None, "steps": 2, "evaluate_every": 1, "segment": 1}
    if isinstance(data, Iterator):
        data = Stream(data)
    if isinstance(data, Stream) and isinstance(data.batches, Iterator):
        data = data._replace(batches=list(itertools.islice(data.batches, 2)))  # to be read twice
    checkpoint, log = as_checkpointing(checkpoint), as_logging(log)
    with tempfile.TemporaryDirectory() as folder:
        if log is not None:
            options["log"] = log._replace(directory=pathlib.Path(folder, "log"), replace=True)
        if checkpoint is None:
            return fit(task, optimizer, data, **options)
        directory = pathlib.Path(folder, "checkpoints")
        options["checkpoint"] = checkpoint._replace(
            directory=directory, every_steps=1, resume="auto"
        )
        run = fit(task, optimizer, data, **options)
        fit(task, optimizer, data, **options | {"progress": False})  # it restores
        return run


def _check_options(
    early_stopping: Any, evaluate: Any, on_divergence: Any, max_time: Any, segment: Any
) -> None:
    """Raise unless each of these arguments of :func:`fit` is in range."""
    check_early_stopping("fit", early_stopping)
    checks.choice("fit", "evaluate", evaluate, get_args(Evaluated))
    checks.choice("fit", "on_divergence", on_divergence, get_args(OnDivergence))
    if max_time is not None:
        checks.number("fit", "max_time", max_time, "(0, inf)")
    if segment is not None:
        checks.integer("fit", "segment", segment, "[1, inf)")


class Between(NamedTuple):
    """What :func:`fit` does between two segments, and when it ends.

    report: writes the log and shows the progress.
    callbacks, on_evaluation, segment: arguments of :func:`fit`.
    requested: returns the signal that requests a stop, or 0.
    deadline: time of the monotonic clock at which the training ends.
    """

    report: Report
    callbacks: Sequence[Callable[[Record], Any]]
    on_evaluation: OnEvaluation | None
    requested: Callable[[], int]
    segment: int | None
    deadline: float


def _run(
    segments: Segments, progress: Progress, history: History, saver: Saver, between: Between
) -> Run:
    """The loop over segments, until all steps are done, time is up, or the training ends early.

    It continues a training with this progress and history.
    """
    timetable = segments.setup.timetable
    done, length = int(progress.state.step), between.segment or 1
    is_late = has_ended = False
    try:
        while progress.running and done < timetable.steps and not (is_late or has_ended):
            begin, begun = done, time.monotonic()
            end = saver.cut(begin, _end_of_segment(segments.setup, begin, length))
            after, losses, evaluated, has_ended = _advance(segments, progress, end)
            taken, done = time.monotonic() - begun, begin + len(losses)
            last = has_ended or done == timetable.steps
            progress = after_hook(between.on_evaluation, segments, after, evaluated, last)
            history.extend(evaluated)
            between.report(done, losses, evaluated, begun)
            now = time.monotonic()
            length = between.segment or _longer(length, (done - begin) / taken)
            length, request, is_late, is_due = agree(
                length, between.requested(), now >= between.deadline, saver.is_due(done)
            )
            if is_due or request:
                saver.save(progress, history)
            for callback in between.callbacks:
                callback(_record(progress, losses, evaluated, timetable))
            if request:
                leave(request, checks.counted(done, "step"))
        saver.save(progress, history)
    except (CheckpointError, DivergenceError):
        raise
    except BaseException:
        if jax.process_count() == 1:  # several processes would have to save together
            saver.save(progress, history)
        raise
    if has_ended and timetable.steps != WITHOUT_END:
        raise ValueError(
            f"fit: the stream ended after {checks.counted(done, 'batch', 'batches')}, but "
            f"{timetable.steps} were asked for."
        )
    return _result(segments, progress, history, is_late, between.on_evaluation)


def _longer(length: int, rate: float) -> int:
    """The length of the next segment at ``rate`` steps per second, at most ten times ``length``."""
    return int(max(1, min(10 * length, SEGMENT_SECONDS * rate)))


def _end_of_segment(setup: Setup, begin: int, length: int) -> int:
    """The last step of a segment of at most ``length`` steps; the host's evaluations end it."""
    timetable = setup.timetable
    end = min(begin + min(length, timetable.longest_segment), timetable.steps)
    return min(end, timetable.next_evaluation(begin)) if setup.on_host else end


def _advance(
    segments: Segments, progress: Progress, end: int
) -> tuple[Progress, np.ndarray, History, bool]:
    """``segments.advance``, which also evaluates at the end of a stream and raises if asked to."""
    setup, begin = segments.setup, int(progress.state.step)
    after, losses, evaluated, has_ended = segments.advance(progress, end)
    if setup.on_divergence == "raise" and int(after.outcome.code) == OutcomeCode.DIVERGED:
        step = int(after.outcome.step)
        if step == begin + len(losses):  # all steps were finite
            raise explain_evaluation(after.state)
        train_step = Training(setup, *segments.given).train_step
        raise explain_divergence(train_step, *segments.replay(progress, step))
    if has_ended and setup.timetable.steps == WITHOUT_END and after.weight > 0:
        after, metrics = segments.evaluate(after, True)
        evaluated.append(jax.device_get(metrics))
    return after, losses, evaluated, has_ended


def _result(
    segments: Segments,
    progress: Progress,
    history: History,
    is_late: bool,
    on_evaluation: OnEvaluation | None,
) -> Run:
    """The run that ends here, with a last evaluation if time is up."""
    setup, timetable = segments.setup, segments.setup.timetable
    done, is_late = int(progress.state.step), is_late and bool(progress.running)
    is_evaluated = lambda: bool(history) and int(history[-1]["step"]) == done
    if is_late and done < timetable.steps and not is_evaluated():
        progress, metrics = segments.evaluate(progress, True)
        evaluated = [jax.device_get(metrics)]
        progress = after_hook(on_evaluation, segments, progress, evaluated, True)
        history += evaluated
    outcome = progress.outcome
    if is_late and done < timetable.steps and int(outcome.code) != OutcomeCode.DIVERGED:
        outcome = Outcome(code_of(OutcomeCode.OUT_OF_TIME), progress.state.step)
    is_additional = is_evaluated() and done % timetable.evaluate_every > 0
    if progress.running and (is_additional or done == timetable.steps):
        progress = finish_program(segments.given, progress, setup=setup)
    if 0 < int(progress.skipped) == done:  # nothing has been trained
        outcome = Outcome(code_of(OutcomeCode.DIVERGED), progress.state.step)
    if not progress.running and timetable.steps != WITHOUT_END:
        # Fill up the history, as that of the whole program is.
        evaluations = -(-timetable.steps // timetable.evaluate_every)
        frozen = jax.device_get(frozen_metrics(progress, history[-1]))
        history += [frozen] * (evaluations - len(history))
    with jax.debug_nans(False):  # a history may hold NaN, also of a sound training
        columns = {name: jnp.asarray(values) for name, values in _columns(history).items()}
    return run_of(progress, columns, outcome)


def _record(
    progress: Progress, losses: np.ndarray, evaluated: History, timetable: Timetable
) -> Record:
    """A record in containers of its own, because a callback may assign into it."""
    step = int(progress.state.step)
    epoch = step // timetable.steps_per_epoch
    state = jax.tree.map(lambda leaf: leaf, progress.state)
    return Record(step, epoch, losses.copy(), _columns(evaluated), state)


def _columns(rows: History) -> dict[str, np.ndarray]:
    """The metrics of ``rows`` by name; NaN in rows without a metric of ``on_evaluation``."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: np.stack([row.get(name, np.nan) for row in rows]) for name in names}
