"""Batches that come one by one, from a loader, say: each is one call of the compiled step."""

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxopt_course.data import padded_stream
from jaxopt_course.tasks import Batch

from ._early_stopping import EarlyStopping
from ._evaluate import validation as validate_on
from ._loop import Loop, Progress, hold, make_loop, release
from ._placement import place, replicate, spread
from ._rows import as_examples, count_rows
from ._sources import Parts, Piece, Source
from ._state import Rows, TrainState
from ._timetable import WITHOUT_END, Timetable, make_timetable


__all__ = ["is_stream", "stream_source"]

EVERY = 1000  # steps from one evaluation to the next, of a stream without a length


def is_stream(owner: str, data: Any) -> bool:
    """Whether ``data`` is a stream, and not a pair of arrays.

    Raises:
        TypeError: if it is neither.
    """
    is_pair = isinstance(data, tuple | list) and len(data) == 2
    if is_pair or (hasattr(data, "inputs") and hasattr(data, "targets")):
        return False
    if callable(data) or isinstance(data, Iterable):
        return True
    raise TypeError(
        f"{owner}: `data` must be a pair (inputs, targets), have `inputs` and `targets`, or be a "
        f"stream of batches, got {type(data).__name__}."
    )


class _Stream(NamedTuple):
    """A stream whose first batch has been looked at.

    first: that batch, on the host.
    items: the stream from there on, that batch included.
    reopen: ``reopen(step)``: a new one without so many batches; None if it must be drawn.
    """

    first: Batch
    items: Iterator[Any]
    reopen: Callable[[int], Iterator[Any]] | None


def _open(data: Any, batch_size: int | None) -> _Stream:
    """The batches of ``data``, short ones filled up to ``batch_size`` if that is a number.

    Raises:
        ValueError: if there is none.
    """
    fill = lambda items: items if batch_size is None else padded_stream(items, batch_size)
    reopen = (lambda step: iter(fill(data(step)))) if callable(data) else None
    items = iter(fill(_passes(data))) if reopen is None else reopen(0)
    first = next(items, None)
    if first is None:
        raise ValueError("fit: the stream must hold at least one batch, got none.")
    return _Stream(_as_batch(first, 0), itertools.chain([first], items), reopen)


def stream_source(
    data: Any,
    validation: Any,
    rule: EarlyStopping | None,
    batch_size: int | None,
    lengths: Mapping[str, int | None],
    parts_of: Callable[[Timetable], Parts],
    *,
    keep: bool,
) -> Source:
    """The batches of a stream.

    Args:
        data: where they come from.
        validation: what is validated on, a pair of arrays, or None.
        rule: of early stopping.
        batch_size: to what short batches are filled up. None: all are taken as they are.
        lengths: ``epochs``, ``steps``, ``evaluate_every``.
        parts_of: what the programs are made for, of a timetable.
        keep: whether the batches of a piece are kept for ``replay``.
    """
    stream = _open(data, batch_size)
    examples = None if validation is None else as_examples("fit", validation)
    parts = parts_of(_timetable(data, stream, **lengths))
    given = replicate((examples, rule), parts.placement)
    items, position = stream.items, 0
    like = _shapes(stream.first)
    kept: list[Batch] = []

    def draw() -> Batch | None:
        nonlocal position
        item = next(items, None)
        if item is None:
            return None
        batch = _as_batch(item, position)
        if _shapes(batch) != like:
            raise ValueError(
                f"fit: batch {position} of the stream has (shape, dtype) {_shapes(batch)}, but the "
                f"first had {like}; give `batch_size` to have short batches filled up."
            )
        position += 1
        return spread(batch, parts.placement)

    def seek(step: int) -> None:
        nonlocal items, position
        if stream.reopen is not None and step != position:
            items, position = stream.reopen(step), step
        while position < step and draw() is not None:
            pass

    def advance(progress: Progress, begin: int, end: int) -> tuple[Progress, Piece]:
        seek(begin)
        losses, written = [], []
        kept.clear()
        progress = _hold(progress)
        for done in range(begin + 1, end + 1):
            if (batch := draw()) is None:
                break
            if keep:
                kept.append(batch)
            progress, loss = _step(rule, progress, batch, parts=parts)
            losses.append(loss)
            if done == parts.timetable.next_evaluation(done - 1):
                progress, row = _evaluate(*given, progress, parts=parts)
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
    start = lambda key: _start(*given, replicate(key, parts.placement), first, parts=parts)
    evaluate = functools.partial(_evaluate, *given, parts=parts)
    return Source(parts.timetable, stream.first, lambda: None, start, advance, evaluate, replay)


