"""One store a directory: a lock of the operating system, which dies with the process that holds it.

The file stays where it is when the lock is released: whoever deleted it could delete the file that
a third process has just locked.
"""

import datetime
import json
import os
import pathlib
import socket
from typing import IO

from ._checkpoint_errors import CheckpointError, CheckpointLockedError, briefly


NAME = ".lock"
LONGEST = 10_000  # bytes


def acquire_lock(directory: pathlib.Path) -> IO[str]:
    """Lock ``directory``, which exists, and say in its lock file who holds it.

    Returns:
        The open file, which is the lock.

    Raises:
        CheckpointLockedError: if another store holds it, in this process or another one.
        CheckpointError: if the directory cannot be written.
    """
    import fcntl  # here, for it does not exist on Windows, where the package can be imported

    path = directory / NAME
    if os.path.lexists(path) and not is_lock(path):
        raise CheckpointError(
            f"CheckpointStore: {path} is not the lock of a store: give a directory of its own."
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
    """Whether ``path`` is a lock file, held or not: one that says who held it last, or nothing."""
    if path.is_symlink() or not path.is_file() or path.stat().st_size > LONGEST:
        return False
    try:
        content = path.read_bytes()
        return not content or "pid" in json.loads(content)
    except (OSError, RecursionError, TypeError, ValueError):
        return False


def is_in_place(lock: IO[str], directory: pathlib.Path) -> bool:
    """Whether ``directory`` is still the one that was locked, neither deleted nor moved."""
    try:
        return os.path.samestat(os.fstat(lock.fileno()), os.stat(directory / NAME))
    except FileNotFoundError:
        return False


def release_lock(lock: IO[str]) -> None:
    """Let others have the directory."""
    import fcntl

    fcntl.flock(lock, fcntl.LOCK_UN)  # a forked child that kept the file open holds nothing
    lock.close()
