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
        scores, outcomes, history: results of the trainings; histories are as wide as the longest.
        compile_seconds, run_seconds, chunks: as in a :class:`SearchResult`, of this process.
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
        self.scores[numbers], self.outcomes[numbers] = kept.score, kept.outcome.code
        new = {name: np.asarray(values) for name, values in kept.history.items()}
        empty = {name: _empty(len(self.done), 0, values.dtype) for name, values in new.items()}
        old = empty | self.history
        width = max((column.shape[1] for column in (*old.values(), *new.values())), default=0)
        self.history = {name: _widened(column, width) for name, column in old.items()}
        for name, values in new.items():
            self.history[name][numbers] = _widened(values, width)
        self.done[numbers] = True

    @contextlib.contextmanager
    def saved(
        self, study: Study, about: Callable[[], dict[str, Any]]
    ) -> Iterator[Callable[[], None]]:
        """A function that saves the table when a save is due; restores what was saved before.

        The arguments are those of :func:`open_store`. However the block ends, everything that is
        done by then is saved.
        """
        like = lambda info: {**self._tree(), "history": self._history_like(info.about)}
        with open_store(study, about, like) as (saved, save_tree):
            if saved is not None:
                for name, value in saved.tree.items():
                    setattr(self, name, jax.tree.map(np.array, value))
            before = int(self.done.sum())
            due = time.monotonic() + SECONDS

            def save() -> None:
                widths = {name: [x.shape[1], str(x.dtype)] for name, x in self.history.items()}
                save_tree(int(self.done.sum()), self._tree(), history=widths)

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


@contextlib.contextmanager
def open_store(
    study: Study, about: Callable[[], dict[str, Any]], like: Callable[[CheckpointInfo], PyTree]
) -> Iterator[tuple[Checkpoint | None, Callable[..., None]]]:
    """The last undamaged checkpoint in the study's directory, and ``save(step, tree, **about)``.

    Without a directory there is no checkpoint, and nothing is saved.

    Args:
        study: the study.
        about: returns what distinguishes the study from others, in terms of JSON.
        like: returns a tree like the one that a checkpoint holds.

    Raises:
        CheckpointMismatchError: if the directory holds another study.
        CheckpointCorruptError: if all of its checkpoints are damaged.
    """
    if study.resume is None:
        yield None, lambda step, tree, **about: None
        return
    own = json.loads(json.dumps(about()))  # as it is read back: lists for tuples
    with CheckpointStore(study.resume, keep_best=0) as store:

        def save(step: int, tree: PyTree, **about: Any) -> None:
            store.save(step, tree, about={"study": own, **about})

        yield _latest(study.owner, store, own, like), save


def _latest(
    owner: str,
    store: CheckpointStore,
    about: dict[str, Any],
    like: Callable[[CheckpointInfo], PyTree],
) -> Checkpoint | None:
    for info in reversed(store.list()):
        _require_same(f"{owner}: {store.directory}", about, info.about.get("study", {}))
        try:
            return store.restore(like(info), info.step)
        except CheckpointCorruptError as error:
            message = f"{error} It is skipped; the checkpoint before it is tried."
            warnings.warn(CheckpointWarning(message), stacklevel=2)
    if store.latest() is None:
        return None
    raise CheckpointCorruptError(f"{owner}: all checkpoints in {store.directory} are damaged.")


def _require_same(where: str, about: Mapping[str, Any], saved: Mapping[str, Any]) -> None:
    """Compare what is known of two studies; programs of two versions of JAX cannot be compared."""
    jax_of = lambda value: value.get("jax") if isinstance(value, Mapping) else None
    for name, now in about.items():
        was = saved.get(name)
        if jax_of(was) not in (None, jax_of(now)):
            message = (
                f"{where}: whether `{name}` is the same as in this study cannot be checked: it was "
                f"traced by jax {jax_of(was)}, and now is by jax {jax_of(now)}."
            )
            warnings.warn(CheckpointWarning(message), stacklevel=3)
        elif was != now:
            raise CheckpointMismatchError(
                f"{where} holds a study with another `{name}`; choose another directory for this "
                "one."
            )


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
