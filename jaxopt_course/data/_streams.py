"""Streams: batches of data that are too large for the device, or that come from elsewhere.

A stream is any iterable of tuples ``(inputs, targets, weights)`` of equal shapes: one program
takes them all. ``jaxopt_course.tasks.Batch(*item)`` names their parts.
"""

import collections
import concurrent.futures
import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Sharding
from jaxtyping import Array, Float, Int, Key, PyTree, Shaped

from jaxopt_course.core import checks

from ._batches import epoch_batches


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
    """Shuffled batches of arrays that stay on the host, in memory or in a mapped file.

    The order is that of :func:`epoch_batches` with the same key: what a compiled training would
    see. Only the rows of a batch are read: ``np.load(path, mmap_mode="r")`` opens an array of
    any size.

    Args:
        key: of the data, the same for all epochs.
        inputs: an array, or a pytree of arrays, of one row an example.
        targets: likewise.
        batch_size: in [1, n].
        rows: the rows to use, and their order before shuffling. None: all.
        weights: the weight of each of them. None: 1.
        epochs: how many to give, in [1, inf). None: without end.
        start: how many batches to leave out, in [0, inf): a training that was interrupted after
            so many steps goes on with the next. Nothing is read for them.

    Returns:
        An iterator of NumPy batches. The last one of an epoch is filled up with rows of weight 0.

    Raises:
        ValueError: if a number is out of range, the arrays differ in length, or the rows are
            no integers.

    Examples:
        >>> x = np.arange(5.0)
        >>> [float(w.sum()) for _, _, w in array_stream(jax.random.key(0), x, x, 2, epochs=1)]
        [2.0, 2.0, 1.0]
    """
    owner = "array_stream"
    lengths = sorted({len(x) for x in jax.tree.leaves((inputs, targets))})
    if len(lengths) != 1:
        raise ValueError(f"{owner}: all arrays must have one row an example, got {lengths} rows.")
    indices = np.arange(lengths[0]) if rows is None else np.asarray(rows)
    if indices.ndim != 1 or not np.issubdtype(indices.dtype, np.integer):
        raise ValueError(
            f"{owner}: `rows` must be a vector of integers, "
            f"got {indices.dtype.name} of shape {indices.shape}."
        )
    outside = indices[(indices < 0) | (indices >= lengths[0])]
    if outside.size:
        raise ValueError(f"{owner}: `rows` must lie in [0, {lengths[0]}), got {outside[0]}.")
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


def padded_stream(
    batches: Iterable[tuple[Any, ...]], batch_size: int
) -> Iterator[tuple[PyTree, PyTree, Float[np.ndarray, " batch_size"]]]:
    """Batches of one size from any iterable, such as a loader's; short ones are filled up.

    Args:
        batches: tuples ``(inputs, targets)`` or ``(inputs, targets, weights)`` of arrays, or
            pytrees of arrays, of at most ``batch_size`` rows.
        batch_size: of what comes out, in [1, inf).

    Returns:
        An iterator. What fills up repeats the batch's first row, with weight 0.

    Raises:
        ValueError: when it comes to a batch that is empty, too large, or no such tuple.

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
    """The items of ``stream`` on the device, drawn and sent ahead by a thread.

    An error of the stream is raised to the consumer, in its place. The thread ends with the
    stream, or as soon as the consumer is done: with its loop, on an error, or on ``close()``.

    Args:
        stream: an iterable of pytrees of arrays. Each must be new memory, not one buffer filled
            again.
        size: how many items are ahead, in [1, inf); so many are on the device besides the one in
            use.
        sharding: how items are laid out over the devices: for data parallelism
            ``NamedSharding(mesh, PartitionSpec("data"))``, under which the number of devices must
            divide the batch size. None: on one device.

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


def _padded(batch: tuple[Any, ...], batch_size: int) -> tuple[PyTree, PyTree, np.ndarray]:
    owner = "padded_stream"
    if not isinstance(batch, tuple | list) or len(batch) not in (2, 3):
        raise ValueError(
            f"{owner}: a batch must be (inputs, targets) or (inputs, targets, weights), "
            f"got {type(batch).__name__}."
        )
    lengths = sorted({len(x) for x in jax.tree.leaves(batch)})
    if len(lengths) != 1 or not 1 <= lengths[0] <= batch_size:
        raise ValueError(
            f"{owner}: the arrays of a batch must have the same number of rows in "
            f"[1, {batch_size}], got {lengths}."
        )
    n = lengths[0]
    weights = np.ones(n, jnp.result_type(float)) if len(batch) == 2 else np.asarray(batch[2])
    chosen = np.where(np.arange(batch_size) < n, np.arange(batch_size), 0)
    inputs, targets = _rows(tuple(batch[:2]), chosen)
    return inputs, targets, np.append(weights, np.zeros(batch_size - n, weights.dtype))


def _rows(arrays: PyTree, chosen: Int[np.ndarray, " batch"]) -> PyTree[Shaped[np.ndarray, "..."]]:
    """Copies of the rows ``chosen``."""
    return jax.tree.map(lambda x: np.asarray(x[chosen]), arrays)