# The validation rows and the rule of early stopping are arguments, as in the source of arrays.
_compiled = functools.partial(jax.jit, static_argnames=("parts",))
_release = jax.jit(release)


@jax.jit
def _hold(progress: Progress) -> Progress:
    """A copy, whose arrays each step takes for its results: the one handed in is still wanted."""
    return jax.tree.map(jnp.copy, hold(progress))


@_compiled
def _start(examples: Any, rule: Any, key: Any, batch: Batch, *, parts: Parts) -> Progress:
    return place(_loop(examples, rule, parts).start(key, batch), parts.placement)


@functools.partial(_compiled, donate_argnames=("progress",))
def _step(rule: Any, progress: Progress, batch: Batch, *, parts: Parts) -> tuple[Progress, Array]:
    progress, loss = _loop(None, rule, parts).step(progress, batch)
    return place(progress, parts.placement), loss


@_compiled
def _evaluate(examples: Any, rule: Any, progress: Progress, *, parts: Parts) -> Any:
    progress, row = _loop(examples, rule, parts).evaluate(progress)
    return place(progress, parts.placement), row


def _loop(examples: Any, rule: Any, parts: Parts) -> Loop:
    validate = None
    if examples is not None:
        everything = jnp.arange(count_rows("fit", examples), dtype=jnp.int32)
        rows = Rows(everything, None, everything)
        validate = validate_on(parts.task, examples, rows, parts.timetable.batch_size)
    skip = parts.skip_not_finite
    return make_loop(parts.task, parts.optimizer, validate, rule, skip_not_finite=skip)


def _passes(stream: Iterable[Any]) -> Iterator[Any]:
    """The items of ``stream`` again and again; once, if it is an iterator or holds none."""
    while True:
        empty = True
        for item in stream:
            empty = False
            yield item
        if empty or isinstance(stream, Iterator):
            return


def _as_batch(item: Any, number: int) -> Batch:
    if not isinstance(item, tuple | list) or len(item) not in (2, 3):
        raise ValueError(
            f"fit: batch {number} of the stream must be (inputs, targets) or "
            f"(inputs, targets, weights), got {type(item).__name__}."
        )
    count_rows("fit", tuple(item[:2]))
    return Batch(*jax.tree.map(_narrowed, tuple(item)))


def _narrowed(x: Any) -> Any:
    """``x`` in a width that this process computes in."""
    return x if isinstance(x, jax.Array) else np.asarray(x, jax.dtypes.canonicalize_dtype(x.dtype))


def _shapes(batch: Batch) -> Any:
    return jax.tree.map(lambda x: (x.shape, x.dtype.name), batch)


def _timetable(
    data: Any, stream: _Stream, *, epochs: int | None, steps: int | None, evaluate_every: int | None
) -> Timetable:
    """The timetable of a training on ``stream``, its numbers checked."""
    length = len(data) if isinstance(data, Sized) else None
    if epochs is not None and length is None:
        raise ValueError("fit: `epochs` are of data with a length; give `steps` of this stream.")
    size = count_rows("fit", stream.first.inputs)
    per_epoch = WITHOUT_END if length is None else length
    if epochs is steps is None:
        steps = WITHOUT_END  # as far as the stream goes
    if evaluate_every is None:
        evaluate_every = EVERY if length is None else length
    return make_timetable(
        "fit",
        per_epoch * size,
        epochs=epochs,
        steps=steps,
        batch_size=size,
        evaluate_every=evaluate_every,
    )
