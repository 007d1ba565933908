"""Atomic writes, and a record of the files in a directory that this library wrote.

A directory of results has a list, ``.jaxopt_course.json``, of the files that the library wrote
there. No other file is ever replaced or deleted, and no symbolic link is followed.
"""

import contextlib
import json
import os
import pathlib
import tempfile
from collections.abc import Iterable, Iterator


LIST = ".jaxopt_course.json"
PURPOSE = "files in this directory that jaxopt_course wrote, and may replace"


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
    """A path to write a file to, which is moved to ``path`` when the ``with`` block succeeds.

    Readers of ``path`` see the old file or the new one, never a part. A failure keeps the old file.

    Raises:
        OSError: if the file cannot be written, or ``path`` is a directory or a symbolic link.
    """
    path = pathlib.Path(path)
    if path.is_symlink():
        raise FileExistsError(f"{path} is a symbolic link, which is not replaced: give its target.")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a directory, not a file.")
    try:
        # In the same directory, because moves are atomic only within a file system.
        with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as folder:
            part = pathlib.Path(folder, "part")
            yield part
            with part.open("rb") as file:
                os.fsync(file.fileno())
            os.replace(part, path)
    except OSError as error:
        if error.errno is not None and error.filename is None:  # a full disk names no file
            error.filename = str(path)
        raise


@contextlib.contextmanager
def replacing_own(path: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
    """As :func:`replacing`, but OSError if another program wrote what is at ``path``."""
    claim_file(path)
    with replacing(path) as part:
        yield part


def claim_file(path: str | os.PathLike[str]) -> None:
    """Add ``path`` to the list of its directory before writing it.

    Raises FileExistsError if the file exists and is not on the list.
    """
    path = pathlib.Path(path)
    if foreign_files(path.parent, [path.name]):
        raise FileExistsError(
            f"{path} was not written by this library, so it is not replaced: move it, or choose "
            "another directory."
        )
    list_file(path)


def list_file(path: pathlib.Path) -> None:
    """Add a file that this library has just written to the list of its directory."""
    names = _listed(path.parent)
    if path.name not in names:
        listed = {"about": PURPOSE, "files": sorted({*names, path.name})}
        with replacing(path.parent / LIST) as part:
            part.write_text(json.dumps(listed, indent=2) + "\n", encoding="utf-8")


def foreign_files(directory: str | os.PathLike[str], names: Iterable[str]) -> list[str]:
    """Those of ``names`` in ``directory`` that this library did not write.

    Directories and symbolic links with one of the names are among them.
    """
    place = pathlib.Path(directory)
    there = [name for name in names if os.path.lexists(place / name)]
    listed = _listed(place) if there else frozenset()
    own = lambda path: path.name in listed and path.is_file() and not path.is_symlink()
    return [name for name in there if not own(place / name)]


def delete_own(directory: str | os.PathLike[str], names: Iterable[str]) -> None:
    """Delete those of ``names`` that this library wrote in ``directory``."""
    place, names = pathlib.Path(directory), list(names)
    others = foreign_files(place, names)
    for name in names:
        if name not in others:
            (place / name).unlink(missing_ok=True)


def _listed(directory: pathlib.Path) -> frozenset[str]:
    """The names on the list of ``directory``; FileExistsError if the list is damaged."""
    path = directory / LIST
    if not os.path.lexists(path):
        return frozenset()
    try:
        if path.is_symlink():
            raise ValueError
        names = json.loads(path.read_bytes())["files"]
        if not all(isinstance(name, str) for name in names):
            raise TypeError
        return frozenset(names)
    except (KeyError, RecursionError, TypeError, ValueError) as error:
        raise FileExistsError(
            f"{path} is damaged, so that it is unknown which files may be replaced: choose "
            "another directory, or delete it together with the results."
        ) from error
