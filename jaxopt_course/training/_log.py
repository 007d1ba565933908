"""The log of a training: one line per evaluation, as JSON lines, as CSV, and for TensorBoard.

A log contains only what the training computed. A training that is interrupted and resumed therefore
leaves the same log as one that is not.
"""

import contextlib
import csv
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from jaxopt_course.core import as_json, claim_file, delete_own, list_file

from ._arguments import Timetable


Row = dict[str, int | float]
WriteRows = Callable[[Sequence[Row]], None]


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


@contextlib.contextmanager
def open_log(log: Logging, rows: Sequence[Row]) -> Iterator[WriteRows]:
    """A function that appends rows to the logs, which contain ``rows`` at first.

    Raises:
        FileExistsError: if there are logs that must not be replaced, or another program wrote them.
        ImportError: if tensorboardX is needed and not installed.
    """
    directory = pathlib.Path(log.directory)
    if not log.replace and any(os.path.lexists(directory / name) for name in LOGS):
        raise FileExistsError(f"fit: `log`: {directory} holds a log already; name another one.")
    directory.mkdir(parents=True, exist_ok=True)
    writers: list[WriteRows] = []
    with contextlib.ExitStack() as stack:
        for name, of in LOGS.items():
            if _is_log(directory / name):
                list_file(directory / name)
            claim_file(directory / name)
            writers.append(of(stack.enter_context(open(directory / name, "w", newline="\n"))))
        if log.tensorboard:
            writers.append(_tensorboard(directory / "tensorboard", stack))

        def write(rows: Sequence[Row]) -> None:
            for writer in writers:
                writer(rows)

        write(rows)
        yield write


def _is_log(path: pathlib.Path) -> bool:
    """Whether ``path`` begins like a log, in a directory from before files were listed."""
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(100).startswith((b'{"epoch": ', b"epoch,step,loss"))


def describe_rows(rows: Sequence[dict[str, Any]], timetable: Timetable) -> list[Row]:
    """Metrics of evaluations as Python numbers, each with its epoch."""
    lines = []
    for row in rows:
        numbers = {name: value.item() for name, value in row.items()}
        epoch = -(-numbers["step"] // timetable.steps_per_epoch)
        first = {"epoch": epoch, "step": numbers.pop("step"), "loss": numbers.pop("loss")}
        lines.append(first | numbers)
    return lines


def _json_lines(file: Any) -> WriteRows:
    def write(rows: Sequence[Row]) -> None:
        for row in rows:
            file.write(as_json(row) + "\n")
        file.flush()

    return write


def _csv(file: Any) -> WriteRows:
    table = csv.writer(file, lineterminator="\n")
    header: list[str] = []

    def write(rows: Sequence[Row]) -> None:
        for row in rows:
            if not header:
                header.extend(row)
                table.writerow(header)
            table.writerow([row[name] for name in header])
        file.flush()

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
