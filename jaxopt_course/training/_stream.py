"""Streams of batches, from a data loader for instance: checked, padded, and repositioned."""

import itertools
from collections.abc import Iterable, Iterator, Sized
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxopt_course.core import batch_parts
from jaxopt_course.data import padded_stream
from jaxopt_course.tasks import Batch

from ._arguments import WITHOUT_END, Timetable, make_timetable
from ._data import as_arrays, count_rows, pair_of


EVERY = 1000  # steps between evaluations, for a stream without a length


class Stream(NamedTuple):
    """A stream of batches, and the data to validate on.

    batches: an iterable of batches ``(inputs, targets)`` or ``(inputs, targets, weights)`` of equal
        shapes. It is iterated again when exhausted, unless it is an iterator. Or a function of a
        number of batches to skip that returns an iterable, so that a resumed training need not draw
        the skipped batches.
    validation: all rows to validate on, as a pair (inputs, targets) or as in :func:`make_train`;
        or a stream of them, read in full at every evaluation with one batch in memory at a time: an
        iterable of batches that is not an iterator, or a function without arguments that returns
        an iterable. None: no validation.

    To validate a training on arrays by a stream, make batches of the arrays by
    :func:`~jaxopt_course.data.array_stream`.

    Examples:
        >>> batches = [(np.ones((2, 3)), np.ones(2))] * 4
        >>> stream = Stream(batches, validation=lambda: batches[:2])
    """

    batches: Any
    validation: Any = None


def is_stream(owner: str, data: Any) -> bool:
    """Whether ``data`` is a stream rather than arrays; TypeError if it is neither."""
    if isinstance(data, Stream):
        return True
    if pair_of(data) is not None:
        return False
    if callable(data) or isinstance(data, Iterable):
        return True
    raise TypeError(
        f"{owner}: `data` must be a pair (inputs, targets), have `inputs` and `targets`, be an "
        f"array or a dict of arrays without targets, or a stream of batches, got "
        f"{type(data).__name__}."
    )


def refuse_arrays(stream: Stream) -> None:
    """Raise TypeError if ``stream.batches`` are all rows as arrays, which have no batches yet."""
    pair = pair_of(stream.batches)
    if pair is not None and any(batch_parts(part) is None for part in pair):
        raise TypeError(
            "fit: `Stream.batches` must be batches, got the arrays of all rows: make batches of "
            "them by `jc.data.array_stream`, or pass the arrays as `data` and validate by `rows`."
        )


def refuse_two_batches(validation: Any, first: Batch) -> None:
    """Raise ValueError if the pair ``validation`` looks like two batches such as ``first``."""
    is_group = lambda x: isinstance(x, tuple | list)
    if is_group(validation) and all(map(is_group, validation)) and not is_group(first.inputs):
        raise ValueError(
            "fit: a `validation` of two parts must be the pair (inputs, targets), with inputs like "
            "those of the batches, got two groups of arrays; give two batches as a function that "
            "returns them."
        )


class StreamReader:
    """Reads the batches of :class:`Stream` on the host, and knows its position.

    Short batches are padded to ``batch_size`` rows, unless it is None.
    """

    def __init__(self, data: Any, batch_size: int | None) -> None:
        fill = lambda items: items if batch_size is None else padded_stream(items, batch_size)
        self._reopen = (lambda step: iter(fill(data(step)))) if callable(data) else None
        items = iter(fill(_passes(data))) if self._reopen is None else self._reopen(0)
        first = next(items, None)
        if first is None:
            raise ValueError("fit: the stream must hold at least one batch, got none.")
        self.first = as_batch(first, 0)  # it still counts as not drawn
        self._length = len(data) if isinstance(data, Sized) else None
        self._items: Iterator[Any] = itertools.chain([first], items)
        self._position = 0

    def timetable(
        self, *, epochs: int | None, steps: int | None, evaluate_every: int | None
    ) -> Timetable:
        """The timetable of a training on it, after checking the arguments."""
        length, size = self._length, count_rows("fit", self.first.inputs)
        if epochs is not None and length is None:
            raise ValueError("fit: `epochs` needs data with a length; give `steps` of this stream.")
        if epochs is steps is None:
            steps = WITHOUT_END  # to the end of the stream
        if evaluate_every is None:
            evaluate_every = length or EVERY
        lengths: dict[str, Any] = {"epochs": epochs, "steps": steps}
        lengths |= {"batch_size": size, "evaluate_every": evaluate_every}
        return make_timetable("fit", (length or WITHOUT_END) * size, **lengths)

    def draw(self) -> Batch | None:
        """The next batch, with the shapes and dtypes of the first; None at the end."""
        item = next(self._items, None)
        if item is None:
            return None
        batch = as_batch(item, self._position)
        if _shapes(batch) != _shapes(self.first):
            raise ValueError(
                f"fit: batch {self._position} of the stream has (shape, dtype) {_shapes(batch)}, "
                f"but the first had {_shapes(self.first)}; give `batch_size` to pad short "
                "batches."
            )
        self._position += 1
        return batch

    def seek(self, step: int) -> None:
        """Move to position ``step``: reopen the stream there if possible, else draw batches."""
        if self._reopen is not None and step != self._position:
            self._items, self._position = self._reopen(step), step
        while self._position < step and self.draw() is not None:
            pass


def _passes(stream: Iterable[Any]) -> Iterator[Any]:
    """The items of ``stream``, repeated unless it is an iterator or empty."""
    while True:
        empty = True
        for item in stream:
            empty = False
            yield item
        if empty or isinstance(stream, Iterator):
            return


def as_batch(item: Any, number: int, stream: str = "the stream") -> Batch:
    parts = batch_parts(item)
    if parts is None:
        raise ValueError(
            f"fit: batch {number} of {stream} must be (inputs, targets), "
            "(inputs, targets, weights), or without targets (inputs, None) or a dict of arrays, "
            f"got {type(item).__name__}."
        )
    owner = f"fit: batch {number} of {stream}"
    named = zip(Batch._fields, parts, strict=True)
    batch = Batch(*(as_arrays(owner, name, part, _narrowed) for name, part in named))
    count_rows("fit", {"inputs": batch.inputs, "targets": batch.targets})
    return batch


def _narrowed(x: Any) -> Any:
    """``x`` in a dtype that this process computes in."""
    return x if isinstance(x, jax.Array) else np.asarray(x, jax.dtypes.canonicalize_dtype(x.dtype))


def _shapes(batch: Batch) -> Any:
    return jax.tree.map(lambda x: (x.shape, x.dtype.name), batch)
