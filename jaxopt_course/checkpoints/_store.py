"""A store of checkpoints that verifies everything it reads back.

Orbax writes the arrays and the manifest of a checkpoint atomically. This store adds digests of all
arrays, a fallback to the previous checkpoint, a check of shapes and dtypes, retention of the best
and the latest checkpoints, and a lock.
"""

import contextlib
import datetime
import itertools
import math
import operator
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.multihost_utils import process_allgather, sync_global_devices
from jaxtyping import PyTree, ScalarLike

from jaxopt_course.core import checks

from ._directory import (
    acquire_lock,
    clean_up,
    delete_steps,
    is_foreign,
    is_in_place,
    named_directory,
    other_steps,
    read_manifest,
    release_lock,
    set_aside,
    steps_in,
)
from ._leaves import ARRAYS, differences, is_sound, leaf_of, named_leaves, placed, record_leaf
from ._manifest import (
    FORMAT,
    UPGRADES,
    CheckpointCorruptError,
    CheckpointError,
    CheckpointMismatchError,
    CheckpointWarning,
    Manifest,
    briefly,
    encode_manifest,
)
from ._orbax import OrbaxFiles


OWNER = "CheckpointStore"


class Checkpoint(NamedTuple):
    """A restored checkpoint.

    step: number of the step.
    tree: the saved state, in the structure of the requested tree.
    loss: loss by which checkpoints are ranked, or None.
    about: the caller's own description.
    """

    step: int
    tree: PyTree
    loss: float | None
    about: dict[str, Any]


class CheckpointInfo(NamedTuple):
    """Description of a checkpoint, without its arrays.

    step: number of the step.
    loss: loss by which checkpoints are ranked, or None.
    time: time of saving.
    about: the caller's own description.
    """

    step: int
    loss: float | None
    time: datetime.datetime
    about: dict[str, Any]


