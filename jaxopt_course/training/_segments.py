"""The segments of `fit`: compiled programs of a training, and the data that they run on.

On arrays a segment is one program, evaluations included; its length is traced, so that one program
serves segments of every length. On a stream each batch is one call of the compiled step.

Data, rows and the rule of early stopping are arguments of the programs. Another `fit` of the same
task and optimizer therefore compiles nothing.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from jaxopt_course.checkpoints import data_fingerprint
from jaxopt_course.core import Params, canonical_convolutions, compiled_for
from jaxopt_course.tasks import Batch, targets_check

from ._arguments import make_timetable
from ._data import Batches, as_examples, as_rows, count_rows, rows_used
from ._early_stopping import EarlyStopping
from ._progress import Progress, hold, release
from ._sharding import check_divided, constrain, replicate, spread
from ._state import Rows, TrainState
from ._stream import Stream, StreamReader, is_stream, refuse_arrays, refuse_two_batches
from ._training import Setup, Training
from ._validation_stream import ValidationStream


History = list[dict[str, Any]]  # metrics of evaluations: NumPy scalars by name
Given = tuple[Any, Rows | None, EarlyStopping | None]  # examples, rows, early stopping


class ArraySegments:
    """A training on arrays, in segments."""

    def __init__(
        self,
        setup: Setup,
        examples: tuple[PyTree, PyTree],
        rows: Rows,
        early_stopping: EarlyStopping | None,
    ) -> None:
        used = rows_used(rows, count_rows("fit", examples))
        targets_check(setup.task, examples[0])("fit", examples[1], used)
        self.setup = setup
        self.given: Given = replicate((examples, rows, early_stopping), setup.placement)
        self.batches = Batches(self.given[0], self.given[1], setup.timetable)
        self.like = self.batches.like
        self.digest: Callable[[], str | None] = lambda: data_fingerprint((examples, rows))

    def start(self, key: Any) -> Progress:
        """The progress before the first step."""
        return _start(self.given, replicate(key, self.setup.placement), setup=self.setup)

    def advance(self, progress: Progress, end: int) -> tuple[Progress, np.ndarray, History, bool]:
        """The progress after step ``end``, or where the training ends before that.

        Returns:
            The progress, the losses of the steps, the evaluations, and whether the data ended.
        """
        begin = int(progress.state.step)
        progress, report = _advance(self.given, progress, np.int32(end), setup=self.setup)
        done, count, losses, written = jax.device_get(report)
        history = [{name: x[line] for name, x in written.items()} for line in range(count)]
        return progress, losses[np.arange(begin, done) % len(losses)], history, False

    def evaluate(self, progress: Progress, last: Any) -> tuple[Progress, dict[str, Any]]:
        """One more evaluation; the ``last`` one is of the finished parameters."""
        return evaluate_program(self.given, progress, last, setup=self.setup)

    def validated_like(self, progress: Progress) -> None:
        """Shapes and dtypes of what an evaluation is given by the driver: nothing."""

    def replay(self, progress: Progress, step: int) -> tuple[TrainState, Batch, np.ndarray | None]:
        """State, batch and rows of ``step``, which the last :meth:`advance` from here has taken."""
        state = self.advance(progress, step)[0].state
        table = self.batches.table(state.key, step)
        chosen = table.indices[step % self.setup.timetable.steps_per_epoch]
        return state, self.batches.batch(table, step), np.asarray(chosen)


class StreamSegments:
    """A training on a stream, in segments, with the methods of :class:`ArraySegments`.

    ``examples`` and ``rows``, or ``validation``, are to be validated on; the others are None.
    """

    def __init__(
        self,
        setup: Setup,
        reader: StreamReader,
        examples: tuple[PyTree, PyTree] | None,
        rows: Rows | None,
        early_stopping: EarlyStopping | None,
        validation: ValidationStream | None,
    ) -> None:
        self.setup, self.reader, self.like = setup, reader, reader.first
        self._validation = validation
        self.given: Given = replicate((examples, rows, early_stopping), setup.placement)
        self.digest: Callable[[], str | None] = lambda: None
        self._check = targets_check(setup.task, reader.first.inputs)
        self._check_batch(0, reader.first)  # before a loss is traced
        if examples is not None:
            self._check("fit: `validation`", examples[1])
        self._kept: list[Batch] = []

    def start(self, key: Any) -> Progress:
        """The progress before the first step."""
        setup = self.setup
        first = spread(self.reader.first, setup.placement)
        return _start(self.given, replicate(key, setup.placement), first, setup=setup)

    def advance(self, progress: Progress, end: int) -> tuple[Progress, np.ndarray, History, bool]:
        """The progress after step ``end``, or where training or stream end before that."""
        begin, timetable = int(progress.state.step), self.setup.timetable
        self.reader.seek(begin)
        losses, history = [], []
        self._kept.clear()
        progress = _hold(progress)
        for done in range(begin + 1, end + 1):
            if (drawn := self.reader.draw()) is None:
                break
            self._check_batch(done - 1, drawn)
            batch = spread(drawn, self.setup.placement)
            if self.setup.on_divergence == "raise":
                self._kept.append(batch)
            progress, loss = _step(self.given, progress, batch, setup=self.setup)
            losses.append(loss)
            if done == timetable.next_evaluation(done - 1):
                last = np.bool_(done == timetable.steps)
                progress, metrics = self.evaluate(progress, last)
                history.append(jax.device_get(metrics))  # the next step overwrites what it shares
                if not progress.running:
                    break
        ended = bool(progress.running) and len(losses) < end - begin
        return _release(progress), np.asarray(jax.device_get(losses)), history, ended

    def evaluate(self, progress: Progress, last: Any) -> tuple[Progress, dict[str, Any]]:
        """One more evaluation; a stream of validation batches is read in full."""
        setup, validated = self.setup, None
        if self._validation is not None:
            params, model_state = evaluated_program(self.given, progress, last, setup=setup)
            validated = self._validation.means(setup.task, params, model_state, setup.placement)
        return evaluate_program(self.given, progress, last, validated, setup=setup)

    def validated_like(self, progress: Progress) -> dict[str, Any] | None:
        """Shapes and dtypes of the means over the validation stream; None if there is none."""
        if self._validation is None:
            return None
        state = progress.state
        return self._validation.means_like(self.setup.task, state.params, state.model_state)

    def replay(self, progress: Progress, step: int) -> tuple[TrainState, Batch, None]:
        """State and batch of ``step``, which the last :meth:`advance` from here has taken."""
        begin = int(progress.state.step)
        progress = _hold(progress)
        for batch in self._kept[: step - begin]:
            progress, _ = _step(self.given, progress, batch, setup=self.setup)
        return _release(progress).state, self._kept[step - begin], None

    def _check_batch(self, number: int, batch: Batch) -> None:
        counted = None if batch.weights is None else np.asarray(batch.weights) > 0
        self._check(f"fit: batch {number} of the stream", batch.targets, counted)


Segments = ArraySegments | StreamSegments


def open_segments(
    setup: Setup,
    data: Any,
    rows: Rows | None,
    batch_size: int | None,
    early_stopping: EarlyStopping | None,
    lengths: dict[str, int | None],
) -> Segments:
    """The training on ``data``, arrays or a stream, with its timetable."""
    if not is_stream("fit", data):
        if batch_size is None:
            raise TypeError("fit: of arrays `batch_size` must be an integer, got None.")
        examples: Any = as_examples("fit", data)
        rows = as_rows("fit", rows, count_rows("fit", examples))
        timetable = make_timetable("fit", len(rows.train), batch_size=batch_size, **lengths)
        check_divided("fit", "the batch size", timetable.batch_size, setup.placement)
        return ArraySegments(setup._replace(timetable=timetable), examples, rows, early_stopping)
    if rows is not None:
        raise ValueError(
            "fit: `rows` are of arrays; validate a stream by `Stream(validation=...)`."
        )
    stream = data if isinstance(data, Stream) else Stream(data)
    refuse_arrays(stream)
    reader = StreamReader(stream.batches, batch_size)
    examples = validation = None
    no_rows: Any = None  # all batches come from the stream
    if stream.validation is not None and is_stream("fit: `validation`", stream.validation):
        check = targets_check(setup.task, reader.first.inputs)
        validation = ValidationStream(stream.validation, batch_size, check, setup.placement)
    elif stream.validation is not None:
        refuse_two_batches(stream.validation, reader.first)
        examples = as_examples("fit", stream.validation)
        everything = jnp.arange(count_rows("fit", examples), dtype=jnp.int32)
        rows = Rows(no_rows, None, everything)
    timetable = reader.timetable(**lengths)
    shared = jax.process_count() * timetable.batch_size  # each process has its part of a batch
    check_divided("fit", "the batch size", shared, setup.placement)
    setup = setup._replace(timetable=timetable, validates_stream=validation is not None)
    return StreamSegments(setup, reader, examples, rows, early_stopping, validation)


def metrics_like(segments: Segments, progress: Progress) -> dict[str, Any]:
    """Shapes and dtypes of the metrics of an evaluation."""
    program = functools.partial(evaluate_program, segments.given, setup=segments.setup)
    return jax.eval_shape(program, progress, True, segments.validated_like(progress))[1]


@compiled_for("setup")
def evaluate_program(
    given: Given, progress: Progress, last: Any, validated: Any = None, *, setup: Setup
) -> tuple[Progress, dict[str, Any]]:
    """One more evaluation; the ``last`` one is of the finished parameters."""
    progress, metrics = Training(setup, *given).evaluate(progress, jnp.asarray(last), validated)
    return constrain(progress, setup.placement), metrics


@compiled_for("setup")
def evaluated_program(
    given: Given, progress: Progress, last: Any, *, setup: Setup
) -> tuple[Params, PyTree]:
    """The parameters that :func:`evaluate_program` evaluates, and their model state."""
    point = Training(setup, *given).evaluated(progress, jnp.asarray(last))
    return constrain(point, setup.placement)


@compiled_for("setup")
def settle_program(
    given: Given, progress: Progress, point: Any, metric: Any, stops: Any, *, setup: Setup
) -> Progress:
    """The progress after the host has looked at an evaluation; see :meth:`Training.settle`."""
    settled = Training(setup, *given).settle(progress, point, metric, stops)
    return constrain(settled, setup.placement)


@compiled_for("setup")
def finish_program(given: Given, progress: Progress, *, setup: Setup) -> Progress:
    """The progress after the last step, with accumulated gradients applied."""
    finished = Training(setup, *given).finish(hold(progress))
    return constrain(release(finished), setup.placement)


@compiled_for("setup")
def _start(given: Given, key: Any, like: Batch | None = None, *, setup: Setup) -> Progress:
    return constrain(Training(setup, *given).start(key, like), setup.placement)


@compiled_for("setup")
def _advance(
    given: Given, progress: Progress, end: Array, *, setup: Setup
) -> tuple[Progress, tuple[Array, Array, Array, dict[str, Array]]]:
    """Progress after step ``end``; number of steps, number of evaluations, losses, metrics."""
    training, timetable = Training(setup, *given), setup.timetable
    like = jax.eval_shape(lambda progress: training.evaluate(progress, False), progress)[1]
    lines = timetable.longest_segment // timetable.evaluate_every + 1

    def evaluate(progress: Progress, line: Array, written: dict[str, Array]) -> Any:
        last = progress.state.step == timetable.steps
        progress, metrics = training.evaluate(progress, last)
        added = {name: written[name].at[line].set(value) for name, value in metrics.items()}
        return constrain(progress, setup.placement), line + 1, added

    def interval(carry: Any) -> Any:
        done, line, held, written = carry
        due = timetable.next_evaluation(done)
        stop = jnp.minimum(due, end)
        held = training.steps(held, stop)
        progress, line, written = jax.lax.cond(
            stop == due, evaluate, lambda *same: same, held.progress, line, written
        )
        return stop, line, held._replace(progress=progress), written

    going = lambda carry: (carry[0] < end) & carry[2].progress.running
    losses: Float[Array, "steps"] = jnp.zeros(timetable.longest_segment, progress.best_loss.dtype)
    carry = (
        progress.state.step,
        jnp.zeros((), jnp.int32),
        training.hold(progress)._replace(losses=losses),
        {name: jnp.zeros((lines, *x.shape), x.dtype) for name, x in like.items()},
    )
    run = canonical_convolutions(lambda carry: jax.lax.while_loop(going, interval, carry))
    done, line, held, written = run(carry)
    return release(held.progress), (done, line, held.losses, written)


@compiled_for("setup", donate_argnames=("progress",))
def _step(
    given: Given, progress: Progress, batch: Batch, *, setup: Setup
) -> tuple[Progress, Float[Array, ""]]:
    # A step may have loops of its own, for example those of a line search.
    step = canonical_convolutions(Training(setup, *given).step)
    progress, loss = step(progress, batch)
    return constrain(progress, setup.placement), loss


_release = jax.jit(release)


@jax.jit
def _hold(progress: Progress) -> Progress:
    """A copy of ``progress`` for steps that donate it: the original is still needed."""
    return jax.tree.map(jnp.copy, hold(progress))
