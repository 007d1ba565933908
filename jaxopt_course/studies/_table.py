"""The trainings of a study: which are done, what they returned, and their checkpoints on disk."""

import collections
import contextlib
import dataclasses
import json
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import PyTree

from jaxopt_course.checkpoints import (
    Checkpoint,
    CheckpointCorruptError,
    CheckpointInfo,
    CheckpointMismatchError,
    CheckpointStore,
    CheckpointWarning,
)

from ._study import Kept, Study


SAVED = ("done", "scores", "outcomes", "history")
SECONDS = 5.0  # at least between two saves
SHARE = 0.05  # of the time at most for saving


@dataclasses.dataclass(eq=False)
class Table:
    """One row for each training of a study, in the order configuration, fold, seed.

    Attributes:
        done: which rows are filled.
        scores, outcomes, history: of the trainings; histories are as wide as the longest one.
        compile_seconds, run_seconds: time that this process spent compiling, and training.
        chunks: {chunk size: number of trainings that this process ran in such chunks}.
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
        """Fill the rows ``numbers``."""
        self.scores[numbers] = kept.score
        self.outcomes[numbers] = kept.outcome.code
        for name, values in kept.history.items():
            width = max(values.shape[1], *(column.shape[1] for column in self.history.values()), 0)
            column = self.history.get(name, _empty(len(self.done), 0, values.dtype))
            self.history[name] = _widened(column, width)
            self.history[name][numbers] = _widened(np.asarray(values), width)
        width = max((column.shape[1] for column in self.history.values()), default=0)
        self.history = {name: _widened(column, width) for name, column in self.history.items()}
        self.done[numbers] = True

    @contextlib.contextmanager
    def saved(
        self, study: Study, about: Callable[[], dict[str, Any]]
    ) -> Iterator[Callable[[], None]]:
        """A function that saves the table when a save is due; restores what was saved before.

        However the block ends, everything that is done by then is saved.

        Args:
            study: names the directory.
            about: returns what distinguishes the study from others, in terms of JSON.

        Raises:
            CheckpointMismatchError: if the directory holds another study.
            CheckpointCorruptError: if all of its checkpoints are damaged.
        """
        with open_store(study, about) as store:
            like = lambda info: {**self._tree(), "history": self._history_like(info.about)}
            if (saved := store.latest(like)) is not None:
                for name, value in saved.tree.items():
                    setattr(self, name, jax.tree.map(np.array, value))
            before = int(self.done.sum())
            due = time.monotonic() + SECONDS

            def save() -> None:
                widths = {name: [x.shape[1], str(x.dtype)] for name, x in self.history.items()}
                store.save(int(self.done.sum()), self._tree(), history=widths)

            def save_if_due() -> None:
                nonlocal due
                begin = time.monotonic()
                if agreed(begin >= due, among_all=True):
                    save()
                    now = time.monotonic()
                    due = now + max(SECONDS, (now - begin) / SHARE)

            try:
                yield (lambda: None) if study.resume is None else save_if_due
            finally:
                if int(self.done.sum()) > before:
                    save()

    def _tree(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in SAVED}

    def _history_like(self, about: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Histories of the widths and dtypes that a checkpoint has."""
        sizes = about["history"].items()
        return {name: _empty(len(self.done), w, np.dtype(dtype)) for name, (w, dtype) in sizes}


class Store:
    """The checkpoints of one study; without a directory there are none.

    Args:
        owner: the function that the user called, for messages.
        store: of the checkpoints, or None.
        about: what distinguishes the study from others, as JSON returns it.
    """

    def __init__(self, owner: str, store: CheckpointStore | None, about: dict[str, Any]) -> None:
        self._owner, self._store, self._about = owner, store, about

    def latest(self, like: Callable[[CheckpointInfo], PyTree]) -> Checkpoint | None:
        """The last undamaged checkpoint, restored like ``like(info)``; None if there is none.

        Raises:
            CheckpointMismatchError: if the directory holds another study.
            CheckpointCorruptError: if all of its checkpoints are damaged.
        """
        if self._store is None or self._store.latest() is None:
            return None
        for info in reversed(self._store.list()):
            self._require_same(self._store, info.about.get("study", {}))
            try:
                return self._store.restore(like(info), info.step)
            except CheckpointCorruptError as error:
                message = f"{error} It is skipped; the checkpoint before it is tried."
                warnings.warn(CheckpointWarning(message), stacklevel=2)
        raise CheckpointCorruptError(
            f"{self._owner}: all checkpoints in {self._store.directory} are damaged."
        )

    def save(self, step: int, tree: PyTree, **about: Any) -> None:
        """Save ``tree``; later checkpoints have larger ``step``."""
        if self._store is not None:
            self._store.save(step, tree, about={"study": self._about, **about})

    def _require_same(self, store: CheckpointStore, saved: Mapping[str, Any]) -> None:
        jax_of = lambda value: value.get("jax") if isinstance(value, Mapping) else None
        for name, now in self._about.items():
            was = saved.get(name)
            then = jax_of(was)
            if then is not None and then != jax_of(now):
                message = (
                    f"{self._owner}: whether `{name}` is that of {store.directory} cannot be "
                    f"checked: it was traced by jax {then}, and now is by jax {jax_of(now)}."
                )
                warnings.warn(CheckpointWarning(message), stacklevel=3)
            elif was != now:
                raise CheckpointMismatchError(
                    f"{self._owner}: {store.directory} holds a study with another `{name}`; choose "
                    "another directory for this one."
                )


@contextlib.contextmanager
def open_store(study: Study, about: Callable[[], dict[str, Any]]) -> Iterator[Store]:
    """The checkpoints in the directory of ``study``; ``about`` is called only if there is one."""
    if study.resume is None:
        yield Store(study.owner, None, {})
        return
    described = json.loads(json.dumps(about()))  # as it is read back: lists for tuples
    with CheckpointStore(study.resume, keep_best=0) as store:
        yield Store(study.owner, store, described)


def agreed(number: float, *, among_all: bool) -> float:
    """The first process's ``number`` if all processes run one study, else this process's."""
    if not among_all or jax.process_count() == 1:
        return number
    return float(multihost_utils.broadcast_one_to_all(np.float32(number)))


def _empty(n: int, width: int, dtype: np.dtype) -> np.ndarray:
    """NaN, or 0 for integers: the value where there is no evaluation."""
    return np.full((n, width), np.nan if np.issubdtype(dtype, np.floating) else 0, dtype)


def _widened(column: np.ndarray, width: int) -> np.ndarray:
    """Further evaluations are NaN; integers, such as the step, keep their last value."""
    missing = width - column.shape[1]
    if missing == 0:
        return column
    if np.issubdtype(column.dtype, np.floating) or column.shape[1] == 0:
        more = _empty(len(column), missing, column.dtype)
    else:
        more = np.repeat(column[:, -1:], missing, axis=1)
    return np.concatenate([column, more], axis=1)
