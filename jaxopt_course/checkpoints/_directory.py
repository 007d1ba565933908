"""The directory of a store: one folder per step, as Orbax writes it, and the lock of its owner.

Only what this library and Orbax wrote is ever deleted. A folder that is named like a step but has
other content is not a checkpoint, other files in a checkpoint's folder survive its deletion, and
symbolic links are not followed.

Before a step is deleted, it is set aside: folder ``20`` is renamed to ``20.superseded-by-15``.
After a crash the next store completes what was begun: if step 15 exists, it was saved in place of
step 20, which is deleted; otherwise step 20 gets its name back.

The lock is one of the operating system, which ends with the process that holds it. The lock file
stays when the lock is released: deleting it could delete a file that a third process has locked.
"""

import contextlib
import datetime
import json
import os
import pathlib
import re
import shutil
import socket
from collections.abc import Iterable, Sequence
from typing import IO

from ._manifest import (
    CheckpointCorruptError,
    CheckpointError,
    CheckpointLockedError,
    Manifest,
    briefly,
    decode_manifest,
)


LOCK = ".lock"
LONGEST_LOCK = 10_000  # bytes
MANIFEST = "manifest"
STEP = "(0|[1-9][0-9]{0,18})"
PARTS = {MANIFEST, "arrays", "_CHECKPOINT_METADATA", "commit_success.txt"}  # of a step's folder


def steps_in(directory: pathlib.Path) -> Sequence[int]:
    """The steps that have a folder, ascending; a checkpoint in one may be damaged."""
    return sorted(int(path.name) for path in _numbered(directory) if _is_step(path))


def other_steps(directory: pathlib.Path) -> Sequence[str]:
    """The folders that are named like a step but hold no part of a checkpoint."""
    return sorted(path.name for path in _numbered(directory) if not _is_step(path))


def _numbered(directory: pathlib.Path) -> Sequence[pathlib.Path]:
    return [p for p in directory.iterdir() if re.fullmatch(STEP, p.name) and p.is_dir()]


def _is_step(folder: pathlib.Path) -> bool:
    """Whether ``folder`` holds a part of a checkpoint or is empty, having lost all of them."""
    names = set(os.listdir(folder))
    return not names or bool(names & PARTS)


def named_directory(owner: str, directory: str | os.PathLike[str]) -> pathlib.Path:
    """The absolute path of ``directory``.

    Raises:
        ValueError: if Orbax does not accept its name.
    """
    path = pathlib.Path(directory)
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*", path.name):
        raise ValueError(
            f"{owner}: the name of `directory` must consist of letters, digits, `_`, `.` and "
            f"`-` and not begin with a dot, got {os.fspath(directory)!r}."
        )
    return path.absolute()


def is_foreign(directory: pathlib.Path) -> bool:
    """Whether ``directory`` is not empty and holds neither the lock nor a checkpoint of a store."""
    try:
        if not directory.is_dir() or is_lock(directory / LOCK):
            return False
        is_filled = any(not path.name.startswith(".") for path in directory.iterdir())
        return is_filled and not any(directory.glob(f"[0-9]*/{MANIFEST}"))
    except OSError:  # opening the directory will report it
        return False


def read_manifest(directory: pathlib.Path, step: int, place: str) -> Manifest:
    """The manifest of ``step``; messages call the checkpoint ``place``.

    Raises:
        CheckpointCorruptError: if it is missing, damaged, or of another step.
        CheckpointError: if this version of the library does not read its format.
    """
    try:
        content = (directory / str(step) / MANIFEST / "metadata").read_bytes()
    except OSError as error:
        raise CheckpointCorruptError(
            f"{place} is corrupt: its manifest: {briefly(error)}."
        ) from error
    manifest = decode_manifest(content, place)
    if manifest.step != step:
        raise CheckpointCorruptError(f"{place} is corrupt: it was saved as step {manifest.step}.")
    return manifest


def set_aside(directory: pathlib.Path, steps: Iterable[int], by: int) -> None:
    """Rename the folders of ``steps``, ascending, which step ``by`` is about to replace."""
    for step in steps:
        (directory / str(step)).rename(directory / f"{step}.superseded-by-{by}")


