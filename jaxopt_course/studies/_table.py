"""The trainings of a study on the host: which are done, what they gave, and that on disk."""

import collections
import contextlib
import dataclasses
import os
import time
import warnings
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from jaxopt_course.training import (
    CheckpointCorruptError,
    CheckpointMismatchError,
    CheckpointStore,
    CheckpointWarning,
)

from ._score import Kept


__all__ = ["Table", "saved_in"]

SECONDS = 5.0  # between two saves at least
SAVED = ("done", "scores", "outcomes", "history")
SHARE = 0.05  # of the time, for saving at most


@dataclasses.dataclass(eq=False)
class Table:
    """One row for each training of a study, in the order configuration, fold, seed.

    Attributes:
        done: which rows hold anything.
        scores, outcomes, history: of the trainings; made as wide as the longest history.
        compile_seconds: that this process spent, besides the
        run_seconds: that it spent on trainings.
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


class Saves:
    """Where the table of a study is kept, and when it was saved last."""

    def __init__(self, store: CheckpointStore, study: dict[str, Any], table: Table) -> None:
        self._store, self._study, self._table = store, study, table
        self._due = time.monotonic() + SECONDS

    def save(self, *, only_if_due: bool = False) -> None:
        """Save the table; ``only_if_due``: unless that was done only just now."""
        begin = time.monotonic()
        if only_if_due and begin < self._due:
            return
        widths = {n: [x.shape[1], str(x.dtype)] for n, x in self._table.history.items()}
        about = {"study": self._study, "history": widths}
        self._store.save(int(self._table.done.sum()), self._table.tree(), about=about)
        now = time.monotonic()
        self._due = now + max(SECONDS, (now - begin) / SHARE)


@contextlib.contextmanager
def saved_in(
    directory: str | os.PathLike[str] | None, study: dict[str, Any], table: Table
) -> Iterator[Any]:
    """A function that saves ``table`` where that is due; what was saved before is in it.

    However the block is left, what is done by then is saved.

    Args:
        directory: of the checkpoints; None: nothing is saved.
        study: what the study is, in a form that JSON can write.
        table: is filled with what the directory holds of this study.

    Raises:
        CheckpointMismatchError: if the directory holds another study.
        CheckpointCorruptError: if none of its checkpoints is sound.
    """
    if directory is None:
        yield lambda: None
        return
    with CheckpointStore(directory, keep_best=0) as store:
        if store.latest() is not None:
            _restore(store, study, table)
        saves = Saves(store, study, table)
        before = int(table.done.sum())
        try:
            yield lambda: saves.save(only_if_due=True)
        finally:
            if int(table.done.sum()) > before:
                saves.save()


def _restore(store: CheckpointStore, study: dict[str, Any], table: Table) -> None:
    for info in reversed(store.list()):
        for name, value in study.items():
            if info.about.get("study", {}).get(name) != value:
                raise CheckpointMismatchError(
                    f"search: {store.directory} holds a study with another `{name}`; choose "
                    "another directory for this one."
                )
        n = len(table.done)
        widths = info.about["history"]
        like = Table.of_size(n)
        like.history = {name: _nothing(n, w, np.dtype(d)) for name, (w, d) in widths.items()}
        try:
            saved = store.restore(like.tree(), info.step)
        except CheckpointCorruptError as error:
            message = f"{error} It is skipped; the checkpoint before it is tried."
            warnings.warn(CheckpointWarning(message), stacklevel=2)
            continue
        for name, value in saved.tree.items():
            setattr(table, name, jax.tree.map(np.array, value))
        return
    raise CheckpointCorruptError(f"search: none of the checkpoints in {store.directory} is sound.")


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
