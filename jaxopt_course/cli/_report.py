"""What is printed and written: the table of figures, and JSON that any reader takes."""

import contextlib
import io
import json
import math
import os
import pathlib
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from jaxopt_course.core import delete_own, foreign_files, replacing_own

from ._errors import UsageError
from ._streams import print_out


def as_json(value: Any, indent: int | None = None) -> str:
    """``value`` as JSON, floats in full; those that are not finite are null."""
    return json.dumps(_finite(value), indent=indent, allow_nan=False)


def print_json(value: Any) -> None:
    """Print ``value`` as JSON on stdout."""
    print_out(as_json(value, indent=2) + "\n")


def print_table(figures: Mapping[str, Mapping[str, float]]) -> None:
    """Print figures on stdout, one part of the data a row."""
    names = list(next(iter(figures.values())))
    rows = [
        (part, *(_shown(name, values[name]) for name in names)) for part, values in figures.items()
    ]
    text = table_text(["", *(name.replace("_", " ") for name in names)], rows)
    print_out(f"{text}\n")


def table_text(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table as text, however wide; all columns but the first are flush right."""
    table = Table(box=box.SIMPLE_HEAD)
    for number, name in enumerate(header):
        table.add_column(name, justify="right" if number else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console = Console(file=io.StringIO(), width=10_000, highlight=False, markup=False)
    console.width = console.measure(table).maximum
    with console.capture() as capture:
        console.print(table)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def say(text: str) -> None:
    """A line for the person at the terminal, on stderr: stdout is for results."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201


def default_directory(*parts: Any) -> pathlib.Path:
    """Where results go if nothing is said: below ``runs``, named for ``parts``."""
    name = "-".join(re.sub("[^A-Za-z0-9_.-]", "_", str(part)) for part in parts)
    return pathlib.Path("runs", name.lstrip("."))


def make_directory(
    out: pathlib.Path,
    files: Sequence[str],
    what: str,
    *,
    overwrite: bool,
    resume: pathlib.Path | None = None,
) -> pathlib.Path:
    """The directory ``out``, made, and without ``files`` of an earlier time.

    Raises:
        UsageError: if it is no directory, or holds one of ``files`` and is not to be overwritten
            or the file was written by something else, or is the one that ``resume`` resumes from.
        OSError: if nothing can be written there.
    """
    if resume is not None and resume.resolve() == out.resolve():
        raise UsageError("--resume and --out must be two directories.")
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is not a directory.")
    earlier = [name for name in files if os.path.lexists(out / name)]
    if earlier and not overwrite:
        raise UsageError(f"{out} holds {what} already: give another --out, or --overwrite.")
    refuse_foreign(out, files)
    delete_own(out, files)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=out):  # before hours of work, not after them
        return out


@contextlib.contextmanager
def held_alone(out: pathlib.Path | None) -> Iterator[None]:
    """Keep other commands out of the directory ``out``; the lock ends with the process at last.

    Raises:
        UsageError: if another command holds it.
    """
    if out is None:
        yield
        return
    import fcntl

    held = os.open(out, os.O_RDONLY)
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            text = f"{out} is in use by another command: give another --out."
            raise UsageError(text) from None
        yield
    finally:
        os.close(held)


def refuse_foreign(out: pathlib.Path, files: Sequence[str]) -> None:
    """Raise a UsageError if one of ``files`` is in ``out`` and another program wrote it."""
    for name in foreign_files(out, files):
        raise UsageError(
            f"{out / name} was not written by this program, so it is not replaced: move it, or "
            "give another --out."
        )


def write_text(path: pathlib.Path, text: str) -> None:
    """Write a file of results; whoever reads there sees the old text or the new one.

    Raises:
        OSError: if it cannot be written, or another program wrote what is there.
    """
    write_bytes(path, text.encode())


def write_bytes(path: pathlib.Path, content: bytes) -> None:
    """The same of bytes."""
    with replacing_own(path) as part:
        part.write_bytes(content)


def _shown(name: str, value: float) -> str:
    return str(value) if name == "rows" else f"{value:.4f}" if abs(value) < 100 else f"{value:.1f}"


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
