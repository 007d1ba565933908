"""Batches that come one by one: each is one call of the compiled step."""

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
from ._loop import Progress, hold, release
from ._placement import place, replicate, spread
from ._rows import as_examples, count_rows
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
from ._stream import Stream
from ._timetable import Timetable


def open_stream(
    data: Any,
    validation: Any,
    batch_size: int | None,
    lengths: Mapping[str, int | None],
    *,
    keep: bool,
) -> tuple[Timetable, MakeSource]:
    """The timetable of a training on a stream, and what makes its source.

    ``keep`` says whether the batches of a piece are kept for ``replay``.
    """
    stream = Stream(data, batch_size)
    examples, rows = None, None
    if validation is not None:
        examples = as_examples("fit", validation)
        everything = jnp.arange(count_rows("fit", examples), dtype=jnp.int32)
        rows = Rows(everything, None, everything)
    return stream.timetable(**lengths), functools.partial(_source, stream, examples, rows, keep)


def _source(
    stream: Stream,
    examples: tuple[PyTree, PyTree] | None,
    rows: Rows | None,
    keep: bool,
    rule: EarlyStopping | None,
    parts: Parts,
) -> Source:
    check = targets_check(parts.task, stream.first.inputs)

    def check_batch(number: int, batch: Batch) -> None:
        counted = None if batch.weights is None else np.asarray(batch.weights) > 0
        check(f"fit: batch {number} of the stream", batch.targets, counted)

    check_batch(0, stream.first)  # before a loss is traced
    if examples is not None:
        check("fit: `validation`", examples[1])
    given = replicate((examples, rows, rule), parts.placement)
    evaluate = functools.partial(evaluate_program, *given, parts=parts, trains=False)
    finish = functools.partial(finish_program, *given, parts=parts, trains=False)
    kept: list[Batch] = []

    def advance(progress: Progress, begin: int, end: int) -> tuple[Progress, Piece]:
        stream.seek(begin)
        losses, written = [], []
        kept.clear()
        progress = _hold(progress)
        for done in range(begin + 1, end + 1):
            if (drawn := stream.draw()) is None:
                break
            check_batch(done - 1, drawn)
            batch = spread(drawn, parts.placement)
            if keep:
                kept.append(batch)
            progress, loss = _step(rule, progress, batch, parts=parts)
            losses.append(loss)
            if done == parts.timetable.next_evaluation(done - 1):
                progress, row = evaluate(progress, np.bool_(done == parts.timetable.steps))
                written.append(jax.device_get(row))  # the next step takes what it shares
                if not progress.running:
                    break
        losses = jax.device_get(losses)
        ended = bool(progress.running) and len(losses) < end - begin
        return _release(progress), Piece(np.asarray(losses), written, ended)

    def replay(progress: Progress, begin: int, step: int) -> tuple[TrainState, Batch, None]:
        progress = _hold(progress)
        for batch in kept[: step - begin]:
            progress, _ = _step(rule, progress, batch, parts=parts)
        return _release(progress).state, kept[step - begin], None

    first = spread(stream.first, parts.placement)
    start = lambda key: _start(rule, replicate(key, parts.placement), first, parts=parts)
    programs = (start, advance, evaluate, finish, replay)
    return Source(parts.timetable, stream.first, lambda: None, *programs, None)


_release = jax.jit(release)


@jax.jit
def _hold(progress: Progress) -> Progress:
    """A copy, whose arrays each step takes for its results: the one handed in is still wanted."""
    return jax.tree.map(jnp.copy, hold(progress))


@compiled()
def _start(rule: Any, key: Any, batch: Batch, *, parts: Parts) -> Progress:
    return place(loop_of(None, None, rule, parts, trains=False).start(key, batch), parts.placement)


@compiled(donate_argnames=("progress",))
def _step(rule: Any, progress: Progress, batch: Batch, *, parts: Parts) -> tuple[Progress, Array]:
    # A step has loops of its own where the optimizer searches along a line, for example.
    step = canonical_convolutions(loop_of(None, None, rule, parts, trains=False).step)
    progress, loss = step(progress, batch)
    return place(progress, parts.placement), loss
