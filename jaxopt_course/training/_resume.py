"""How a training is kept on disk and gone on with: what is saved, when, and what is compared.

What an optimizer packs lies on disk as the tree that it is: :func:`packed` can be put around an
optimizer, or taken off, between two parts of a training.
"""

import contextlib
import json
import os
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from jaxopt_course.core import checks
from jaxopt_course.tasks import Task
from jaxopt_course.transforms import packed_state, unpacked_state

from ._checkpoint_errors import CheckpointError, CheckpointWarning
from ._checkpoints import CheckpointStore
from ._fingerprint import compare, optimizer_fingerprint, task_fingerprint
from ._loop import Progress
from ._sources import History, Source
from ._state import OutcomeCode


class Checkpointing(NamedTuple):
    """Where the checkpoints of a training are, how often it saves, and what is kept.

    directory: their own. One run at a time may use it.
    every_steps: steps from one save to the next, in [1, inf); None: as
    every_seconds: says, in [0, inf). It is also saved at the end, on a signal, on an exception.
    keep_latest: how many of the newest are kept, in [1, inf).
    keep_best: how many of those with the lowest validation loss are kept besides, in [0, inf).
    on_error: what happens if one cannot be written: ``"raise"``, or ``"warn"`` and go on.
    """

    directory: str | os.PathLike[str]
    every_steps: int | None = None
    every_seconds: float = 30.0
    keep_latest: int = 2
    keep_best: int = 1
    on_error: str = "raise"


class Keeper:
    """A checkpoint store in the hands of one training.

    Args:
        store: where to.
        options: when, and what if not.
        about: what is written beside the state: fingerprints, numbers, config.
    """

    def __init__(
        self, store: CheckpointStore, options: Checkpointing, about: Mapping[str, Any]
    ) -> None:
        self._store, self._options, self._about = store, options, dict(about)
        self._saved_step, self._saved_time = -1, time.monotonic()

    def restore(
        self, like: Progress, row_like: Mapping[str, Any], accept: Sequence[str]
    ) -> tuple[Progress, History] | None:
        """The newest valid checkpoint, laid out as ``like``; None if there is none.

        Raises:
            CheckpointError: if it is of another training, or all are damaged.
        """
        if self._store.latest() is None:
            return None
        saved = self._store.restore(_as_saved(like))
        changes = compare(saved.about["fingerprints"], self._about["fingerprints"], accept)
        changes += _differences(saved.about["numbers"], self._about["numbers"])
        for change in changes:
            warnings.warn(f"fit: {change}", CheckpointWarning, stacklevel=3)
        earlier = saved.about.get("changes", [])
        self._about["changes"] = earlier + [[saved.step, change] for change in changes]
        self._saved_step = saved.step
        history = [_as_evaluated(row, row_like) for row in saved.about["history"]]
        measured = None if like.measured is None else saved.tree.state.params
        return packed_state(saved.tree._replace(measured=measured), like), history

    def cut(self, begin: int, end: int) -> int:
        """``end``, or the step before it, after ``begin``, at which a save is due."""
        every = self._options.every_steps
        return end if every is None else min(end, (begin // every + 1) * every)

    def is_due(self, done: int) -> bool:
        """Whether it is time to save."""
        if self._options.every_steps is not None:
            return done % self._options.every_steps == 0
        return time.monotonic() - self._saved_time >= self._options.every_seconds

    def save(self, progress: Progress, history: History) -> None:
        """Save, unless this step is on disk already, or the training has diverged.

        Raises:
            CheckpointError: if it cannot be written and the options say raise.
        """
        step = int(progress.state.step)
        diverged = OutcomeCode(int(progress.outcome.code)) is OutcomeCode.DIVERGED
        if step == self._saved_step or diverged:
            return
        rows = [{name: x.item() for name, x in row.items()} for row in history]
        last = rows[-1] if rows else {}
        try:
            self._store.save(
                step,
                _as_saved(progress),
                loss=last.get("validation_loss", last.get("loss")),
                about={**self._about, "history": rows},
            )
            self._saved_step = step
        except CheckpointError as error:
            if self._options.on_error == "raise":
                raise
            warnings.warn(f"fit goes on without a checkpoint: {error}", CheckpointWarning, 3)
        self._saved_time = time.monotonic()


def describe_training(
    task: Task,
    optimizer: optax.GradientTransformation,
    source: Source,
    start: Progress,
    numbers: Mapping[str, Any],
    config: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """What is written beside the state, to be compared when the training is gone on with."""
    digest = source.digest()
    own = {
        "batch_size": source.timetable.batch_size,
        "evaluate_every": source.timetable.evaluate_every,
        **jax.tree.map(lambda x: np.asarray(x).tolist(), dict(numbers)),
        **(config or {}),
    }
    return {
        "fingerprints": {
            "optimizer": optimizer_fingerprint(optimizer, start.state.params),
            "model": task_fingerprint(task, source.first),
            **({} if digest is None else {"data": digest}),
        },
        "numbers": json.loads(json.dumps(own)),  # as they come back, tuples as lists
    }


@contextlib.contextmanager
def open_keeper(
    checkpoint: str | os.PathLike[str] | Checkpointing, about: Mapping[str, Any], *, resume: str
) -> Iterator[Keeper]:
    """The keeper of a directory, which is locked until the end of the ``with``.

    Raises:
        CheckpointError: if another run uses the directory, it holds other things, or it holds
            checkpoints and ``resume`` is ``"never"``.
    """
    options = checkpoint if isinstance(checkpoint, Checkpointing) else Checkpointing(checkpoint)
    if options.every_steps is not None:
        checks.integer("fit", "checkpoint.every_steps", options.every_steps, "[1, inf)")
    checks.number("fit", "checkpoint.every_seconds", options.every_seconds, "[0, inf)")
    checks.choice("fit", "checkpoint.on_error", options.on_error, ("raise", "warn"))
    kept = {"keep_latest": options.keep_latest, "keep_best": options.keep_best}
    with CheckpointStore(options.directory, **kept) as store:
        latest = store.latest()
        if latest is not None and resume == "never":
            raise CheckpointError(
                f"fit: {os.fspath(options.directory)} holds checkpoints up to step {latest}: give "
                "`resume='auto'` to go on with them, or another directory."
            )
        yield Keeper(store, options, about)


def _as_saved(progress: Progress) -> Progress:
    """``progress`` as it lies on disk, without what the next step overwrites before it is read."""
    return unpacked_state(progress._replace(measured=None))


def _as_evaluated(row: Mapping[str, Any], like: Mapping[str, Any]) -> dict[str, Any]:
    """A row as the evaluations give it now; of what was not measured then NaN, or a count of 0."""
    return {
        name: np.asarray(row.get(name, 0 if name == "skipped" else np.nan), x.dtype)[()]
        for name, x in like.items()
    }


def _differences(saved: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """A sentence for each number that is not what it was."""
    changed = [name for name in {**saved, **now} if saved.get(name) != now.get(name)]
    own = {"key": "`key` is not that of the run, which goes on with its own."}
    return [
        own.get(name, f"`{name}` was {saved.get(name)!r} so far and is {now.get(name)!r} now.")
        for name in changed
    ]
