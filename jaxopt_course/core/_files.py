"""Files that are there whole or not at all."""

import contextlib
import os
import pathlib
import tempfile
from collections.abc import Iterator


__all__ = ["replacing"]


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
    """A place to write a file to, which is at ``path`` once the ``with`` has ended well.

    Whoever reads at ``path`` sees the old file or the new one; what fails leaves the old one.

    Args:
        path: of the file, in a directory that is there.

    Raises:
        OSError: if the file cannot be written.
    """
    path = pathlib.Path(path)
    # In the same directory, for a file moves in one piece only within a file system.
    with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as folder:
        part = pathlib.Path(folder, "part")
        yield part
        with part.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
