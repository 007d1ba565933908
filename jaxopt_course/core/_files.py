"""Files that are there whole or not at all, and which files of a directory this library wrote.

A directory of results has a list, ``.jaxopt_course.json``, of the files that were written there.
Nothing else in it is ever replaced or deleted, and no symbolic link is followed: a file which is
not on the list, or is none any more, belongs to somebody else.
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
    """A place to write a file to, which is at ``path`` once the ``with`` has ended well.

    Whoever reads at ``path`` sees the old file or the new one; what fails leaves the old one.

    Args:
        path: of the file, in a directory that is there.

    Raises:
        OSError: if the file cannot be written, or ``path`` is a directory or a symbolic link.
    """
    path = pathlib.Path(path)
    if path.is_symlink():
        raise FileExistsError(f"{path} is a symbolic link, which is not replaced: name its target.")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a directory, where a file is to be written.")
    try:
        # In the same directory, for a file moves in one piece only within a file system.
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
    """As :func:`replacing`, of a file of results: none that this library did not write.

    Raises:
        OSError: as there, and if another program wrote what is at ``path``.
    """
    claim_file(path)
    with replacing(path) as part:
        yield part


def claim_file(path: str | os.PathLike[str]) -> None:
    """Put the file ``path`` on the list of its directory, before it is written.

    Raises:
        FileExistsError: if there is something at ``path`` already, and it is not on the list.
    """
    path = pathlib.Path(path)
    if foreign_files(path.parent, [path.name]):
        raise FileExistsError(
            f"{path} was not written by this library, so it is not replaced: move it, or choose "
            "another directory."
        )
    list_file(path)


def list_file(path: pathlib.Path) -> None:
    """Put on the list of its directory a file that this library has just made."""
    names = _listed(path.parent)
    if path.name not in names:
        listed = {"about": PURPOSE, "files": sorted({*names, path.name})}
        with replacing(path.parent / LIST) as part:
            part.write_text(json.dumps(listed, indent=2) + "\n", encoding="utf-8")


def foreign_files(directory: str | os.PathLike[str], names: Iterable[str]) -> list[str]:
    """Which of ``names`` are in ``directory`` and were not written there by this library.

    A directory or a symbolic link under one of the names is among them.
    """
    place = pathlib.Path(directory)
    there = [name for name in names if os.path.lexists(place / name)]
    listed = _listed(place) if there else frozenset()
    own = lambda path: path.name in listed and path.is_file() and not path.is_symlink()
    return [name for name in there if not own(place / name)]


def delete_own(directory: str | os.PathLike[str], names: Iterable[str]) -> None:
    """Delete those of ``names`` that this library wrote in ``directory``; leave all others."""
    place, names = pathlib.Path(directory), list(names)
    others = foreign_files(place, names)
    for name in names:
        if name not in others:
            (place / name).unlink(missing_ok=True)


def _listed(directory: pathlib.Path) -> frozenset[str]:
    """The names on the list of ``directory``.

    Raises:
        FileExistsError: if there is a file of its name that is no such list.
    """
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
            f"{path} is damaged, so it is not known which files beside it may be replaced: choose "
            "another directory, or delete it together with the results."
        ) from error
