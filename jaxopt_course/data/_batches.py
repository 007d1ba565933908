"""Mini-batches: tables of row numbers in a compiled program, and streams of batches on the host.

The order of an epoch is a pure function of (key, epoch), so that a training that resumes sees the
same batches. An epoch contains every row once. If the batch size does not divide the number of
rows, the last batch is padded with rows of weight 0.

A stream is an iterable of tuples ``(inputs, targets, weights)`` of equal shapes, for data that do
not fit on the device or come from another loader. ``jaxopt_course.tasks.Batch(*item)`` names the
parts.
"""

import collections
import concurrent.futures
import itertools
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Sharding
from jaxtyping import Array, Float, Int, Int32, Key, PyTree, ScalarLike, Shaped

from jaxopt_course.core import batch_parts, checks

from ._split import row_numbers


class BatchTable(NamedTuple):
    """The batches of one epoch, one per row, to be scanned over.

    indices: row numbers of the data set.
    weights: weights of the rows; 0 for padding.
    """

    indices: Int32[Array, "steps batch_size"]
    weights: Float[Array, "steps batch_size"]


def epoch_order(key: Key[Array, ""], epoch: ScalarLike, n: int) -> Int32[Array, " n"]:
    """The permutation of 0, ..., n - 1 of one epoch, with ``n`` static.

    ``key`` and ``epoch`` are those of :func:`epoch_batches`.
    """
    checks.integer("epoch_order", "n", n, "[1, inf)")
    checks.number("epoch_order", "epoch", epoch, "[0, inf)")
    return jax.random.permutation(jax.random.fold_in(key, epoch), jnp.arange(n, dtype=jnp.int32))


def epoch_batches(
    key: Key[Array, ""],
    epoch: ScalarLike,
    indices: Int32[Array, " n"],
    weights: Float[Array, " n"],
    batch_size: int,
) -> BatchTable:
    """The shuffled batches of one epoch over the rows ``indices``.

    Args:
        key: PRNG key of the data order, the same for all epochs.
        epoch: number of the epoch, counted from 0; may be traced.
        indices: the rows to train on, such as those of a fold.
        weights: the weight of each of them.
        batch_size: number of rows per batch, in [1, n]; static.

    Returns:
        ``ceil(n / batch_size)`` batches. Padding repeats rows of the first batch.

    Examples:
        >>> rows, ones = jnp.arange(5, dtype=jnp.int32), jnp.ones(5)
        >>> table = epoch_batches(jax.random.key(0), 0, rows, ones, batch_size=2)
        >>> table.indices.shape, float(table.weights.sum())
        ((3, 2), 5.0)
    """
    n = indices.shape[0]
    checks.integer("epoch_batches", "batch_size", batch_size, f"[1, {n}]")
    order = epoch_order(key, epoch, n)
    padding = -n % batch_size
    padded = jnp.concatenate([order, order[:padding]])
    counted = jnp.concatenate([weights[order], jnp.zeros(padding, weights.dtype)])
    return BatchTable(
        indices=indices[padded].reshape(-1, batch_size), weights=counted.reshape(-1, batch_size)
    )


_draw_table = jax.jit(epoch_batches, static_argnums=4)


