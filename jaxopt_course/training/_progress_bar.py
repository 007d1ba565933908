"""The display of a running training on stderr: its position, its figures and its speed."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jaxtyping import Float

from jaxopt_course.core import show_progress

from ._arguments import WITHOUT_END, Timetable
from ._log import Row


Show = Callable[[int, Float[np.ndarray, "steps"], Sequence[Row]], None]


@contextlib.contextmanager
def show_training(timetable: Timetable, begin: int) -> Iterator[Show]:
    """A function of the steps done, and of the losses and evaluations since the last call.

    It shows the position, the last evaluation or the loss of the last step, and steps and examples
    per second since the first call, before which programs are compiled.

    Args:
        timetable: timetable of the training.
        begin: number of steps done before.
    """
    latest: Row = {}
    first: tuple[int, float] | None = None  # the steps of the first call, and its time
    total = None if timetable.steps == WITHOUT_END else timetable.steps
    if begin:
        print(f"resuming from step {begin}", file=sys.stderr, flush=True)  # noqa: T201
    with show_progress(lambda done: _position(timetable, done), total, begin) as update:

        def show(done: int, losses: np.ndarray, rows: Sequence[Row]) -> None:
            nonlocal first
            latest.update(rows[-1] if rows else {})
            said = [_figures(latest)] if latest else [f"loss {loss:.4g}" for loss in losses[-1:]]
            if first is None:
                first = done, time.monotonic()
            elif done > first[0]:
                rate = (done - first[0]) / max(time.monotonic() - first[1], 1e-9)
                said.append(f"{rate:.3g} steps/s, {rate * timetable.batch_size:.3g} examples/s")
            update(done, ", ".join(said))

        yield show


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
