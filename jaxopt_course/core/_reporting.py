"""What people and other programs read: tables as text, JSON, and progress on stderr."""

import contextlib
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax


SECONDS = 5.0  # between two lines of progress where stderr is not a terminal

Show = Callable[..., None]


def text_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in columns; the first column is aligned to the left, the others to the right.

    Examples:
        >>> print(text_table(["name", "loss"], [["adam", "0.5"], ["momentum", "0.25"]]))
        name      loss
        adam       0.5
        momentum  0.25
    """
    lines = [header, *rows]
    first, *others = [max(map(len, column)) for column in zip(*lines, strict=True)]
    texts = ("  ".join([x.ljust(first), *map(str.rjust, xs, others)]) for x, *xs in lines)
    return "\n".join(text.rstrip() for text in texts)


def plain(value: Any) -> Any:
    """``value`` in terms of JSON: lists, dictionaries, texts and numbers.

    Arrays and tuples become lists, NamedTuples dictionaries, paths texts, NaN and infinity None.
    """
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if hasattr(value, "tolist"):  # an array, or a number of NumPy
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, os.PathLike):
        return str(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


def as_json(value: Any, indent: int | None = None) -> str:
    """``value`` as JSON that every parser accepts; see :func:`plain`."""
    return json.dumps(plain(value), indent=indent, allow_nan=False)


class Pace:
    """Units of work per second, without the first call, before which programs are compiled."""

    def __init__(self) -> None:
        self._first: int | None = None  # what was done at the first call
        self._ended = 0.0  # time of the first call
        self._begun: float | None = None  # time at which the work of the second call began

    def rate(self, done: int, begun: float | None = None) -> float | None:
        """The rate since the first call, or None if nothing was done since then.

        Args:
            done: units of work done in total.
            begun: time of the monotonic clock at which the work since the last call began. None:
                the time of the last call.
        """
        now = time.monotonic()
        if self._first is None:
            self._first, self._ended = done, now
            return None
        if self._begun is None:
            self._begun = self._ended if begun is None else begun
        if done <= self._first:
            return None
        return (done - self._first) / max(now - self._begun, 1e-9)


@contextlib.contextmanager
def show_progress(
    position: Callable[[int], str], total: int | None, begin: int = 0, *, shown: bool = True
) -> Iterator[Show]:
    """A function ``show(done, text, begun=None)`` that reports progress on stderr.

    On a terminal it updates a live bar. Otherwise it prints a line at most every five seconds, and
    the last one when the ``with`` block ends. ``begun`` is the time, of the monotonic clock, at
    which the work since the last call began.

    Args:
        position: returns how far ``done`` is, such as ``"trial 3/16"``.
        total: ``done`` at the end. None: unknown.
        begin: ``done`` at the start.
        shown: False shows nothing. Of several processes only the first one shows anything.
    """
    if not shown or jax.process_index() > 0:
        yield lambda done, text, begun=None: None
        return
    from rich.console import Console

    console = Console(stderr=True)
    is_live = console.is_terminal or console.is_jupyter
    display = _bar(console, position, total, begin) if is_live else _lines(position, total)
    with display as show:
        yield show


@contextlib.contextmanager
def _lines(position: Callable[[int], str], total: int | None) -> Iterator[Show]:
    line, printed, last = "", "", time.monotonic()
    pace = Pace()

    def say() -> None:
        nonlocal printed, last
        printed, last = line, time.monotonic()
        print(line, file=sys.stderr, flush=True)  # noqa: T201

    def show(done: int, text: str, begun: float | None = None) -> None:
        nonlocal line
        rate = pace.rate(done, begun)
        line = f"{position(done)}: {text}"
        if total is not None and rate is not None and done < total:
            line += f"; {(total - done) / rate:.0f} s left"
        if time.monotonic() - last > SECONDS:
            say()

    try:
        yield show
    finally:
        if line != printed:
            say()


@contextlib.contextmanager
def _bar(
    console: Any, position: Callable[[int], str], total: int | None, begin: int
) -> Iterator[Show]:
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.table import Column

    width = len(position(begin if total is None else total))
    columns = (  # on a narrow terminal the text is cut, not the position
        TextColumn("{task.fields[position]}", table_column=Column(min_width=width)),
        BarColumn(10, table_column=Column(min_width=10)),
        TimeRemainingColumn(table_column=Column(min_width=7)),
        TextColumn("{task.description}", table_column=Column(no_wrap=True)),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("compiling", total=total, completed=begin, position=position(begin))
        yield lambda done, text, begun=None: bar.update(
            task, completed=done, description=text, position=position(done)
        )
