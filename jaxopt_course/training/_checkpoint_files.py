"""The directory of a store: a folder a step, as Orbax writes it, and what a save has in the making.

Only what this library and Orbax put there is ever deleted: a folder with a step's number and other
content is no checkpoint, what somebody put beside the parts of a checkpoint stays when it goes, and
no symbolic link is followed.

A step is never deleted under its own name: it is set aside first, ``20`` as
``20.superseded-by-15``. Whoever finds that knows what to do, whenever the process died: delete it
where step 15 exists, for that was saved in its stead; else give it back its name.
"""

import contextlib
import os
import pathlib
import re
import shutil
from collections.abc import Iterable, Sequence

from ._checkpoint_errors import CheckpointCorruptError, CheckpointError, briefly
from ._lock import NAME as LOCK
from ._lock import is_lock
from ._manifest import Manifest, decode_manifest


MANIFEST = "manifest"
STEP = "(0|[1-9][0-9]{0,18})"
PARTS = {MANIFEST, "arrays", "_CHECKPOINT_METADATA", "commit_success.txt"}  # of a step's folder


def steps_in(directory: pathlib.Path) -> Sequence[int]:
    """The steps of which there is a folder, ascending; what is in it may be damaged."""
    return sorted(int(path.name) for path in _numbered(directory) if _is_step(path))


def other_steps(directory: pathlib.Path) -> Sequence[str]:
    """The folders with the number of a step that hold nothing of a checkpoint."""
    return sorted(path.name for path in _numbered(directory) if not _is_step(path))


def _numbered(directory: pathlib.Path) -> Sequence[pathlib.Path]:
    return [p for p in directory.iterdir() if re.fullmatch(STEP, p.name) and p.is_dir()]


def _is_step(folder: pathlib.Path) -> bool:
    """Whether ``folder`` has a part of a checkpoint, or has lost them all."""
    names = set(os.listdir(folder))
    return not names or bool(names & PARTS)


def named_directory(owner: str, directory: str | os.PathLike[str]) -> pathlib.Path:
    """The absolute path of ``directory``.

    Raises:
        ValueError: if it has a name that Orbax does not take.
    """
    path = pathlib.Path(directory)
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*", path.name):
        raise ValueError(
            f"{owner}: the name of `directory` must consist of letters, digits, `_`, `.` and "
            f"`-` and not begin with a dot, got {os.fspath(directory)!r}."
        )
    return path.absolute()


def is_foreign(directory: pathlib.Path) -> bool:
    """Whether ``directory`` holds something, but neither a lock nor a checkpoint of a store."""
    try:
        if not directory.is_dir() or is_lock(directory / LOCK):
            return False
        is_filled = any(not path.name.startswith(".") for path in directory.iterdir())
        return is_filled and not any(directory.glob(f"[0-9]*/{MANIFEST}"))
    except OSError:  # who opens it meets that again
        return False


def read_manifest(directory: pathlib.Path, step: int, place: str) -> Manifest:
    """The manifest of ``step``, which is called ``place`` in messages.

    Raises:
        CheckpointCorruptError: if it is missing, damaged, or of another step.
        CheckpointError: if it is of a format that this library does not read.
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
    """Rename the folders of ``steps``, which ascend: step ``by`` is to be instead of them."""
    for step in steps:
        (directory / str(step)).rename(directory / f"{step}.superseded-by-{by}")


def clean_up(directory: pathlib.Path) -> None:
    """Remove what is left of saves: what was set aside for a step that exists, and fragments.

    What was set aside for a step that does not exist, since saving it failed, comes back.
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
    """Delete all checkpoints; what else lies in ``directory`` is left.

    Raises:
        CheckpointError: if something else lies in the folder of one, before any is deleted.
    """
    folders = _numbered(directory)
    for folder in folders:
        others = sorted(set(os.listdir(folder)) - PARTS)
        if others or folder.is_symlink():
            raise CheckpointError(
                f"CheckpointStore: {folder / others[0] if others else folder} is not of a "
                "checkpoint, so nothing is deleted: move it, or give another directory."
            )
    for folder in folders:
        _delete(folder)


def _folders(directory: pathlib.Path, pattern: str) -> Sequence[pathlib.Path]:
    """The folders, and no links to such, whose names match."""
    return [
        path
        for path in directory.iterdir()
        if re.fullmatch(pattern, path.name) and path.is_dir() and not path.is_symlink()
    ]


def _delete(folder: pathlib.Path) -> None:
    """Delete the parts of a checkpoint, and their folder if nothing else is in it."""
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
    with contextlib.suppress(OSError):  # it is not empty: somebody has put something there
        folder.rmdir()
