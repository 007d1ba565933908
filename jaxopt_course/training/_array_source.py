"""Batches of arrays: a segment of the training is one program, evaluations included."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from jaxopt_course.core import canonical_convolutions
from jaxopt_course.tasks import Batch, targets_check

from ._early_stopping import EarlyStopping
from ._feed import Epoch, make_feed
from ._fingerprint import data_fingerprint
from ._loop import Progress, hold, release
from ._placement import place, place_batch, replicate
from ._rows import as_examples, as_rows, count_rows, rows_used
from ._sources import (
    MakeSource,
    Parts,
    Piece,
    Source,
    compiled,
    evaluate_program,
    finish_program,
    loop_of,
)
from ._state import Rows, TrainState
from ._timetable import Timetable, make_timetable


def open_arrays(
    data: Any, rows: Rows | None, batch_size: int | None, lengths: Mapping[str, int | None]
) -> tuple[Timetable, MakeSource]:
    """The timetable of a training on arrays, and what makes its source."""
    if batch_size is None:
        raise TypeError("fit: of arrays `batch_size` must be an integer, got None.")
    examples = as_examples("fit", data)
    rows = as_rows("fit", rows, count_rows("fit", examples))
    timetable = make_timetable("fit", len(rows.train), batch_size=batch_size, **lengths)
    return timetable, functools.partial(_source, examples, rows)


def _source(
    examples: tuple[PyTree, PyTree], rows: Rows, rule: EarlyStopping | None, parts: Parts
) -> Source:
    used = rows_used(rows, count_rows("fit", examples))
    targets_check(parts.task, examples[0])("fit", examples[1], used)
    given = replicate((examples, rows, rule), parts.placement)
    feed = make_feed(given[0], given[1], parts.timetable)

    def advance(progress: Progress, begin: int, end: int) -> tuple[Progress, Piece]:
        progress, report = _advance(*given, progress, np.int32(begin), np.int32(end), parts=parts)
        done, evaluations, losses, written = jax.device_get(report)
        rows = [{name: x[line] for name, x in written.items()} for line in range(evaluations)]
        return progress, Piece(losses[: done - begin], rows)

    def replay(progress: Progress, begin: int, step: int) -> tuple[TrainState, Batch, np.ndarray]:
        state = advance(progress, begin, step)[0].state
        table = feed.table(state.key, step)
        chosen = table.indices[step % parts.timetable.steps_per_epoch]
        return state, feed.batch(table, step), np.asarray(chosen)

    start = lambda key: _start(*given, replicate(key, parts.placement), parts=parts)
    evaluate = functools.partial(evaluate_program, *given, parts=parts, trains=True)
    finish = functools.partial(finish_program, *given, parts=parts, trains=True)
    digest = lambda: data_fingerprint((examples, rows))
    programs = (start, advance, evaluate, finish, replay)
    return Source(parts.timetable, feed.like, digest, *programs, feed.batch_at)


@compiled()
def _start(examples: Any, rows: Rows, rule: Any, key: Any, *, parts: Parts) -> Progress:
    feed = make_feed(examples, rows, parts.timetable)
    loop = loop_of(examples, rows, rule, parts, trains=True)
    return place(loop.start(key, feed.like), parts.placement)


@compiled()
def _advance(
    examples: Any,
    rows: Rows,
    rule: Any,
    progress: Progress,
    begin: Array,
    end: Array,
    *,
    parts: Parts,
) -> tuple[Progress, tuple[Array, Array, Array, dict[str, Array]]]:
    """The steps from ``begin`` to ``end``: how many are done, evaluations, losses, rows.

    The bounds are traced: one program serves segments of every length.
    """
    timetable, placement = parts.timetable, parts.placement
    feed = make_feed(examples, rows, timetable)
    loop = loop_of(examples, rows, rule, parts, trains=True)
    capacity = timetable.longest_segment
    row = jax.eval_shape(loop.evaluate, progress)[1]
    lines = capacity // timetable.evaluate_every + 1

    def step(index: Array, carry: tuple[Progress, Epoch, Array]) -> Any:
        progress, epoch, losses = carry
        epoch = feed.turn(progress.state.key, epoch, index)
        batch = place_batch(feed.batch(epoch.table, index), placement)
        progress, loss = loop.step(progress, batch)
        return place(progress, placement), epoch, losses.at[index - begin].set(loss)

    def evaluate(progress: Progress, line: Array, written: dict[str, Array]) -> Any:
        progress, row = loop.evaluate(progress, progress.state.step == timetable.steps)
        added = {name: written[name].at[line].set(value) for name, value in row.items()}
        return place(progress, placement), line + 1, added

    def interval(carry: Any) -> Any:
        done, line, progress, epoch, losses, written = carry
        due = timetable.next_evaluation(done)
        stop = jnp.minimum(due, end)
        progress, epoch, losses = jax.lax.fori_loop(done, stop, step, (progress, epoch, losses))
        progress, line, written = jax.lax.cond(
            stop == due, evaluate, lambda *same: same, progress, line, written
        )
        return stop, line, progress, epoch, losses, written

    going = lambda carry: (carry[0] < end) & carry[2].running
    carry = (
        begin,
        jnp.zeros((), jnp.int32),
        hold(progress),
        feed.nothing,
        jnp.zeros(capacity, progress.best_loss.dtype),
        {name: jnp.zeros((lines, *x.shape), x.dtype) for name, x in row.items()},
    )
    run = canonical_convolutions(lambda carry: jax.lax.while_loop(going, interval, carry))
    done, line, progress, _, losses, written = run(carry)
    return release(progress), (done, line, losses, written)
