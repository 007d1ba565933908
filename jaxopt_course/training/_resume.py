"""Checkpoints of `fit`: what is saved, when, and what is compared when a training is resumed.

The state of a packed optimizer is saved unpacked, so :func:`~jaxopt_course.transforms.packed` can
be added to an optimizer, or removed, when a training is resumed.
"""

import contextlib
import json
import os
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import PyTree

from jaxopt_course.checkpoints import (
    CheckpointError,
    CheckpointMismatchError,
    CheckpointStore,
    CheckpointWarning,
    Fingerprint,
    fingerprint,
)
from jaxopt_course.core import Params, checks, tree
from jaxopt_course.tasks import Batch, Task, losses_of
from jaxopt_course.transforms import packed_state, unpack

from ._early_stopping import worst_of
from ._progress import Progress
from ._segments import History, Segments, metrics_like
from ._state import OutcomeCode
from ._training import Training


NAMES = {"optimizer": "optimizer", "model": "model", "data": "data set"}
CONSTANTS = {  # how numbers that a user passed look as constants of the compiled program
    "optimizer": ", in whose program a learning rate of 0.01 may be the constant -0.01",
    "model": ", in whose program a dropout rate of 0.1 is the constant 0.9",
}
ADDED = {".skipped": np.zeros((), np.int32)}  # since format 1, in which no training skipped steps


class Checkpointing(NamedTuple):
    """Where and when a training is saved, and how it is resumed.

    directory: directory of the checkpoints, which one run at a time may use.
    every_steps: steps between saves, in [1, inf). None: `every_seconds` decides.
    every_seconds: seconds between saves, in [0, inf). The training is also saved at its end, on a
        signal and on an exception.
    keep_latest: number of latest checkpoints to keep, in [1, inf).
    keep_best: number of checkpoints to keep with the best values of the metric that decides which
        parameters are best, by default the validation loss, in [0, inf).
    on_error: what to do if a checkpoint cannot be written: ``"raise"``, or ``"warn"`` and continue.
    resume: ``"auto"`` resumes from the latest intact checkpoint, with bitwise identical results, or
        starts if there is none. ``"never"`` refuses a directory with checkpoints.
    accept: parts of the training that may differ from the checkpointed run: ``"optimizer"``,
        ``"model"``, ``"data"``.
    config: numbers and names that describe the run, as JSON can represent them. They are saved in
        the checkpoints, and changes are reported by a warning when the run is resumed.
    """

    directory: str | os.PathLike[str]
    every_steps: int | None = None
    every_seconds: float = 30.0
    keep_latest: int = 2
    keep_best: int = 1
    on_error: Literal["raise", "warn"] = "raise"
    resume: Literal["never", "auto"] = "never"
    accept: Sequence[str] = ()
    config: Mapping[str, Any] | None = None


def as_checkpointing(
    checkpoint: str | os.PathLike[str] | Checkpointing | None,
) -> Checkpointing | None:
    """``checkpoint``, or the :class:`Checkpointing` in this directory.

    Raises:
        ValueError: if an option is out of range, or needs another one.
    """
    if checkpoint is None:
        return None
    if not isinstance(checkpoint, Checkpointing):
        return Checkpointing(checkpoint)
    every_steps, resume = checkpoint.every_steps, checkpoint.resume
    if every_steps is not None:
        checks.integer("fit", "checkpoint.every_steps", every_steps, "[1, inf)")
    checks.number("fit", "checkpoint.every_seconds", checkpoint.every_seconds, "[0, inf)")
    checks.choice("fit", "checkpoint.on_error", checkpoint.on_error, ("raise", "warn"))
    checks.choice("fit", "checkpoint.resume", resume, ("auto", "never"))
    for name in checkpoint.accept:
        checks.choice("fit", "checkpoint.accept", name, tuple(NAMES))
    accept = tuple(checkpoint.accept)
    checks.beside("fit", "`checkpoint.resume='auto'`", present=resume == "auto", accept=accept)
    return checkpoint


