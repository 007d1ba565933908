"""What a person sees while a study runs, on stderr: a live bar on a terminal, else lines."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax


__all__ = ["show_trials"]

SECONDS = 5.0  # between two lines where no terminal can be written over

Show = Callable[[int, str], None]


@contextlib.contextmanager
def show_trials(trials: int, begin: int, *, shown: bool, unit: str = "trial") -> Iterator[Show]:
    """A function of the number of trials done and of what to say of the best of them.

    Args:
        trials: how many there are.
        begin: how many were done before.
        shown: whether to show anything; of several processes the first one does.
        unit: what they are called.
    """
    if not shown or jax.process_index() > 0:
        yield lambda done, text: None
        return
    from rich.console import Console

    console = Console(stderr=True)
    if console.is_terminal or console.is_jupyter:
        with _bar(console, unit, trials, begin) as update:
            yield update
        return
    last = time.monotonic()
    started = None  # not before the first are done: until then it compiles

    def line(done: int, text: str) -> None:
        nonlocal begin, last, started
        now = time.monotonic()
        if started is None:
            begin, started = done, now
        if now - last > SECONDS:
            last = now
            left = (trials - done) * (now - started) / max(done - begin, 1)
            said = f"{unit} {done}/{trials}: {text}, {left:.0f} s left"
            print(said, file=sys.stderr, flush=True)  # noqa: T201

    yield line


@contextlib.contextmanager
def _bar(console: Any, unit: str, trials: int, begin: int) -> Iterator[Show]:
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.table import Column

    width = len(f"{unit} {trials}/{trials}")
    columns = (
        TextColumn(unit + " {task.completed}/{task.total}", table_column=Column(min_width=width)),
        BarColumn(10, table_column=Column(min_width=10)),
        TimeRemainingColumn(table_column=Column(min_width=7)),
        TextColumn("{task.description}", table_column=Column(no_wrap=True)),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("compiling", total=trials, completed=begin)
        yield lambda done, text: bar.update(task, completed=done, description=text)
