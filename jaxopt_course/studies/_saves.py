"""A study on disk: what is saved of it, and that a directory goes on with no other study."""

import contextlib
import hashlib
import json
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Key, PyTree

from jaxopt_course.training import (
    Checkpoint,
    CheckpointCorruptError,
    CheckpointInfo,
    CheckpointMismatchError,
    CheckpointStore,
    CheckpointWarning,
)


class Saves:
    """The checkpoints of one study; without a store, nothing happens.

    Args:
        owner: who speaks in errors.
        store: where they are, or None.
        study: what the study is, in a form that JSON can write; a
            :class:`~jaxopt_course.training.Fingerprint` where it is a program.
    """

    def __init__(self, owner: str, store: CheckpointStore | None, study: dict[str, Any]) -> None:
        self._owner, self._store, self._study = owner, store, study

    def latest(self, like: Callable[[CheckpointInfo], PyTree]) -> Checkpoint | None:
        """The last sound checkpoint, restored like what ``like`` makes of it; None: there is none.

        Raises:
            CheckpointMismatchError: if the directory holds another study.
            CheckpointCorruptError: if none of its checkpoints is sound.
        """
        if self._store is None or self._store.latest() is None:
            return None
        for info in reversed(self._store.list()):
            self._require_same(info.about.get("study", {}))
            try:
                return self._store.restore(like(info), info.step)
            except CheckpointCorruptError as error:
                message = f"{error} It is skipped; the checkpoint before it is tried."
                warnings.warn(CheckpointWarning(message), stacklevel=2)
        raise CheckpointCorruptError(
            f"{self._owner}: none of the checkpoints in {self._store.directory} is sound."
        )

    def save(self, step: int, tree: PyTree, **about: Any) -> None:
        """Save ``tree`` as what there is after ``step`` pieces of work."""
        if self._store is not None:
            self._store.save(step, tree, about={"study": self._study, **about})

    def _require_same(self, saved: Mapping[str, Any]) -> None:
        directory = None if self._store is None else self._store.directory
        for name, now in self._study.items():
            was = saved.get(name)
            then = _jax_of(was)
            if then is not None and then != _jax_of(now):
                message = (
                    f"{self._owner}: whether `{name}` is that of {directory} cannot be told, for "
                    f"it was traced by jax {then} then and is by jax {_jax_of(now)} now."
                )
                warnings.warn(CheckpointWarning(message), stacklevel=3)
            elif was != now:
                raise CheckpointMismatchError(
                    f"{self._owner}: {directory} holds a study with another `{name}`; choose "
                    "another directory for this one."
                )


@contextlib.contextmanager
def open_saves(
    owner: str, directory: str | os.PathLike[str] | None, study: Callable[[], dict[str, Any]]
) -> Iterator[Saves]:
    """The checkpoints in ``directory``; where it is None there are none, nor is ``study`` asked."""
    if directory is None:
        yield Saves(owner, None, {})
        return
    about = json.loads(json.dumps(study()))  # as it is read back: lists for tuples
    with CheckpointStore(directory, keep_best=0) as store:
        yield Saves(owner, store, about)


def describe(space: PyTree, key: Key[Array, ""], metric: Any, mode: str) -> dict[str, Any]:
    """What studies of all kinds are told apart by, in a form that JSON can write."""
    return {
        "space": repr(space),
        "key": np.asarray(jax.random.key_data(key)).tolist(),
        "metric": getattr(metric, "__qualname__", "function") if callable(metric) else metric,
        "mode": mode,
    }


def digest(arrays: PyTree) -> str:
    """The sha256 of dtypes, shapes and bytes."""
    found = hashlib.sha256()
    for x in map(np.ascontiguousarray, jax.tree.leaves(arrays)):
        found.update(f"{x.dtype}{x.shape}".encode() + x.tobytes())
    return found.hexdigest()


def _jax_of(value: Any) -> str | None:
    """The version of JAX that traced it, if it is a fingerprint."""
    return value.get("jax") if isinstance(value, Mapping) else None
