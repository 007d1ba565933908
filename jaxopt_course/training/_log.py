"""What `fit` reports: the log of the evaluations, and a display of the progress on stderr.

A log contains only what the training computed. A training that is interrupted and resumed therefore
leaves the same log as one that is not.
"""

import contextlib
import csv
import os
import pathlib
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxopt_course.core import Pace, as_json, claim_file, delete_own, list_file, show_progress

from ._arguments import WITHOUT_END, Timetable
from ._progress import Progress


Row = dict[str, int | float]
WriteRows = Callable[[Sequence[Row]], None]

# A function of the number of steps done, of the losses and the evaluations of the last segment, and
# of the time at which that segment began.
Report = Callable[[int, np.ndarray, Sequence[dict[str, Any]], float], None]


class Logging(NamedTuple):
    """Where the history of a training is logged.

    directory: directory of ``history.jsonl`` and ``history.csv``, with one line per evaluation.
    tensorboard: whether to write ``tensorboard/``, too.
    replace: whether to replace logs that exist already. A training that resumes from checkpoints
        always does.
    """

    directory: str | os.PathLike[str]
    tensorboard: bool = False
    replace: bool = False


def as_logging(
    log: str | os.PathLike[str] | Logging | None, resumes: bool = False
) -> Logging | None:
    """``log``, or the :class:`Logging` in this directory; it is replaced if a training resumes."""
    if log is None:
        return None
    log = log if isinstance(log, Logging) else Logging(log)
    return log._replace(replace=log.replace or resumes)


@contextlib.contextmanager
def open_reports(
    log: Logging | None,
    is_shown: bool,
    timetable: Timetable,
    start: Progress,
    history: Sequence[dict[str, Any]],
) -> Iterator[Report]:
    """A function that reports a segment, in process 0: it writes the log and shows the progress.

    The logs begin with ``history``, the evaluations before ``start``.

    Raises:
        FileExistsError: if there are logs that must not be replaced, or another program wrote them.
        ImportError: if tensorboardX is needed and not installed.
    """
    with contextlib.ExitStack() as stack:
        writers: list[WriteRows] = []
        show: Callable[..., None] = lambda *_: None
        if jax.process_index() == 0:
            if log is not None:
                writers = _open_logs(log, stack)
            if is_shown:
                show = stack.enter_context(_show_training(timetable, int(start.state.step)))

        def write(evaluated: Sequence[dict[str, Any]]) -> list[Row]:
            rows = _described(evaluated, timetable)
            for writer in writers:
                writer(rows)
            return rows

        write(history)
        yield lambda done, losses, evaluated, begun: show(done, losses, write(evaluated), begun)


def _described(evaluated: Sequence[dict[str, Any]], timetable: Timetable) -> list[Row]:
    """Metrics of evaluations as Python numbers, each with its epoch."""
    rows = []
    for metrics in evaluated:
        numbers = {name: value.item() for name, value in metrics.items()}
        step, loss = numbers.pop("step"), numbers.pop("loss")
        epoch = -(-step // timetable.steps_per_epoch)
        rows.append({"epoch": epoch, "step": step, "loss": loss} | numbers)
    return rows


def _open_logs(log: Logging, stack: contextlib.ExitStack) -> list[WriteRows]:
    """Functions that append rows to the log files, which are closed with ``stack``."""
    directory = pathlib.Path(log.directory)
    if not log.replace and any(os.path.lexists(directory / name) for name in LOGS):
        raise FileExistsError(f"fit: `log`: {directory} holds a log already; name another one.")
    directory.mkdir(parents=True, exist_ok=True)
    writers = []
    for name, writer_of in LOGS.items():
        if _is_log(directory / name):
            list_file(directory / name)
        claim_file(directory / name)
        opened = (directory / name).open("w", buffering=1, newline="\n")  # flushes every line
        writers.append(writer_of(stack.enter_context(opened)))
    if log.tensorboard:
        writers.append(_tensorboard(directory / "tensorboard", stack))
    return writers


def _is_log(path: pathlib.Path) -> bool:
    """Whether ``path`` begins like a log, in a directory from before files were listed."""
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(100).startswith((b'{"epoch": ', b"epoch,step,loss"))


def _json_lines(file: Any) -> WriteRows:
    return lambda rows: file.writelines(as_json(row) + "\n" for row in rows)


def _csv(file: Any) -> WriteRows:
    table: Any = csv.DictWriter(file, (), lineterminator="\n")
    written: list[Row] = []

    def write(rows: Sequence[Row]) -> None:
        names = dict.fromkeys(name for row in [*written, *rows] for name in row)
        if len(names) > len(table.fieldnames):  # a new metric of `on_evaluation`: begin again
            file.seek(0)
            file.truncate()
            table.fieldnames = list(names)
            table.writeheader()
            table.writerows(written)
        table.writerows(rows)
        written.extend(rows)

    return write


LOGS: dict[str, Callable[[Any], WriteRows]] = {
    "history.jsonl": _json_lines,
    "history.csv": _csv,
}


def _tensorboard(directory: pathlib.Path, stack: contextlib.ExitStack) -> WriteRows:
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        raise ImportError(
            "fit: `tensorboard` needs tensorboardX: pip install 'jaxopt_course[tensorboard]'."
        ) from error
    if directory.is_symlink():
        raise FileExistsError(f"fit: {directory} is a symbolic link, which logs do not follow.")
    events_in = lambda: {path.name for path in directory.glob("events.out.tfevents.*")}
    delete_own(directory, events_in())
    others = events_in()
    events = SummaryWriter(str(directory))
    stack.callback(events.close)
    for name in events_in() - others:
        list_file(directory / name)

    def write(rows: Sequence[Row]) -> None:
        for row in rows:
            for name in row.keys() - {"epoch", "step"}:
                events.add_scalar(name, row[name], int(row["step"]))
        events.flush()

    return write


@contextlib.contextmanager
def _show_training(timetable: Timetable, begin: int) -> Iterator[Callable[..., None]]:
    """A function of the steps done, the losses and evaluations of a segment, and its begin.

    It shows the position, the last evaluation or the loss of the last step, and steps and examples
    per second. The rate leaves out the first segment, which compiles, and what follows it before
    the second begins, such as the first checkpoint. ``begin`` is the number of steps done before.
    """
    latest: Row = {}
    pace = Pace()
    total = None if timetable.steps == WITHOUT_END else timetable.steps
    if begin:
        print(f"resuming from step {begin}", file=sys.stderr, flush=True)  # noqa: T201
    with show_progress(lambda done: _position(timetable, done), total, begin) as update:

        def show(done: int, losses: np.ndarray, rows: Sequence[Row], begun: float) -> None:
            latest.update(rows[-1] if rows else {})
            said = [_figures(latest)] if latest else [f"loss {loss:.4g}" for loss in losses[-1:]]
            if (rate := pace.rate(done, begun)) is not None:
                said.append(f"{rate:.3g} steps/s, {rate * timetable.batch_size:.3g} examples/s")
            update(done, ", ".join(said), begun)

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
    shown = []
    for name, value in row.items():
        follows = name.startswith("validation_") and name.removeprefix("validation_") in row
        if name not in ("epoch", "step") and not follows:
            validated = row.get(f"validation_{name}")
            after_slash = "" if validated is None else f" / {validated:.4g}"
            shown.append(f"{name.replace('_', ' ')} {value:.4g}{after_slash}")
    return ", ".join(shown)