def clean_up(directory: pathlib.Path) -> None:
    """Delete fragments of failed saves, and steps that were set aside for a step that exists.

    A step that was set aside for a step that does not exist, because saving it failed, is restored.
    """
    for path in _folders(directory, rf"{STEP}\.orbax-checkpoint-tmp(-[0-9]+)?"):
        shutil.rmtree(path, ignore_errors=True)
    for path in _folders(directory, rf"{STEP}\.superseded-by-{STEP}"):
        step, _, by = path.name.partition(".superseded-by-")
        if (directory / by).exists():
            _delete(path)
        else:
            with contextlib.suppress(OSError):  # it keeps its name until the next time
                path.rename(directory / step)


def delete_steps(directory: pathlib.Path) -> None:
    """Delete all checkpoints; other files in ``directory`` stay.

    Raises:
        CheckpointError: if a folder of a step holds other files; nothing is deleted then.
    """
    folders = _numbered(directory)
    for folder in folders:
        others = sorted(set(os.listdir(folder)) - PARTS)
        if others or folder.is_symlink():
            raise CheckpointError(
                f"CheckpointStore: {folder / others[0] if others else folder} is not part of a "
                "checkpoint, so nothing is deleted: move it, or give another directory."
            )
    for folder in folders:
        _delete(folder)


def _folders(directory: pathlib.Path, pattern: str) -> Sequence[pathlib.Path]:
    """The folders whose names match ``pattern``, without symbolic links."""
    return [
        path
        for path in directory.iterdir()
        if re.fullmatch(pattern, path.name) and path.is_dir() and not path.is_symlink()
    ]


def _delete(folder: pathlib.Path) -> None:
    """Delete the parts of a checkpoint, and their folder if it is then empty."""
    if folder.is_symlink():
        return
    for name in PARTS:
        part = folder / name
        if part.is_symlink():
            continue
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # not empty: it holds foreign files
        folder.rmdir()


def acquire_lock(directory: pathlib.Path) -> IO[str]:
    """Lock ``directory``, which exists, and record the owner in its lock file.

    Returns:
        The open lock file.

    Raises:
        CheckpointLockedError: if another store, in any process, holds the lock.
        CheckpointError: if the directory cannot be written.
    """
    import fcntl  # imported here because Windows lacks it, where the package can still be imported

    path = directory / LOCK
    if os.path.lexists(path) and not is_lock(path):
        raise CheckpointError(
            f"CheckpointStore: {path} is not the lock of a store: give the store its own directory."
        )
    try:
        file = open(path, "a+", encoding="utf-8")  # noqa: SIM115
    except OSError as error:
        raise CheckpointError(
            f"CheckpointStore: cannot write in {directory}: {briefly(error)}."
        ) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        file.truncate(0)
        since = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": since}
        file.write(json.dumps(holder) + "\n")
        file.flush()
    except BlockingIOError:
        file.seek(0)
        found = file.read().strip() or "unknown"
        file.close()
        raise CheckpointLockedError(
            f"CheckpointStore: {directory} is in use by another store: {found}."
        ) from None
    except OSError as error:
        file.close()
        raise CheckpointError(
            f"CheckpointStore: cannot lock {directory}: {briefly(error)}."
        ) from error
    return file


def is_lock(path: pathlib.Path) -> bool:
    """Whether ``path`` is a lock file, held or not: it is empty or names its last owner."""
    if path.is_symlink() or not path.is_file() or path.stat().st_size > LONGEST_LOCK:
        return False
    try:
        content = path.read_bytes()
        return not content or "pid" in json.loads(content)
    except (OSError, RecursionError, TypeError, ValueError):
        return False


def is_in_place(lock: IO[str], directory: pathlib.Path) -> bool:
    """Whether ``directory`` is still the locked one, neither deleted nor moved."""
    try:
        return os.path.samestat(os.fstat(lock.fileno()), os.stat(directory / LOCK))
    except FileNotFoundError:
        return False


def release_lock(lock: IO[str]) -> None:
    """Release the lock, so that another store can use the directory."""
    import fcntl

    fcntl.flock(lock, fcntl.LOCK_UN)  # a forked child that kept the file open holds nothing
    lock.close()
