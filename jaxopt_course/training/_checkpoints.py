"""A directory of checkpoints: what is read back is what was saved, or an error says that it is not.

Orbax writes each checkpoint, arrays and manifest, in one piece that appears when it is complete. To
it this store adds what Orbax lacks: digests of all arrays, a fall-back to the checkpoint before,
the refusal of other shapes and dtypes, best and latest kept, and a lock.
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
from jaxtyping import PyTree, ScalarLike

from jaxopt_course.core import checks

from ._checkpoint_errors import (
    CheckpointCorruptError,
    CheckpointError,
    CheckpointMismatchError,
    CheckpointWarning,
    briefly,
)
from ._checkpoint_files import (
    clean_up,
    delete_steps,
    is_foreign,
    named_directory,
    other_steps,
    read_manifest,
    set_aside,
    steps_in,
)
from ._leaves import ARRAYS, differences, is_sound, leaf_of, named_leaves, placed, record_leaf
from ._lock import acquire_lock, is_in_place, release_lock
from ._manifest import FORMAT, UPGRADES, Manifest, encode_manifest
from ._orbax import OrbaxFiles


OWNER = "CheckpointStore"


class Checkpoint(NamedTuple):
    """What was saved.

    step: the number it was saved under.
    tree: the state, in the structure of the tree that was asked for.
    loss: what it is ranked by, or None.
    about: what the caller wrote of it.
    """

    step: int
    tree: PyTree
    loss: float | None
    about: dict[str, Any]


class CheckpointInfo(NamedTuple):
    """A checkpoint without its arrays.

    step: the number it was saved under.
    loss: what it is ranked by, or None.
    time: when it was saved.
    about: what the caller wrote of it.
    """

    step: int
    loss: float | None
    time: datetime.datetime
    about: dict[str, Any]


class CheckpointStore:
    """The checkpoints in a directory, which is the store's own until it is closed.

    Args:
        directory: where they lie; it is made if need be. Its name holds nothing but letters,
            digits, ``_``, ``.`` and ``-``, and does not begin with a dot.
        keep_latest: how many of the newest are kept, in [1, inf).
        keep_best: how many of those with the lowest losses are kept, in [0, inf). A loss that is
            no finite number is never among them.

    Raises:
        CheckpointLockedError: if another store has the directory, here or in another process. The
            lock dies with its process. Of the processes of one run, the first holds it.
        CheckpointError: if the directory cannot be made or written, or holds other files and no
            checkpoint.
        ValueError: if the name of the directory is none of those.

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
        """Let others have the directory; to close twice does nothing."""
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
        """Save ``tree``; it is complete on disk when this returns, or there is nothing of it.

        Checkpoints of this step and of later ones, which a training that went back has left, are
        replaced. Those that are neither among the latest nor among the best are deleted.

        Args:
            step: how many steps were taken, in [0, inf).
            tree: a pytree of arrays: of JAX or NumPy, of numbers, bools or typed keys. Python
                numbers are refused: they would come back as arrays.
            loss: what checkpoints are ranked by, the lower the better: a number, or None.
            about: what else to keep, anything that JSON can write.

        Raises:
            CheckpointError: if it cannot be written; all checkpoints are then as they were, and
                the store can be used again.
            TypeError: if a leaf of the tree is no array, or JSON cannot write ``about``.
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

    def restore(self, like: PyTree, step: int | None = None) -> Checkpoint:
        """The checkpoint of ``step``, or the latest one that is sound.

        Args:
            like: a pytree with the structure, shapes and dtypes of the saved one. Where its leaf is
                a NumPy array, the restored one is; where it is committed to devices, or is a
                ``jax.ShapeDtypeStruct`` with a sharding, the restored one goes there; else to the
                default device.
            step: which one. None: the latest; corrupt ones are passed over with a warning each.

        Raises:
            CheckpointCorruptError: if it, or each of them, is not what was saved.
            CheckpointMismatchError: if it holds another state than ``like``.
            CheckpointError: if there is none, or if a later version of the library wrote it.
        """
        self._require_directory()
        _barrier("restore")  # the first process may still be deleting
        steps = steps_in(self.directory)
        if step is not None and step not in steps:
            there = f"there are {', '.join(map(str, steps))}" if steps else "there is none"
            raise CheckpointError(
                f"{OWNER}: there is no checkpoint of step {step} in {self.directory}: {there}."
            )
        if not steps:
            raise CheckpointError(f"{OWNER}: there is no checkpoint in {self.directory}.")
        if step is not None:
            return self._restore(like, step)
        for candidate in reversed(steps):
            try:
                return self._restore(like, candidate)
            except CheckpointCorruptError as error:
                message = f"{error} It is skipped; the checkpoint before it is tried."
                warnings.warn(CheckpointWarning(message), stacklevel=2)
        raise CheckpointCorruptError(
            f"{OWNER}: none of the checkpoints in {self.directory} is sound: "
            f"steps {', '.join(map(str, steps))}."
        )

    def clear(self) -> None:
        """Delete all checkpoints, or raise CheckpointError if one's folder holds something else."""
        self._require_directory()
        if self._lock is not None:
            delete_steps(self.directory)

    def latest(self) -> int | None:
        """The last step, sound or not; None if there is none."""
        self._require_directory()
        return max(steps_in(self.directory), default=None)

    def best(self) -> int | None:
        """The step of lowest finite loss, of equal ones the first; None if there is none."""
        return next(iter(_ranked(self.list())), None)

    def list(self) -> Sequence[CheckpointInfo]:
        """The checkpoints by ascending step, without those whose manifest is not sound.

        Reads manifests only.
        """
        self._require_directory()
        found = []
        for step in steps_in(self.directory):
            with contextlib.suppress(CheckpointCorruptError):
                manifest = self._manifest(step)
                found.append(CheckpointInfo(step, manifest.loss, manifest.time, manifest.about))
        return found

    def _restore(self, like: PyTree, step: int) -> Checkpoint:
        wanted = named_leaves(f"{OWNER}.restore", like, (*ARRAYS, jax.ShapeDtypeStruct))
        manifest = self._manifest(step)
        version, about = manifest.format, manifest.about
        if version == FORMAT:
            self._require_equal(step, {record.path: record for record in manifest.leaves}, wanted)
        leaves = self._read(step, manifest, wanted)
        while version < FORMAT:
            about, leaves = UPGRADES[version](about, leaves)
            version += 1
        self._require_equal(step, leaves, wanted)
        restored = {path: placed(leaves[path], other) for path, other in wanted.items()}
        self._require_equal(step, leaves, restored)  # no dtype that this JAX cannot hold
        tree = jax.tree.unflatten(jax.tree.structure(like), restored.values())
        return Checkpoint(step, tree, manifest.loss, about)

    def _read(self, step: int, manifest: Manifest, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """The leaves of a checkpoint under their paths, each as it was saved, bit for bit."""
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
                f"{self._place(step)} is of another state: {found}: go on with the model and "
                "the optimizer that it was saved with, or give another directory."
            )

    def _place(self, step: int) -> str:
        return f"{OWNER}: the checkpoint of step {step} in {self.directory}"

    def _own_steps(self) -> Sequence[int]:
        """The steps there are; there are none of others, and one at least is sound."""
        steps = steps_in(self.directory)
        if other_steps(self.directory) or (steps and not self.list()):
            raise CheckpointError(
                f"{OWNER}: {self.directory} holds steps that this library does not know as its "
                "own: choose another directory."
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
    """The arrays that are saved for ``tree`` under their names, and the manifest."""
    if loss is not None and jnp.shape(loss) != ():
        raise TypeError(f"{OWNER}.save: `loss` must be one number or None, got {loss!r}.")
    records, arrays = [], {}
    leaves = named_leaves(f"{OWNER}.save", tree)
    for name, (path, leaf) in zip(_names(), leaves.items(), strict=False):
        record, data = record_leaf(path, leaf)
        records.append(record)
        if not record.is_empty:  # which Orbax refuses
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
        raise TypeError(f"{OWNER}.save: JSON cannot write `about`: {error}.") from error


def _names() -> Iterator[str]:
    """What arrays are called in the files: by their number, so that paths can be any text."""
    return (f"{number:04d}" for number in itertools.count())


def _ranked(infos: Iterable[CheckpointInfo]) -> Sequence[int]:
    """The steps whose loss is a finite number, the lowest loss first."""
    ranked = [(i.loss, i.step) for i in infos if i.loss is not None and math.isfinite(i.loss)]
    return [step for _, step in sorted(ranked)]


def _barrier(name: str) -> None:
    """Wait for the other processes of this run, if there are any."""
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(f"{OWNER} {name}")


def _everywhere(fact: bool) -> bool:
    """Whether ``fact`` holds in all processes of this run."""
    if jax.process_count() == 1:
        return fact
    from jax.experimental import multihost_utils

    return bool(multihost_utils.process_allgather(np.asarray(fact)).all())
