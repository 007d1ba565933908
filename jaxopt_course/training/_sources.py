"""What a training in segments asks of its data: arrays or a stream, the loop sees no difference."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from jaxopt_course.core import compiled_for
from jaxopt_course.tasks import Batch

from ._early_stopping import EarlyStopping
from ._evaluate import validation
from ._feed import make_feed
from ._loop import Evaluated, Loop, Progress, hold, make_loop, release
from ._placement import Placement, place, under_placement
from ._state import OnDivergence, Rows, TrainState
from ._timetable import Timetable


History = list[dict[str, Any]]  # NumPy scalars, by name


class Piece(NamedTuple):
    """What a stretch of a training reported, on the host.

    losses: one a step.
    rows: the evaluations in it.
    ended: whether the stream had no more.
    """

    losses: Float[np.ndarray, "steps"]
    rows: History
    ended: bool = False


class Source(NamedTuple):
    """The data of a training, and what can be done with it.

    timetable: of the training on it.
    first: a batch, of which shapes and dtypes matter.
    digest: ``digest()``: tells the data apart from others; None if it cannot.
    start: ``start(key) -> progress``.
    advance: ``advance(progress, begin, end) -> (progress, piece)``: the steps from ``begin`` on,
        up to ``end`` or to the end of the training.
    evaluate: ``evaluate(progress, last=False) -> (progress, row)``: one more evaluation; the last
        one is of what ``finish`` leads to.
    finish: ``finish(progress) -> progress`` after the last step, with what was accumulated applied.
    replay: ``replay(progress, begin, step) -> (state, batch, rows)``: the steps of the last
        ``advance`` again, from its progress up to ``step``: the state and the batch before that,
        and which rows of the data these are, None if that is not known.
    batch_at: ``batch_at(key, step) -> batch`` of a step in the past. None: it is gone.
    """

    timetable: Timetable
    first: Batch
    digest: Callable[[], str | None]
    start: Callable[[Any], Progress]
    advance: Callable[[Progress, int, int], tuple[Progress, Piece]]
    evaluate: Callable[..., tuple[Progress, dict[str, Any]]]
    finish: Callable[[Progress], Progress]
    replay: Callable[
        [Progress, int, int], tuple[TrainState, Batch, Int[np.ndarray, "batch"] | None]
    ]
    batch_at: Callable[[Any, Any], Batch] | None


class Parts(NamedTuple):
    """What the programs are made for: equal parts are compiled once.

    task, optimizer: what is trained, and how.
    timetable: its static numbers.
    on_divergence: what becomes of steps that are not finite, as :func:`make_loop` takes it.
    evaluated: which parameters evaluations are of.
    placement: over which devices. None: on one.
    """

    task: Any
    optimizer: Any
    timetable: Timetable
    on_divergence: OnDivergence
    evaluated: Evaluated
    placement: Placement | None


MakeSource = Callable[[EarlyStopping | None, Parts], Source]

# Data, rows and the rule of early stopping are arguments of the programs: another `fit` of the
# same task and optimizer need not compile again.
compiled = functools.partial(compiled_for, "parts")


def loop_of(
    examples: Any, rows: Rows | None, rule: EarlyStopping | None, parts: Parts, *, trains: bool
) -> Loop:
    """The loop of a training that validates on some of ``rows``, or, without them, on none.

    ``trains`` says whether it trains on some of them too, so that past batches are at hand.
    """
    size = parts.timetable.batch_size
    validate = None if rows is None else validation(parts.task, examples, rows, size)
    options: dict[str, Any] = {
        "evaluated": parts.evaluated,
        "on_divergence": parts.on_divergence,
    }
    if trains and rows is not None:
        options["batch_at"] = make_feed(examples, rows, parts.timetable).batch_at
    loop = make_loop(parts.task, parts.optimizer, validate, rule, **options)
    return Loop(
        start=under_placement(parts.placement, loop.start),
        step=under_placement(parts.placement, loop.step),
        evaluate=under_placement(parts.placement, loop.evaluate),
        finish=under_placement(parts.placement, loop.finish),
    )


of_both = compiled_for("parts", "trains")


@of_both
def evaluate_program(
    examples: Any,
    rows: Any,
    rule: Any,
    progress: Progress,
    last: Any = False,
    *,
    parts: Parts,
    trains: bool,
) -> tuple[Progress, dict[str, Any]]:
    """One more evaluation."""
    loop = loop_of(examples, rows, rule, parts, trains=trains)
    progress, row = loop.evaluate(progress, jnp.asarray(last))
    return place(progress, parts.placement), row


@of_both
def finish_program(
    examples: Any, rows: Any, rule: Any, progress: Progress, *, parts: Parts, trains: bool
) -> Progress:
    """What a training leads to after its last step."""
    loop = loop_of(examples, rows, rule, parts, trains=trains)
    return place(release(loop.finish(hold(progress))), parts.placement)
