"""The display of a running training on stderr: a progress bar on a terminal, else lines."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from ._arguments import WITHOUT_END, Timetable
from ._log import Row


SECONDS = 5.0  # between two lines, where there is no terminal

Show = Callable[[int, Float[np.ndarray, "steps"], Sequence[Row]], None]


@contextlib.contextmanager
def show_progress(timetable: Timetable, begin: int) -> Iterator[Show]:
    """A function of the steps done, and of the losses and evaluations since the last call.

    It shows the position, the last evaluation or the loss of the last step, steps and examples per
    second since the first call (programs are compiled before that), and the time left.

    Args:
        timetable: timetable of the training.
        begin: number of steps done before.
    """
    from rich.console import Console

    latest: Row = {}
    first: tuple[int, float] | None = None  # the steps of the first call, and when that was

    def describe(done: int, losses: np.ndarray, rows: Sequence[Row]) -> str:
        nonlocal first
        latest.update(rows[-1] if rows else {})
        said = [_figures(latest)] if latest else [f"loss {loss:.4g}" for loss in losses[-1:]]
        if first is None:
            first = done, time.monotonic()
        elif done > first[0]:
            rate = (done - first[0]) / max(time.monotonic() - first[1], 1e-9)
            said.append(f"{rate:.3g} steps/s, {rate * timetable.batch_size:.3g} examples/s")
        return ", ".join(said)

    console = Console(stderr=True)
    if console.is_terminal or console.is_jupyter:
        with _bar(console, timetable, begin) as update:
            yield lambda done, *seen: update(done, describe(done, *seen))
        return
    said, text, last = "", "", time.monotonic()

    def say(line: str) -> None:
        nonlocal said, last
        said, last = line, time.monotonic()
        print(line, file=sys.stderr, flush=True)  # noqa: T201

    def show(done: int, losses: np.ndarray, rows: Sequence[Row]) -> None:
        nonlocal text
        text = f"{_position(timetable, done)}: {describe(done, losses, rows)}"
        if time.monotonic() - last > SECONDS:
            say(text)

    if begin:
        say(f"resuming from step {begin}")
    try:
        yield show
    finally:
        if text not in ("", said):
            say(text)


@contextlib.contextmanager
def _bar(console: Any, timetable: Timetable, begin: int) -> Iterator[Callable[[int, str], None]]:
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.table import Column

    total = None if timetable.steps == WITHOUT_END else timetable.steps
    position = _position(timetable, begin)
    columns = (
        # If the line is too narrow, the figures are shortened, not the position.
        TextColumn("{task.fields[position]}", table_column=Column(min_width=len(position))),
        BarColumn(10, table_column=Column(min_width=10)),
        TimeRemainingColumn(table_column=Column(min_width=7)),
        TextColumn("{task.description}", table_column=Column(no_wrap=True)),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("compiling", total=total, completed=begin, position=position)
        yield lambda done, text: bar.update(
            task, completed=done, description=text, position=_position(timetable, done)
        )


def _position(timetable: Timetable, done: int) -> str:
    """``"epoch 3/20"``, or ``"step 300"`` if there are no whole epochs or no end."""
    if timetable.steps == WITHOUT_END:
        return f"step {done}"
    epochs, rest = divmod(timetable.steps, timetable.steps_per_epoch)
    if rest or not epochs:
        return f"step {done}/{timetable.steps}"
    return f"epoch {done // timetable.steps_per_epoch}/{epochs}"


def _figures(row: Row) -> str:
    """``"loss 0.2 / 0.3, ..."``: of training and, after the slash, of validation."""
    names = [n for n in row if n not in ("epoch", "step") and not n.startswith("validation_")]
    shown = []
    for name in names:
        validated = row.get(f"validation_{name}")
        stroke = "" if validated is None else f" / {validated:.4g}"
        shown.append(f"{name.replace('_', ' ')} {row[name]:.4g}{stroke}")
    return ", ".join(shown)
