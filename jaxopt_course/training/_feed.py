"""The batches of a training on arrays: which rows come when."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PyTree

from jaxopt_course.data import BatchTable, epoch_batches
from jaxopt_course.tasks import Batch

from ._rows import take_rows
from ._state import Rows
from ._timetable import Timetable


# Step numbers are below 2^31, so this one is free for the second use of the run's key.
DATA_STREAM = 2**32 - 1


class Epoch(NamedTuple):
    """The batches of an epoch.

    number: the number of the epoch, from 0, i32[]; -1 for none.
    table: its batches.
    """

    number: Int[Array, ""]
    table: BatchTable


class Feed(NamedTuple):
    """Where batches come from. The table of an epoch follows from the key; it is no state.

    table: ``table(key, index) -> table``: the batches of the epoch in which step ``index`` is,
        steps counted from 0.
    nothing: the :class:`Epoch` before any was drawn.
    turn: ``turn(key, epoch, index) -> epoch`` of step ``index``, drawn only if that is another one.
    batch: ``batch(table, index) -> batch`` of step ``index``.
    batch_at: ``batch_at(key, index) -> batch`` of step ``index``, of whatever epoch.
    like: shapes and dtypes of a batch.
    """

    table: Callable[[Any, Any], BatchTable]
    nothing: Epoch
    turn: Callable[[Any, Epoch, Any], Epoch]
    batch: Callable[[BatchTable, Any], Batch]
    batch_at: Callable[[Any, Any], Batch]
    like: Batch


def make_feed(examples: tuple[PyTree, PyTree], rows: Rows, timetable: Timetable) -> Feed:
    """The batches of ``rows.train`` in the order of the key."""
    n = rows.train.shape[0]
    counted = jnp.ones(n, jnp.result_type(float)) if rows.weights is None else rows.weights
    all_count = rows.weights is None and n % timetable.batch_size == 0

    def table(key: Any, index: Any) -> BatchTable:
        epoch = index // timetable.steps_per_epoch
        stream = jax.random.fold_in(key, DATA_STREAM)
        return epoch_batches(stream, epoch, rows.train, counted, timetable.batch_size)

    def turn(key: Any, old: Epoch, index: Any) -> Epoch:
        number = jnp.asarray(index // timetable.steps_per_epoch, jnp.int32)
        same = number == old.number
        return Epoch(number, jax.lax.cond(same, lambda: old.table, lambda: table(key, index)))

    def batch(table: BatchTable, index: Array | int) -> Batch:
        position = index % timetable.steps_per_epoch
        inputs, targets = take_rows(examples, table.indices[position])
        return Batch(inputs, targets, None if all_count else table.weights[position])

    first = rows.train[: timetable.batch_size]
    like = jax.eval_shape(lambda: Batch(*take_rows(examples, first)))
    shape = (timetable.steps_per_epoch, timetable.batch_size)
    empty = BatchTable(jnp.zeros(shape, rows.train.dtype), jnp.zeros(shape, counted.dtype))
    nothing = Epoch(jnp.full((), -1, jnp.int32), empty)
    batch_at = lambda key, index: batch(table(key, index), index)
    return Feed(table, nothing, turn, batch, batch_at, like)
