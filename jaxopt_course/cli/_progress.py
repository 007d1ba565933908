"""What a person sees while a training runs, on stderr: a live bar on a terminal, else lines."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column

from ._report import say


__all__ = ["rows_of", "show_progress", "show_stage"]

LINES = 10  # of a training that is not watched on a terminal, at least
SECONDS = 5.0  # between two lines, at most


@contextlib.contextmanager
def show_progress(epochs: int) -> Iterator[Callable[[dict[str, Any]], None]]:
    """A function of a row of the history, to be called after each epoch."""
    if sys.stderr.isatty():
        width = len(f"epoch {epochs}/{epochs}")
        columns = (
            # Where a line is too narrow, the figures give way, not the count.
            TextColumn("epoch {task.completed}/{task.total}", table_column=Column(min_width=width)),
            BarColumn(10, table_column=Column(min_width=10)),
            TimeRemainingColumn(table_column=Column(min_width=7)),
            TextColumn("{task.description}", table_column=Column(no_wrap=True)),
        )
        with Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task("compiling", total=epochs)
            yield lambda row: bar.update(task, completed=row["epoch"], description=_figures(row))
        return
    last = time.monotonic()

    def line(row: dict[str, Any]) -> None:
        nonlocal last
        epoch, now = row["epoch"], time.monotonic()
        if epoch in (1, epochs) or epoch % -(-epochs // LINES) == 0 or now - last > SECONDS:
            say(f"epoch {epoch}/{epochs}: {_figures(row)}")
            last = now

    yield line


@contextlib.contextmanager
def show_stage(text: str) -> Iterator[None]:
    """Say what is being done inside the ``with``."""
    if sys.stderr.isatty():
        with Console(stderr=True).status(text):
            yield
        return
    say(text)
    yield


def rows_of(metrics: dict[str, np.ndarray], steps_per_epoch: int) -> list[dict[str, Any]]:
    """The evaluations of one report, one a row."""
    if not metrics:
        return []
    names = ["step", "loss", *(name for name in metrics if name not in ("step", "loss"))]
    rows = zip(*(metrics[name].tolist() for name in names), strict=True)
    return [
        {"epoch": -(-row[0] // steps_per_epoch)} | dict(zip(names, row, strict=True))
        for row in rows
    ]


def _figures(row: dict[str, Any]) -> str:
    """``"loss 0.2 / 0.3, ..."``: of training and, after the stroke, of validation."""
    names = [n for n in row if n not in ("epoch", "step") and not n.startswith("validation_")]
    return ", ".join(
        f"{name.replace('_', ' ')} {row[name]:.4g} / {row[f'validation_{name}']:.4g}"
        for name in names
    )