class Saver:
    """Saves and restores one training; without a store it does nothing.

    ``about`` is saved beside the state: fingerprints, numbers and config. ``training`` knows the
    metric by which the best checkpoints are kept.
    """

    def __init__(
        self,
        store: CheckpointStore | None = None,
        options: Checkpointing | None = None,
        about: Mapping[str, Any] | None = None,
        training: Any = None,
    ) -> None:
        self._training = training
        self._store, self._about = store, dict(about or {})
        self._options = Checkpointing("") if options is None else options
        self._saved_step, self._saved_time = -1, time.monotonic()

    def restore(self, start: Progress, segments: Segments) -> tuple[Progress, History]:
        """The latest intact checkpoint, and the evaluations before it; ``start`` if there is none.

        Raises:
            CheckpointError: if it belongs to another training, or all checkpoints are corrupt.
        """
        if self._store is None or self._store.latest() is None:
            return start, []
        saved = self._store.restore(_as_saved(start), added=ADDED)
        was, now, accept = saved.about, self._about, self._options.accept
        changes = compare_fingerprints(was["fingerprints"], now["fingerprints"], accept)
        changes += _differences(was["numbers"], now["numbers"])
        for change in changes:
            # To the user's call, above `fit` and the function that wraps it.
            warnings.warn(f"fit: {change}", CheckpointWarning, stacklevel=4)
        now["changes"] = was.get("changes", []) + [[saved.step, change] for change in changes]
        self._saved_step = saved.step
        like = metrics_like(segments, start)
        history = [_as_metrics(row, like, segments.setup.on_host) for row in was["history"]]
        measured = None if start.measured is None else saved.tree.state.params
        progress = saved.tree._replace(measured=measured)
        if _metric_of(was["numbers"]) != _metric_of(now["numbers"]):
            # The best value of another metric means nothing to this one.
            progress = progress._replace(best_loss=start.best_loss, stopping=start.stopping)
        return packed_state(progress, start), history

    def cut(self, begin: int, end: int) -> int:
        """``end``, or the first step after ``begin`` at which a save is due."""
        every = self._options.every_steps
        return end if every is None else min(end, (begin // every + 1) * every)

    def is_due(self, done: int) -> bool:
        """Whether it is time to save."""
        if self._store is None:
            return False
        if self._options.every_steps is not None:
            return done % self._options.every_steps == 0
        return time.monotonic() - self._saved_time >= self._options.every_seconds

    def save(self, progress: Progress, history: History) -> None:
        """Save, unless this step is saved already or the training has diverged.

        Raises:
            CheckpointError: if the checkpoint cannot be written and ``on_error`` is ``"raise"``.
        """
        step = int(progress.state.step)
        diverged = int(progress.outcome.code) == OutcomeCode.DIVERGED
        if self._store is None or step == self._saved_step or diverged:
            return
        rows = [{name: x.item() for name, x in row.items()} for row in history]
        loss = _rank(self._training, rows[-1]) if rows else None
        about = {**self._about, "history": rows}
        try:
            self._store.save(step, _as_saved(progress), loss=loss, about=about)
            self._saved_step = step
        except CheckpointError as error:
            if self._options.on_error == "raise":
                raise
            message = f"fit continues without a checkpoint: {error}"
            # To the user's call, above `_run`, `fit` and the function that wraps it.
            warnings.warn(message, CheckpointWarning, stacklevel=5)
        self._saved_time = time.monotonic()


@contextlib.contextmanager
def open_saver(
    options: Checkpointing | None,
    segments: Segments,
    start: Progress,
    compared: Mapping[str, Any],
) -> Iterator[Saver]:
    """The saver of a directory, which is locked until the end of the ``with``.

    ``compared`` are numbers to compare when the training is resumed.

    Raises:
        CheckpointError: if another run uses the directory, it holds other files, or it holds
            checkpoints and ``options.resume`` is ``"never"``.
    """
    if options is None:
        yield Saver()
        return
    about = _described(options, segments, start, compared)
    kept = {"keep_latest": options.keep_latest, "keep_best": options.keep_best}
    with CheckpointStore(options.directory, **kept) as store:
        latest = store.latest()
        if latest is not None and options.resume == "never":
            raise CheckpointError(
                f"fit: {os.fspath(options.directory)} holds checkpoints up to step {latest}: give "
                "`Checkpointing(..., resume='auto')` to resume from them, or another directory."
            )
        yield Saver(store, options, about, Training(segments.setup, *segments.given))


def optimizer_fingerprint(
    optimizer: optax.GradientTransformation, params_like: Params
) -> Fingerprint:
    """The fingerprint of the optimizer's ``update`` for these parameters, unpacked.

    Args:
        optimizer: any gradient transformation. It is offered the extra arguments of a training:
            ``value``, ``grad``, ``value_fn`` and ``weight``.
        params_like: the parameters, or their shapes and dtypes.
    """
    extended = checks.transformation("optimizer_fingerprint", "optimizer", optimizer)

    def update(params, grads, value, state):
        value_fn = lambda params: tree.sum(tree.squared(params))  # a stand-in for the loss
        extra = {"value": value, "grad": grads, "value_fn": value_fn, "weight": 1.0}
        return extended.update(grads, state, params, **extra)

    # Shapes and dtypes only: the placement of arrays is not part of a program.
    like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), params_like)
    value = jax.ShapeDtypeStruct((), tree.scalar_dtype(like))
    state = jax.eval_shape(lambda params: unpack(optimizer.init(params)), like)
    return fingerprint(update, like, like, value, state)


def task_fingerprint(task: Task, batch_like: Batch) -> Fingerprint:
    """The fingerprint of the task's loss, in training and in evaluation.

    Args:
        task: what is trained.
        batch_like: a batch, of which dtypes and shapes, except the number of rows, matter.
    """

    def losses(params: Params, model_state: PyTree, batch: Batch, key: Any) -> Any:
        return [
            losses_of(task, params, model_state, batch, key=key, train=train)
            for train in (True, False)
        ]

    key = jax.eval_shape(lambda: jax.random.key(0))
    rows = lambda x: jax.ShapeDtypeStruct((2, *x.shape[1:]), x.dtype)
    batch = jax.tree.map(rows, batch_like._replace(weights=None))
    return fingerprint(losses, *jax.eval_shape(task.init, key), batch, key)


