"""The loop on the host: a segment of the training, then whatever is due before the next.

In this order: the log is written, the bar moved, the state saved, callbacks are called, a request
to stop is granted. So what is saved has been logged, and what callbacks break has been saved.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float

from jaxopt_course.core import checks
from jaxopt_course.tasks import Task

from ._checkpoint_errors import CheckpointError
from ._divergence import DivergenceError, explain_divergence, explain_evaluation
from ._log import WriteRows, describe_rows
from ._loop import Progress, frozen_row
from ._placement import agree
from ._progress_bar import Show
from ._resume import Keeper
from ._signals import leave
from ._sources import History, Piece, Source
from ._state import Outcome, OutcomeCode, Run, TrainState
from ._step import step_function
from ._timetable import WITHOUT_END, Timetable


SEGMENT_SECONDS = 0.5


class Record(NamedTuple):
    """What callbacks are told after each segment.

    step: how many steps have been taken.
    epoch: how many of them epochs, whole ones.
    losses: of the batches of this segment, one a step.
    metrics: the history of the evaluations in this segment, by name; empty if there were none.
    state: the state after it.
    """

    step: int
    epoch: int
    losses: Float[np.ndarray, "steps"]
    metrics: dict[str, np.ndarray]
    state: TrainState


class Session(NamedTuple):
    """A training on its way, and who is told.

    task: what is trained.
    optimizer: and how.
    source: its data.
    progress: where it is.
    history: its evaluations so far.
    explain: whether it is an error that something is not finite.
    keeper: of checkpoints, or None.
    write: to the log.
    show: to a person.
    requested: the signal that asks for an end, or 0.
    callbacks: told after each segment.
    segment: steps from one pause to the next. None: half a second's.
    deadline: on the monotonic clock.
    """

    task: Task
    optimizer: optax.GradientTransformation
    source: Source
    progress: Progress
    history: History
    explain: bool
    keeper: Keeper | None
    write: WriteRows
    show: Show
    requested: Callable[[], int]
    callbacks: Sequence[Callable[[Record], Any]]
    segment: int | None
    deadline: float


def run_session(session: Session) -> Run:
    """The run, when all steps are done, time is up, or the training has ended early."""
    timetable, source, keeper = session.source.timetable, session.source, session.keeper
    progress, history = session.progress, session.history
    save = lambda: None if keeper is None else keeper.save(progress, history)
    done, length, request = int(progress.state.step), session.segment or 1, 0
    is_late = has_ended = is_last = False
    try:
        while progress.running and done < timetable.steps and not (is_late or has_ended):
            begin, begun = done, time.monotonic()
            end = min(begin + min(length, timetable.longest_segment), timetable.steps)
            end = end if keeper is None else keeper.cut(begin, end)
            after, piece = source.advance(progress, begin, end)
            if session.explain and _has_diverged(after):
                raise _explanation(session, progress, after, begin, piece)
            has_ended = piece.ended
            if has_ended and timetable.steps == WITHOUT_END and after.weight > 0:
                after, row = source.evaluate(after, True)
                piece.rows.append(jax.device_get(row))
                is_last = True
            history.extend(piece.rows)
            progress, done = after, begin + len(piece.losses)
            rows = describe_rows(piece.rows, timetable)
            session.write(rows)
            session.show(done, piece.losses, rows)
            now = time.monotonic()
            if session.segment is None:
                ideal = SEGMENT_SECONDS * (done - begin) / (now - begun)
                length = int(max(1, min(10 * length, ideal)))
            length, request, is_late, is_due = agree(
                length,
                session.requested(),
                now >= session.deadline,
                keeper is not None and keeper.is_due(done),
            )
            if is_due or request:
                save()
            for callback in session.callbacks:
                callback(_record(progress, piece, timetable))
            if request:
                leave(request)
        save()
    except (CheckpointError, DivergenceError):
        raise
    except BaseException:
        if jax.process_count() == 1:  # the others would not come to a common save
            save()
        raise
    if has_ended and timetable.steps != WITHOUT_END:
        raise ValueError(
            f"fit: the stream ended after {checks.counted(done, 'batch', 'batches')}, but "
            f"{timetable.steps} were asked for."
        )
    outcome = progress.outcome
    if is_late and progress.running and done < timetable.steps:
        outcome = Outcome(jnp.asarray(int(OutcomeCode.OUT_OF_TIME), jnp.int32), progress.state.step)
        if not history or int(history[-1]["step"]) != done:
            progress, row = source.evaluate(progress, True)
            history.append(jax.device_get(row))
            is_last = True
    if progress.running and (is_last or done == timetable.steps):
        progress = source.finish(progress)
    if 0 < int(progress.skipped) == int(progress.state.step):  # nothing has been trained
        code = jnp.asarray(int(OutcomeCode.DIVERGED), jnp.int32)
        outcome = Outcome(code, progress.state.step)
    return _run(progress, outcome, history, timetable)


def _has_diverged(progress: Progress) -> bool:
    return OutcomeCode(int(progress.outcome.code)) is OutcomeCode.DIVERGED


def _explanation(
    session: Session, before: Progress, after: Progress, begin: int, piece: Piece
) -> DivergenceError:
    """What is wrong in the segment from step ``begin`` on: a step, or the evaluation at its end."""
    step = int(after.outcome.step)
    if step == begin + len(piece.losses):  # all steps are done: it was none of theirs
        return explain_evaluation(after.state)
    replayed = session.source.replay(before, begin, step)
    train_step = step_function(session.task, session.optimizer, session.source.batch_at)
    return explain_divergence(train_step, *replayed)


def _run(progress: Progress, outcome: Outcome, history: History, timetable: Timetable) -> Run:
    """The run; where it ended early its history is filled up, as that of the whole program is."""
    rows = list(history)
    if not progress.running and timetable.steps != WITHOUT_END:
        evaluations = -(-timetable.steps // timetable.evaluate_every)
        frozen = jax.device_get(frozen_row(progress, rows[-1]))
        rows += [frozen] * (evaluations - len(rows))
    return Run(
        state=progress.state,
        best_params=progress.best_params,
        best_model_state=progress.best_model_state,
        history={name: jnp.asarray(values) for name, values in _columns(rows).items()},
        outcome=outcome,
    )


def _record(progress: Progress, piece: Piece, timetable: Timetable) -> Record:
    """What a callback is told: in containers of its own, for it may assign into them."""
    step = int(progress.state.step)
    epoch = step // timetable.steps_per_epoch
    state = jax.tree.map(lambda leaf: leaf, progress.state)
    return Record(step, epoch, piece.losses.copy(), _columns(piece.rows), state)


def _columns(rows: History) -> dict[str, np.ndarray]:
    return {name: np.stack([row[name] for row in rows]) for name in (rows or [{}])[0]}
