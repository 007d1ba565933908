"""What a person sees while a training runs, on stderr: a live bar on a terminal, else lines."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column


__all__ = ["show_progress"]

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
            print(f"epoch {epoch}/{epochs}: {_figures(row)}", file=sys.stderr, flush=True)  # noqa: T201
            last = now

    yield line


def _figures(row: dict[str, Any]) -> str:
    """``"loss 0.2 / 0.3, ..."``: of training and, after the stroke, of validation."""
    names = [n for n in row if n not in ("epoch", "step") and not n.startswith("validation_")]
    return ", ".join(
        f"{name.replace('_', ' ')} {row[name]:.4g} / {row[f'validation_{name}']:.4g}"
        for name in names
    )
