"""The trainings of a study on the host: which are done, what they gave, and that on disk."""

import collections
import contextlib
import dataclasses
import os
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from ._devices import agreed
from ._saves import open_saves
from ._score import Kept


SAVED = ("done", "scores", "outcomes", "history")
SECONDS = 5.0  # between two saves at least
SHARE = 0.05  # of the time, for saving at most


@dataclasses.dataclass(eq=False)
class Table:
    """One row for each training of a study, in the order configuration, fold, seed.

    Attributes:
        done: which rows hold anything.
        scores, outcomes, history: of the trainings; made as wide as the longest history.
        compile_seconds: that this process spent.
        run_seconds: that it spent on trainings, besides.
        chunks: how many trainings it did so many at a time.
    """

    done: np.ndarray
    scores: np.ndarray
    outcomes: np.ndarray
    history: dict[str, np.ndarray]
    compile_seconds: float = 0.0
    run_seconds: float = 0.0
    chunks: collections.Counter[int] = dataclasses.field(default_factory=collections.Counter)

    @classmethod
    def of_size(cls, n: int) -> "Table":
        return cls(np.zeros(n, bool), np.full(n, np.nan), np.zeros(n, np.int32), {})

    def record(self, numbers: np.ndarray, kept: Kept) -> None:
        """Note what is kept of the trainings ``numbers``."""
        self.scores[numbers] = kept.score
        self.outcomes[numbers] = kept.outcome.code
        for name, values in kept.history.items():
            width = max(values.shape[1], *(column.shape[1] for column in self.history.values()), 0)
            column = self.history.get(name, _nothing(len(self.done), 0, values.dtype))
            self.history[name] = _widened(column, width)
            self.history[name][numbers] = _widened(np.asarray(values), width)
        width = max((column.shape[1] for column in self.history.values()), default=0)
        self.history = {name: _widened(column, width) for name, column in self.history.items()}
        self.done[numbers] = True

    def tree(self) -> dict[str, Any]:
        """What is saved, as a pytree of arrays."""
        return {name: getattr(self, name) for name in SAVED}


@contextlib.contextmanager
def saved_in(
    directory: str | os.PathLike[str] | None, study: Callable[[], dict[str, Any]], table: Table
) -> Iterator[Callable[[], None]]:
    """A function that saves ``table`` where that is due; what was saved before is in it.

    However the block is left, what is done by then is saved.

    Args:
        directory: of the checkpoints; None: nothing is saved.
        study: gives what the study is, in a form that JSON can write.
        table: is filled with what the directory holds of this study.

    Raises:
        CheckpointMismatchError: if the directory holds another study.
        CheckpointCorruptError: if none of its checkpoints is sound.
    """
    with open_saves("search", directory, study) as saves:
        saved = saves.latest(
            lambda info: _table_like(len(table.done), info.about["history"]).tree()
        )
        if saved is not None:
            for name, value in saved.tree.items():
                setattr(table, name, jax.tree.map(np.array, value))
        before = int(table.done.sum())
        due = time.monotonic() + SECONDS

        def save() -> None:
            widths = {name: [x.shape[1], str(x.dtype)] for name, x in table.history.items()}
            saves.save(int(table.done.sum()), table.tree(), history=widths)

        def save_if_due() -> None:
            nonlocal due
            begin = time.monotonic()
            if agreed(begin >= due, among_all=True):
                save()
                now = time.monotonic()
                due = now + max(SECONDS, (now - begin) / SHARE)

        try:
            yield (lambda: None) if directory is None else save_if_due
        finally:
            if int(table.done.sum()) > before:
                save()


def _table_like(n: int, widths: Mapping[str, Any]) -> Table:
    """An empty table with histories of these widths and dtypes."""
    table = Table.of_size(n)
    table.history = {name: _nothing(n, w, np.dtype(d)) for name, (w, d) in widths.items()}
    return table


def _nothing(n: int, width: int, dtype: np.dtype) -> np.ndarray:
    """What stands where there is no evaluation: NaN; in whole numbers, 0."""
    return np.full((n, width), np.nan if np.issubdtype(dtype, np.floating) else 0, dtype)


def _widened(column: np.ndarray, width: int) -> np.ndarray:
    """With further evaluations: NaN; whole numbers, such as the step, stay what they were."""
    missing = width - column.shape[1]
    if missing == 0:
        return column
    if np.issubdtype(column.dtype, np.floating) or column.shape[1] == 0:
        more = _nothing(len(column), missing, column.dtype)
    else:
        more = np.repeat(column[:, -1:], missing, axis=1)
    return np.concatenate([column, more], axis=1)
