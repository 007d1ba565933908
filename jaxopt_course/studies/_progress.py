"""What a person sees while a study runs, on stderr: a live bar on a terminal, else lines."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np


SECONDS = 5.0  # between two lines where no terminal can be written over

Show = Callable[[int, np.ndarray], None]


@contextlib.contextmanager
def show_trials(
    trials: int, begin: int, *, mode: str, shown: bool, unit: str = "trial"
) -> Iterator[Show]:
    """A function of the number of trials done and of their scores, of which it tells the best.

    Args:
        trials: how many there are.
        begin: how many were done before.
        mode: ``"min"`` or ``"max"``: which scores are best.
        shown: whether to show anything; of several processes the first one does.
        unit: what they are called.
    """
    if not shown or jax.process_index() > 0:
        yield lambda done, scores: None
        return
    from rich.console import Console

    console = Console(stderr=True)
    if console.is_terminal or console.is_jupyter:
        with _bar(console, unit, trials, begin) as update:
            yield lambda done, scores: update(done, _best(scores, mode))
        return
    last = time.monotonic()
    started = None  # not before the first are done: until then it compiles

    def line(done: int, scores: np.ndarray) -> None:
        nonlocal begin, last, started
        now = time.monotonic()
        if started is None:
            begin, started = done, now
        if now - last > SECONDS:
            last = now
            said = f"{unit} {done}/{trials}: {_best(scores, mode)}"
            if done > begin or done == trials:
                left = (trials - done) * (now - started) / max(done - begin, 1)
                said += f", {left:.0f} s left"
            print(said, file=sys.stderr, flush=True)  # noqa: T201

    yield line


def _best(scores: np.ndarray, mode: str) -> str:
    known = scores[np.isfinite(scores)]
    if known.size == 0:
        return "no score yet"
    return f"best {known.min() if mode == 'min' else known.max():.4g}"


@contextlib.contextmanager
def _bar(console: Any, unit: str, trials: int, begin: int) -> Iterator[Callable[[int, str], None]]:
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