class CheckpointStore:
    """The checkpoints in a directory, which the store locks until it is closed.

    Args:
        directory: directory of the checkpoints, created if necessary. Its name may contain letters,
            digits, ``_``, ``.`` and ``-``, and must not begin with a dot.
        keep_latest: number of latest checkpoints to keep, in [1, inf).
        keep_best: number of checkpoints with the lowest finite losses to keep, in [0, inf).

    Raises:
        CheckpointLockedError: if another store, in any process, uses the directory. The lock ends
            with its process. In a run of several processes the first one holds it.
        CheckpointError: if the directory cannot be created or written, or holds other files and no
            checkpoint.
        ValueError: if the name of the directory is not allowed.

    Examples:
        >>> import pathlib, tempfile
        >>> state = {"w": jnp.arange(3.0), "key": jax.random.key(0)}
        >>> directory = pathlib.Path(tempfile.mkdtemp(), "run-1")
        >>> with CheckpointStore(directory) as store:
        ...     store.save(10, state, loss=0.5, about={"width": 3})
        ...     restored = store.restore(like=state)
        >>> restored.step, restored.loss, restored.about
        (10, 0.5, {'width': 3})
        >>> restored.tree["w"].tolist()
        [0.0, 1.0, 2.0]
    """

    def __init__(
        self, directory: str | os.PathLike[str], *, keep_latest: int = 2, keep_best: int = 1
    ) -> None:
        checks.integer(OWNER, "keep_latest", keep_latest, "[1, inf)")
        checks.integer(OWNER, "keep_best", keep_best, "[0, inf)")
        self.directory = named_directory(OWNER, directory)
        self.keep_latest, self.keep_best = keep_latest, keep_best
        self._files = OrbaxFiles(self.directory)
        self._lock = None
        self._is_open = True
        if jax.process_index() == 0:
            try:
                self.directory.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise CheckpointError(
                    f"{OWNER}: cannot make {self.directory}: {briefly(error)}."
                ) from error
            if is_foreign(self.directory):
                raise CheckpointError(
                    f"{OWNER}: {self.directory} holds other files and no checkpoint: choose a "
                    "directory of its own, which need not exist."
                )
            self._lock = acquire_lock(self.directory)
            clean_up(self.directory)
        _barrier("open")

    def __enter__(self) -> "CheckpointStore":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the directory. Closing a store twice has no effect."""
        self._files.close()
        if self._lock is not None:
            release_lock(self._lock)
        self._lock, self._is_open = None, False

    def save(
        self,
        step: int,
        tree: PyTree,
        *,
        loss: ScalarLike | None = None,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        """Save ``tree``.

        The write is atomic: when this returns the checkpoint is complete, and if it raises there is
        none. Checkpoints of this step and of later steps are replaced. Checkpoints that are neither
        among the latest nor among the best are deleted.

        Args:
            step: number of steps taken, in [0, inf).
            tree: a pytree of JAX or NumPy arrays of numbers, bools or typed keys. Python numbers
                are refused because they would be restored as arrays.
            loss: loss by which checkpoints are ranked, the lowest first, or None.
            about: further information that JSON can represent.

        Raises:
            CheckpointError: if the checkpoint cannot be written. All other checkpoints are then
                unchanged, and the store can be used again.
            TypeError: if a leaf is not an array, or JSON cannot represent ``about``.
        """
        step = operator.index(step)
        checks.integer(f"{OWNER}.save", "step", step, "[0, inf)")
        self._require_directory()
        arrays, manifest = _described(step, tree, loss, about)
        try:
            if self._lock is not None:
                set_aside(self.directory, [s for s in self._own_steps() if s >= step], by=step)
            _barrier("save")
            self._files.write(step, arrays, manifest)
        except BaseException as error:
            if self._lock is not None:
                clean_up(self.directory)
            if not isinstance(error, Exception) or isinstance(error, CheckpointError):
                raise
            raise CheckpointError(
                f"{OWNER}: could not save step {step} in {self.directory}: {briefly(error)}."
            ) from error
        if self._lock is not None:
            with contextlib.suppress(OSError):  # the next save tries again
                set_aside(self.directory, self._surplus(), by=step)
            clean_up(self.directory)

    def restore(
        self, like: PyTree, step: int | None = None, *, added: Mapping[str, Any] | None = None
    ) -> Checkpoint:
        """Restore the checkpoint of ``step``, or the latest intact one.

        Args:
            like: a pytree with the structure, shapes and dtypes of the saved one. A leaf is
                restored as a NumPy array if that of ``like`` is one; to the same devices if that is
                committed or is a ``jax.ShapeDtypeStruct`` with a sharding; else to the default
                device.
            step: number of the step. By default the latest intact checkpoint is restored, with a
                warning for each corrupt one that is skipped.
            added: values of leaves, by path, that checkpoints of older formats do not have.

        Raises:
            CheckpointCorruptError: if the checkpoint, or each of them, is corrupt.
            CheckpointMismatchError: if it holds another state than ``like``.
            CheckpointError: if there is none, or a later version of the library wrote it.
        """
        self._require_directory()
        _barrier("restore")  # the first process may still be deleting checkpoints
        steps = steps_in(self.directory)
        if not steps or step not in (None, *steps):
            which = "" if step is None else f" of step {step}"
            there = f": there are {', '.join(map(str, steps))}" if steps else ""
            raise CheckpointError(
                f"{OWNER}: there is no checkpoint{which} in {self.directory}{there}."
            )
        if step is not None:
            return self._restore(like, step, added)
        for candidate in reversed(steps):
            try:
                return self._restore(like, candidate, added)
            except CheckpointCorruptError as error:
                message = f"{error} It is skipped; the checkpoint before it is tried."
                warnings.warn(CheckpointWarning(message), stacklevel=2)
        raise CheckpointCorruptError(
            f"{OWNER}: none of the checkpoints in {self.directory} is sound: "
            f"steps {', '.join(map(str, steps))}."
        )

    def clear(self) -> None:
        """Delete all checkpoints; raise CheckpointError if a folder of one holds other files."""
        self._require_directory()
        if self._lock is not None:
            delete_steps(self.directory)

    def latest(self) -> int | None:
        """The latest step, intact or not; None if there is no checkpoint."""
        self._require_directory()
        return max(steps_in(self.directory), default=None)

    def best(self) -> int | None:
        """The step with the lowest finite loss, the first of equal ones; None if there is none."""
        return next(iter(_ranked(self.list())), None)

    def list(self) -> Sequence[CheckpointInfo]:
        """The checkpoints with an intact manifest, by ascending step; reads manifests only."""
        self._require_directory()
        found = []
        for step in steps_in(self.directory):
            with contextlib.suppress(CheckpointCorruptError):
                manifest = self._manifest(step)
                found.append(CheckpointInfo(step, manifest.loss, manifest.time, manifest.about))
        return found

    def _restore(self, like: PyTree, step: int, added: Mapping[str, Any] | None) -> Checkpoint:
        wanted = named_leaves(f"{OWNER}.restore", like, (*ARRAYS, jax.ShapeDtypeStruct))
        manifest = self._manifest(step)
        version, about = manifest.format, manifest.about
        if version == FORMAT:
            self._require_equal(step, {record.path: record for record in manifest.leaves}, wanted)
        leaves = self._read(step, manifest, wanted)
        while version < FORMAT:
            about, leaves = UPGRADES[version](about, leaves)
            version += 1
            leaves = {**(added or {}), **leaves}
        self._require_equal(step, leaves, wanted)
        restored = {path: placed(leaves[path], other) for path, other in wanted.items()}
        self._require_equal(step, leaves, restored)  # refuses dtypes that this process cannot hold
        tree = jax.tree.unflatten(jax.tree.structure(like), restored.values())
        return Checkpoint(step, tree, manifest.loss, about)

    def _read(self, step: int, manifest: Manifest, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """The verified leaves of a checkpoint under their paths."""
        records = dict(zip(_names(), manifest.leaves, strict=False))
        saved = {name: record for name, record in records.items() if not record.is_empty}
        data: Mapping[str, Any] = {}
        error: Exception | None = None
        try:
            if saved:
                data = self._files.read(step, saved, wanted)
        except Exception as caught:
            error = caught
        if not _everywhere(error is None):
            said = "" if error is None else briefly(error)
            where = [record.path for name, record in saved.items() if f'"{name}/' in said]
            reason = f"the leaf at {where[0] or 'the root'}: {said}" if where else said
            raise CheckpointCorruptError(f"{self._place(step)} is corrupt: {reason}.") from error
        leaves = {}
        for name, record in records.items():
            if name in saved and not is_sound(record, data[name]):
                reason = f"the leaf at {record.path or 'the root'} is not what was saved"
                raise CheckpointCorruptError(f"{self._place(step)} is corrupt: {reason}.")
            leaves[record.path] = leaf_of(record, data.get(name))
        return leaves

    def _require_directory(self) -> None:
        if not self._is_open:
            raise CheckpointError(f"{OWNER}: the store of {self.directory} is closed.")
        if self._lock is not None and not is_in_place(self._lock, self.directory):
            raise CheckpointError(
                f"{OWNER}: {self.directory} was deleted or moved while the store was open."
            )

    def _require_equal(
        self, step: int, saved: Mapping[str, Any], wanted: Mapping[str, Any]
    ) -> None:
        found = differences(saved, wanted)
        if found is not None:
            raise CheckpointMismatchError(
                f"{self._place(step)} is of another state: {found}: use the model and the "
                "optimizer that it was saved with, or give another directory."
            )

    def _place(self, step: int) -> str:
        return f"{OWNER}: the checkpoint of step {step} in {self.directory}"

    def _own_steps(self) -> Sequence[int]:
        """The steps in the directory; raise if any of them was not written by this library."""
        steps = steps_in(self.directory)
        if other_steps(self.directory) or (steps and not self.list()):
            raise CheckpointError(
                f"{OWNER}: {self.directory} holds steps that this library did not write: "
                "choose another directory."
            )
        return steps

    def _surplus(self) -> Iterable[int]:
        """The steps that are neither among the latest nor among the best."""
        infos = self.list()
        kept = {info.step for info in infos[-self.keep_latest :]}
        kept.update(_ranked(infos)[: self.keep_best])
        return [info.step for info in infos if info.step not in kept]

    def _manifest(self, step: int) -> Manifest:
        return read_manifest(self.directory, step, self._place(step))


def _described(
    step: int, tree: PyTree, loss: ScalarLike | None, about: Mapping[str, Any] | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The arrays to save for ``tree``, under their names, and the manifest."""
    if loss is not None and jnp.shape(loss) != ():
        raise TypeError(f"{OWNER}.save: `loss` must be a scalar or None, got {loss!r}.")
    records, arrays = [], {}
    leaves = named_leaves(f"{OWNER}.save", tree)
    for name, (path, leaf) in zip(_names(), leaves.items(), strict=False):
        record, data = record_leaf(path, leaf)
        records.append(record)
        if not record.is_empty:  # Orbax refuses arrays without entries
            arrays[name] = data
    manifest = Manifest(
        step=step,
        loss=None if loss is None else float(np.asarray(loss)),
        about=dict(about or {}),
        leaves=tuple(records),
        time=datetime.datetime.now(datetime.UTC),
    )
    try:
        return arrays, encode_manifest(manifest)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{OWNER}.save: JSON cannot represent `about`: {error}.") from error


def _names() -> Iterator[str]:
    """The names of arrays in the files: numbers, so that paths can be any text."""
    return (f"{number:04d}" for number in itertools.count())


def _ranked(infos: Iterable[CheckpointInfo]) -> Sequence[int]:
    """The steps with a finite loss, the lowest loss first."""
    ranked = [(i.loss, i.step) for i in infos if i.loss is not None and math.isfinite(i.loss)]
    return [step for _, step in sorted(ranked)]


def _barrier(name: str) -> None:
    """Wait for the other processes of this run, if there are any."""
    if jax.process_count() > 1:
        sync_global_devices(f"{OWNER} {name}")


def _everywhere(fact: bool) -> bool:
    """Whether ``fact`` holds in all processes of this run."""
    return fact if jax.process_count() == 1 else bool(process_allgather(np.asarray(fact)).all())
