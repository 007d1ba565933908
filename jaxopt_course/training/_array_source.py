"""Batches of arrays: a segment of the training is one program, evaluations included."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxopt_course.data import BatchTable
from jaxopt_course.tasks import Batch

from ._early_stopping import EarlyStopping
from ._evaluate import validation
from ._feed import make_feed
from ._fingerprint import data_fingerprint
from ._loop import Loop, Progress, hold, make_loop, release
from ._placement import place, place_batch, replicate
from ._rows import as_examples, as_rows, count_rows, take_rows
from ._sources import Parts, Piece, Source
from ._state import Rows, TrainState
from ._timetable import Timetable, make_timetable


__all__ = ["array_source", "segment_limit"]

CAPACITY = 2**14  # steps of one program call: the length of the buffers of its losses

# Data, rows and the rule of early stopping are arguments of the programs: another `fit` of the
# same task and optimizer need not compile again.
_compiled = functools.partial(jax.jit, static_argnames=("parts",))


def array_source(
    data: Any,
    rows: Rows | None,
    rule: EarlyStopping | None,
    batch_size: int | None,
    lengths: Mapping[str, int | None],
    parts_of: Callable[[Timetable], Parts],
) -> Source:
    """Batches of arrays, drawn on the device."""
    if batch_size is None:
        raise TypeError("fit: of arrays `batch_size` must be an integer, got None.")
    examples = as_examples("fit", data)
    rows = as_rows("fit", rows, count_rows("fit", examples))
    parts = parts_of(make_timetable("fit", len(rows.train), batch_size=batch_size, **lengths))
    given = replicate((examples, rows, rule), parts.placement)

    def advance(progress: Progress, begin: int, end: int) -> tuple[Progress, Piece]:
        progress, report = _advance(*given, progress, np.int32(begin), np.int32(end), parts=parts)
        done, evaluations, losses, written = jax.device_get(report)
        rows = [{name: x[line] for name, x in written.items()} for line in range(evaluations)]
        return progress, Piece(losses[: done - begin], rows)

    def replay(progress: Progress, begin: int, step: int) -> tuple[TrainState, Batch, np.ndarray]:
        state = advance(progress, begin, step)[0].state
        feed = make_feed(examples, rows, parts.timetable)
        table = feed.table(state.key, step)
        chosen = table.indices[step % parts.timetable.steps_per_epoch]
        return state, feed.batch(table, step), np.asarray(chosen)

    start = lambda key: _start(*given, replicate(key, parts.placement), parts=parts)
    evaluate = functools.partial(_evaluate, *given, parts=parts)
    first = Batch(*take_rows(examples, rows.train[:1]))
    digest = lambda: data_fingerprint((examples, rows))
    return Source(parts.timetable, first, digest, start, advance, evaluate, replay)


def _loop(examples: Any, rows: Rows, rule: Any, parts: Parts) -> Loop:
    validate = validation(parts.task, examples, rows, parts.timetable.batch_size)
    skip = parts.skip_not_finite
    return make_loop(parts.task, parts.optimizer, validate, rule, skip_not_finite=skip)


@_compiled
def _start(examples: Any, rows: Rows, rule: Any, key: Any, *, parts: Parts) -> Progress:
    feed = make_feed(examples, rows, parts.timetable)
    loop = _loop(examples, rows, rule, parts)
    return place(loop.start(key, feed.batch_like(key)), parts.placement)


@_compiled
def _evaluate(examples: Any, rows: Rows, rule: Any, progress: Progress, *, parts: Parts) -> Any:
    return _loop(examples, rows, rule, parts).evaluate(progress)


@_compiled
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
    loop = _loop(examples, rows, rule, parts)
    capacity = segment_limit(timetable)
    row = jax.eval_shape(loop.evaluate, progress)[1]
    lines = capacity // timetable.evaluate_every + 1

    def step(index: Array, carry: tuple[Progress, BatchTable, Array]) -> Any:
        progress, table, losses = carry
        table = feed.turn(progress.state.key, table, index)
        batch = place_batch(feed.batch(table, index), placement)
        progress, loss = loop.step(progress, batch)
        return place(progress, placement), table, losses.at[index - begin].set(loss)

    def evaluate(progress: Progress, line: Array, written: dict[str, Array]) -> Any:
        progress, row = loop.evaluate(progress)
        added = {name: written[name].at[line].set(value) for name, value in row.items()}
        return place(progress, placement), line + 1, added

    def interval(carry: Any) -> Any:
        done, line, progress, table, losses, written = carry
        due = timetable.next_evaluation(done)
        stop = jnp.minimum(due, end)
        progress, table, losses = jax.lax.fori_loop(done, stop, step, (progress, table, losses))
        progress, line, written = jax.lax.cond(
            stop == due, evaluate, lambda *same: same, progress, line, written
        )
        return stop, line, progress, table, losses, written

    done, line, progress, _, losses, written = jax.lax.while_loop(
        lambda carry: (carry[0] < end) & carry[2].running,
        interval,
        (
            begin,
            jnp.zeros((), jnp.int32),
            hold(progress),
            feed.table(progress.state.key, begin),
            jnp.zeros(capacity, progress.best_loss.dtype),
            {name: jnp.zeros((lines, *x.shape), x.dtype) for name, x in row.items()},
        ),
    )
    return release(progress), (done, line, losses, written)


def segment_limit(timetable: Timetable) -> int:
    """The most steps that one call may take."""
    return min(timetable.steps, CAPACITY)
