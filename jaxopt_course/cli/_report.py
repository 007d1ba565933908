"""What commands print and write: tables, JSON, directories of results, and HTML pages."""

import base64
import contextlib
import html
import io
import os
import pathlib
import platform
import re
import string
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import flax
import jax
import numpy as np
import optax

from jaxopt_course._version import __version__
from jaxopt_course.core import as_json, delete_own, foreign_files, replacing_own, text_table

from ._process import UsageError, print_out, say


# The policy is a second protection: even text that is not escaped could not load or run anything.
PAGE = string.Template("""\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem;
       color: #222; background: #fff; }
h2 { border-top: 1px solid #ccc; padding-top: 1rem; }
pre { overflow-x: auto; white-space: pre-wrap; overflow-wrap: anywhere; font-size: 13px; }
pre.table { white-space: pre; }
figure { margin: 1rem 0; }
img { max-width: 100%; height: auto; }
</style>
</head>
<body>
<h1>$title</h1>
$sections
</body>
</html>
""")


class Section(NamedTuple):
    """A section of a page.

    title: heading.
    text: preformatted text.
    pictures: PNG of each picture, by caption.
    is_table: whether the text is a table, whose lines are not wrapped.
    """

    title: str
    text: str = ""
    pictures: Mapping[str, bytes] = {}
    is_table: bool = False


def json_text(value: Any) -> str:
    """``value`` as indented JSON that ends with a new line."""
    return as_json(value, indent=2) + "\n"


def print_table(metrics: Mapping[str, Mapping[str, float]]) -> None:
    """Print metrics on stdout, one row for each part of the data."""
    names = list(next(iter(metrics.values())))
    rows = [
        (part, *(_shown(name, values[name]) for name in names)) for part, values in metrics.items()
    ]
    print_out(text_table(["", *(name.replace("_", " ") for name in names)], rows) + "\n")


@contextlib.contextmanager
def show_stage(text: str) -> Iterator[None]:
    """Show on stderr what is being done inside the ``with``."""
    if sys.stderr.isatty():
        from rich.console import Console

        with Console(stderr=True).status(text):
            yield
    else:
        say(text)
        yield


def describe_versions() -> dict[str, str]:
    """The versions of everything that results depend on."""
    packages = (flax, jax, np, optax)
    return {
        "jaxopt_course": __version__,
        **{package.__name__: package.__version__ for package in packages},
        "python": platform.python_version(),
    }


def default_directory(*parts: Any) -> pathlib.Path:
    """The default directory of results: ``runs/`` and the joined ``parts``."""
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
    """Make the directory ``out`` and delete ``files`` of an earlier command in it.

    Raises:
        UsageError: if ``out`` is not a directory, is the directory of ``resume``, or holds one of
            ``files``, unless it may be overwritten and this program wrote it.
        OSError: if the directory cannot be written.
    """
    if resume is not None and resume.resolve() == out.resolve():
        raise UsageError(f"--resume and --out must be two directories, got {out} twice.")
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is not a directory.")
    if not overwrite and any(os.path.lexists(out / name) for name in files):
        raise UsageError(f"{out} already holds {what}: give another --out, or --overwrite.")
    refuse_foreign(out, files)
    delete_own(out, files)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=out):  # fails before hours of work, not after them
        return out


@contextlib.contextmanager
def held_alone(out: pathlib.Path | None) -> Iterator[None]:
    """Lock the directory ``out`` against other commands; the lock ends with the process.

    Raises:
        UsageError: if another command holds the lock.
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
    """Raise a UsageError if another program wrote one of ``files`` in ``out``."""
    for name in foreign_files(out, files):
        raise UsageError(
            f"{out / name} was not written by this program, so it is not replaced: move it, or "
            "give another --out."
        )


def write_file(path: pathlib.Path, content: str | bytes) -> None:
    """Write a file of results atomically: a reader sees the old content or the new one.

    Raises:
        OSError: if it cannot be written, or another program wrote the file.
    """
    with replacing_own(path) as part:
        part.write_bytes(content.encode() if isinstance(content, str) else content)


def as_png(figure: Any) -> bytes:
    """A matplotlib figure as a PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    return buffer.getvalue()


def picture_name(caption: str) -> str:
    """The file name of a picture: ``"learning_rate.png"`` of ``"Learning rate"``."""
    return caption.lower().replace(" ", "_") + ".png"


def write_report(path: pathlib.Path, title: str, sections: Sequence[Section]) -> None:
    """Write a page with :func:`write_html`, and its pictures as files beside it."""
    for section in sections:
        for caption, png in section.pictures.items():
            write_file(path.with_name(picture_name(caption)), png)
    write_html(path, title, sections)


def write_html(path: pathlib.Path, title: str, sections: Sequence[Section]) -> None:
    """Write a page as one HTML file, which holds its pictures, no script and no link."""
    body = "\n".join(map(_section, sections))
    write_file(path, PAGE.substitute(title=html.escape(title), sections=body))


def _section(section: Section) -> str:
    parts = [f"<section>\n<h2>{html.escape(section.title)}</h2>"]
    if section.text:
        kind = ' class="table"' if section.is_table else ""
        parts.append(f"<pre{kind}>{html.escape(section.text)}</pre>")
    for caption, png in section.pictures.items():
        alt, data = html.escape(caption), base64.b64encode(png).decode("ascii")
        parts.append(f'<figure><img src="data:image/png;base64,{data}" alt="{alt}"></figure>')
    return "\n".join([*parts, "</section>"])


def _shown(name: str, value: float) -> str:
    return str(value) if name == "rows" else f"{value:.4f}" if abs(value) < 100 else f"{value:.1f}"