def compare_fingerprints(
    saved: Mapping[str, Any], now: Mapping[str, Any], accept: Sequence[str] = ()
) -> list[str]:
    """The changes between two sets of fingerprints.

    Args:
        saved: fingerprints of the checkpoint, by the names ``"optimizer"``, ``"model"`` and
            ``"data"``. Names that only one of the two sets has are not compared.
        now: fingerprints of this training.
        accept: names that may differ.

    Returns:
        A sentence for each change that does not prevent resuming: of numbers, or of programs that
        another version of JAX traced.

    Raises:
        CheckpointMismatchError: if a program or the data has changed and is not accepted.
    """
    sentences = []
    for name in (name for name in NAMES if name in saved and name in now):
        was, new = saved[name], now[name]
        if isinstance(new, str):  # the data, of which there is only a digest
            was, new = ({"program": x, "digest": None, "jax": None} for x in (was, new))
        if was["program"] == new["program"]:
            if was["digest"] != new["digest"]:
                sentences.append(
                    f"the {name}'s constants differ from the checkpoint's: "
                    f"{_changes(was['numbers'], new['numbers'])}. The training continues with the "
                    f"{name} that was passed{CONSTANTS.get(name, '')}."
                )
        elif was["jax"] != new["jax"]:
            sentences.append(
                f"it is unknown whether the {name} is that of the checkpoint, because it was "
                f"traced by jax {was['jax']} then and is traced by jax {new['jax']} now."
            )
        elif name not in accept:
            raise CheckpointMismatchError(
                f"fit: the checkpoint belongs to another {NAMES[name]}: give `accept=({name!r},)` "
                f"to continue with this one, or use the {NAMES[name]} that it began with."
            )
    return sentences


def _described(
    options: Checkpointing, segments: Segments, start: Progress, compared: Mapping[str, Any]
) -> dict[str, Any]:
    """What is saved beside the state, to be compared when the training is resumed."""
    setup, digest = segments.setup, segments.digest()
    own = {
        "batch_size": setup.timetable.batch_size,
        "evaluate_every": setup.timetable.evaluate_every,
        **jax.tree.map(lambda x: np.asarray(x).tolist(), dict(compared)),
        **(options.config or {}),
    }
    return {
        "fingerprints": {
            "optimizer": optimizer_fingerprint(setup.optimizer, start.state.params),
            "model": task_fingerprint(setup.task, segments.like),
            **({} if digest is None else {"data": digest}),
        },
        "numbers": json.loads(json.dumps(own)),  # as they are restored: tuples become lists
    }


def _as_saved(progress: Progress) -> Progress:
    """``progress`` as it is saved, without what the next step overwrites before it is read."""
    return unpack(progress._replace(measured=None))


def _as_metrics(
    row: Mapping[str, Any], like: Mapping[str, Any], with_others: bool
) -> dict[str, Any]:
    """A saved evaluation with today's metrics: NaN, or a count of 0, for those that it lacks.

    ``with_others`` keeps the metrics that ``on_evaluation`` returned.
    """
    own = {
        name: np.asarray(row.get(name, 0 if name == "skipped" else np.nan), x.dtype)[()]
        for name, x in like.items()
    }
    others = row.keys() - like.keys() - {"skipped"} if with_others else ()
    dtype = jnp.result_type(float)
    return own | {name: np.asarray(row[name], dtype)[()] for name in row if name in others}


def _differences(saved: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """A sentence for each number that has changed."""
    changed = [name for name in {**saved, **now} if saved.get(name) != now.get(name)]
    return [
        "`key` is not that of the run, which keeps its own."
        if name == "key"
        else f"`{name}` was {saved.get(name)!r} before and is {now.get(name)!r} now."
        for name in changed
    ]


def _rank(training: Training, row: Mapping[str, Any]) -> float | None:
    """The number by which the store ranks a checkpoint, the lowest first, if ``row`` has it."""
    value = row.get(training.monitored)
    is_max = worst_of(training.early_stopping) < 0
    return -value if is_max and value is not None else value


def _metric_of(numbers: Mapping[str, Any]) -> list[Any]:
    """The metric that the rule of early stopping monitors, and its mode; [] by default."""
    return list(numbers.get("early_stopping") or ())[2:]


def _changes(was: Sequence[str], new: Sequence[str]) -> str:
    if len(was) == len(new):
        pairs = [f"{a} became {b}" for a, b in zip(was, new, strict=True) if a != b]
    else:
        gone = [f"{a} is no longer among them" for a in was if a not in new]
        pairs = gone + [f"{b} is new" for b in new if b not in was]
    more = f", and {len(pairs) - 10} more" if len(pairs) > 10 else ""
    return (", ".join(pairs[:10]) + more) or "their order has changed"
