"""Batches that come one by one, from a loader, say: looked at, filled up, and found again."""

import itertools
from collections.abc import Iterable, Iterator, Sized
from typing import Any

import jax
import numpy as np

from jaxopt_course.data import padded_stream
from jaxopt_course.tasks import Batch

from ._rows import as_arrays, count_rows, pair_of
from ._timetable import WITHOUT_END, Timetable, make_timetable


EVERY = 1000  # steps from one evaluation to the next, of a stream without a length


def is_stream(owner: str, data: Any) -> bool:
    """Whether ``data`` is a stream, and not a pair of arrays.

    Raises:
        TypeError: if it is neither.
    """
    if pair_of(data) is not None:
        return False
    if callable(data) or isinstance(data, Iterable):
        return True
    raise TypeError(
        f"{owner}: `data` must be a pair (inputs, targets), have `inputs` and `targets`, or be a "
        f"stream of batches, got {type(data).__name__}."
    )


class Stream:
    """The batches of a stream, on the host, and how many of them have been drawn.

    Args:
        data: an iterable of batches, or a function of how many to leave out that gives one.
        batch_size: to what short batches are filled up. None: all are taken as they are.
    """

    def __init__(self, data: Any, batch_size: int | None) -> None:
        fill = lambda items: items if batch_size is None else padded_stream(items, batch_size)
        self._reopen = (lambda step: iter(fill(data(step)))) if callable(data) else None
        items = iter(fill(_passes(data))) if self._reopen is None else self._reopen(0)
        first = next(items, None)
        if first is None:
            raise ValueError("fit: the stream must hold at least one batch, got none.")
        self.first = _as_batch(first, 0)  # which is not drawn by that
        self._length = len(data) if isinstance(data, Sized) else None
        self._items: Iterator[Any] = itertools.chain([first], items)
        self._position = 0

    def timetable(
        self, *, epochs: int | None, steps: int | None, evaluate_every: int | None
    ) -> Timetable:
        """The timetable of a training on it, its numbers checked."""
        length = self._length
        if epochs is not None and length is None:
            raise ValueError(
                "fit: `epochs` are of data with a length; give `steps` of this stream."
            )
        if epochs is steps is None:
            steps = WITHOUT_END  # as far as the stream goes
        if evaluate_every is None:
            evaluate_every = EVERY if length is None else length
        size = count_rows("fit", self.first.inputs)
        return make_timetable(
            "fit",
            (WITHOUT_END if length is None else length) * size,
            epochs=epochs,
            steps=steps,
            batch_size=size,
            evaluate_every=evaluate_every,
        )

    def draw(self) -> Batch | None:
        """The next batch, of the shapes and dtypes of the first; None if there is no more."""
        item = next(self._items, None)
        if item is None:
            return None
        batch = _as_batch(item, self._position)
        if _shapes(batch) != _shapes(self.first):
            raise ValueError(
                f"fit: batch {self._position} of the stream has (shape, dtype) {_shapes(batch)}, "
                f"but the first had {_shapes(self.first)}; give `batch_size` to have short "
                "batches filled up."
            )
        self._position += 1
        return batch

    def seek(self, step: int) -> None:
        """Have ``step`` batches drawn: opened anew without them if it can be, else one by one."""
        if self._reopen is not None and step != self._position:
            self._items, self._position = self._reopen(step), step
        while self._position < step and self.draw() is not None:
            pass


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
    names = ("inputs", "targets", "weights")
    arrays = [
        as_arrays(f"fit: batch {number} of the stream", name, part, _narrowed)
        for name, part in zip(names, item, strict=False)
    ]
    count_rows("fit", arrays[:2])
    return Batch(*arrays)


def _narrowed(x: Any) -> Any:
    """``x`` in a width that this process computes in."""
    return x if isinstance(x, jax.Array) else np.asarray(x, jax.dtypes.canonicalize_dtype(x.dtype))


def _shapes(batch: Batch) -> Any:
    return jax.tree.map(lambda x: (x.shape, x.dtype.name), batch)