def array_stream(
    key: Key[Array, ""],
    inputs: PyTree,
    targets: PyTree,
    batch_size: int,
    *,
    rows: Int[np.ndarray | Array, " n"] | None = None,
    weights: Float[np.ndarray | Array, " n"] | None = None,
    epochs: int | None = None,
    start: int = 0,
) -> Iterator[tuple[PyTree, PyTree, Float[np.ndarray, " batch_size"]]]:
    """Shuffled batches of arrays on the host, in memory or in a memory-mapped file.

    The order is that of :func:`epoch_batches` with the same key, as in a compiled training. Only
    the rows of the batch are read, so ``np.load(path, mmap_mode="r")`` may be larger than memory.

    Args:
        key: PRNG key of the data order, the same for all epochs.
        inputs: array or pytree of arrays with examples on the first axis.
        targets: array or pytree of arrays, with one row for each row of the inputs, or None.
        batch_size: number of rows per batch, in [1, n].
        rows: numbers of the rows to use. None means all.
        weights: the weight of each of them. None means 1.
        epochs: number of epochs, in [1, inf). With None the stream is infinite.
        start: number of batches to skip without reading them, in [0, inf). A training that was
            interrupted after ``start`` steps resumes with the next one.

    Returns:
        An iterator of NumPy batches. The last batch of an epoch is padded with rows of weight 0.

    Examples:
        >>> x = np.arange(5.0)
        >>> [float(w.sum()) for _, _, w in array_stream(jax.random.key(0), x, x, 2, epochs=1)]
        [2.0, 2.0, 1.0]
    """
    owner = "array_stream"
    indices = _rows_of((inputs, targets), rows)
    n = len(indices)
    checks.integer(owner, "batch_size", batch_size, f"[1, {n}]")
    checks.integer(owner, "start", start, "[0, inf)")
    if epochs is not None:
        checks.integer(owner, "epochs", epochs, "[1, inf)")
    counted = jnp.ones(n, jnp.result_type(float)) if weights is None else jnp.asarray(weights)
    if counted.shape != (n,):
        raise ValueError(f"{owner}: `weights` must have shape ({n},), got {counted.shape}.")
    skipped, first = divmod(start, -(-n // batch_size))

    def batches() -> Iterator[tuple[PyTree, PyTree, np.ndarray]]:
        numbers = jnp.asarray(indices, jnp.int32)
        for epoch in itertools.count(skipped) if epochs is None else range(skipped, epochs):
            table = jax.tree.map(
                np.asarray, _draw_table(key, np.int32(epoch), numbers, counted, batch_size)
            )
            begin = first if epoch == skipped else 0
            for chosen, weight in zip(table.indices[begin:], table.weights[begin:], strict=True):
                yield *_rows((inputs, targets), chosen), weight

    return batches()


def _rows_of(arrays: PyTree, rows: Any) -> Int[np.ndarray, " n"]:
    """The numbers of the rows to use, which must be rows of all ``arrays``."""
    lengths = sorted({len(x) for x in jax.tree.leaves(arrays)})
    if len(lengths) != 1:
        raise ValueError(
            f"array_stream: all arrays must have one row an example, got {lengths} rows."
        )
    if rows is None:
        return np.arange(lengths[0])
    rows = row_numbers("array_stream", rows)
    outside = rows[(rows < 0) | (rows >= lengths[0])]
    if outside.size:
        raise ValueError(f"array_stream: `rows` must lie in [0, {lengths[0]}), got {outside[0]}.")
    return rows


def padded_stream(
    batches: Iterable[Any], batch_size: int
) -> Iterator[tuple[PyTree, PyTree, Float[np.ndarray, " batch_size"]]]:
    """Batches of one size from any iterable of batches, such as a data loader.

    Args:
        batches: tuples ``(inputs, targets)`` or ``(inputs, targets, weights)`` of arrays or pytrees
            of arrays, with at most ``batch_size`` rows. Without targets a batch is
            ``(inputs, None)`` or a dict of arrays.
        batch_size: number of rows of each batch in the result, in [1, inf).

    Returns:
        An iterator. Padding repeats the first row of the batch with weight 0. It raises ValueError
        at a batch that is empty, too large, or not such a tuple.

    Examples:
        >>> ragged = [(np.ones((2, 3)), np.ones(2)), (np.ones((1, 3)), np.ones(1))]
        >>> [(x.shape, w.tolist()) for x, _, w in padded_stream(ragged, 2)]
        [((2, 3), [1.0, 1.0]), ((2, 3), [1.0, 0.0])]
    """
    checks.integer("padded_stream", "batch_size", batch_size, "[1, inf)")
    return (_padded(batch, batch_size) for batch in batches)


def prefetched(
    stream: Iterable[Any], size: int = 2, sharding: Sharding | None = None
) -> Iterator[Any]:
    """The items of ``stream`` on the device, read and sent ahead by a thread.

    An error of the stream is raised where its item would have been. The thread ends when the stream
    does, or when the consumer stops or closes the iterator.

    Args:
        stream: iterable of pytrees of arrays. It must not reuse the memory of an item.
        size: number of items that are prepared ahead, in [1, inf).
        sharding: sharding of the items, such as ``NamedSharding(mesh, PartitionSpec("data"))``,
            where the number of devices must divide the batch size. By default on one device.

    Examples:
        >>> batches = array_stream(jax.random.key(0), np.ones(4), np.ones(4), 2, epochs=3)
        >>> sum(float(w.sum()) for _, _, w in prefetched(batches))
        12.0
    """
    checks.integer("prefetched", "size", size, "[1, inf)")
    return _prefetched(iter(stream), size, sharding)


def _prefetched(source: Iterator[Any], size: int, sharding: Sharding | None) -> Iterator[Any]:
    end = object()

    def draw() -> Any:
        item = next(source, end)
        return item if item is end else jax.device_put(item, sharding)

    pool = concurrent.futures.ThreadPoolExecutor(1, "prefetched")
    try:
        ahead = collections.deque(pool.submit(draw) for _ in range(size))
        while (item := ahead.popleft().result()) is not end:
            ahead.append(pool.submit(draw))
            yield item
    finally:
        pool.shutdown(cancel_futures=True)


def _padded(batch: Any, batch_size: int) -> tuple[PyTree, PyTree, np.ndarray]:
    owner = "padded_stream"
    parts = batch_parts(batch)
    if parts is None:
        raise ValueError(
            f"{owner}: a batch must be (inputs, targets), (inputs, targets, weights), or without "
            f"targets (inputs, None) or a dict of arrays, got {type(batch).__name__}."
        )
    *examples, weights = parts
    lengths = sorted({len(x) for x in jax.tree.leaves(batch)})
    if len(lengths) != 1 or not 1 <= lengths[0] <= batch_size:
        raise ValueError(
            f"{owner}: the arrays of a batch must have the same number of rows in "
            f"[1, {batch_size}], got {lengths}."
        )
    n = lengths[0]
    weights = np.ones(n, jnp.result_type(float)) if weights is None else np.asarray(weights)
    chosen = np.where(np.arange(batch_size) < n, np.arange(batch_size), 0)
    inputs, targets = _rows(tuple(examples), chosen)
    return inputs, targets, np.append(weights, np.zeros(batch_size - n, weights.dtype))


def _rows(arrays: PyTree, chosen: Int[np.ndarray, " batch"]) -> PyTree[Shaped[np.ndarray, "..."]]:
    """Copies of the rows ``chosen``."""
    return jax.tree.map(lambda x: np.asarray(x[chosen]), arrays)
