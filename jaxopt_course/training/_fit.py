"""A training as a loop on the host: the same step, compiled in segments, with pauses in between.

The parameters are, bit for bit, those of the whole training in one program.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from jaxopt_course.core import check_integer
from jaxopt_course.tasks import Task

from ._early_stopping import EarlyStopping, check_early_stopping
from ._loop import Progress, frozen_row, make_loop, make_plan, unless_ended
from ._rows import as_examples, as_rows, count_rows
from ._state import Rows, Run


__all__ = ["Record", "fit"]


class Record(NamedTuple):
    """What callbacks are told after each segment.

    step: how many steps have been taken.
    epoch: how many of them epochs, whole ones.
    losses: of the batches of this segment, one a step.
    metrics: the history of the evaluations in this segment, by name; empty if there were none.
    """

    step: int
    epoch: int
    losses: Float[np.ndarray, "steps"]
    metrics: dict[str, np.ndarray]


def fit(
    task: Task,
    optimizer: optax.GradientTransformation,
    data: Any,
    *,
    key: Any,
    epochs: int | None = None,
    steps: int | None = None,
    batch_size: int,
    rows: Rows | None = None,
    evaluate_every: int | None = None,
    early_stopping: EarlyStopping | None = None,
    segment: int | None = None,
    callbacks: Sequence[Callable[[Record], Any]] = (),
) -> Run:
    """Train in segments, and report after each.

    Args:
        task: what is trained.
        optimizer: any gradient transformation.
        data: a pair (inputs, targets), or anything with these attributes, of all rows.
        key: for all randomness.
        epochs: how often to see every training row, in [1, inf); or else
        steps: how many batches to see, in [1, inf).
        batch_size: in [1, training rows].
        rows: which rows train and which validate. None: all train.
        evaluate_every: steps from one evaluation to the next, in [1, inf). None: one epoch.
        early_stopping: when to end before that. None: never.
        segment: steps from one report to the next, in [1, inf); it changes no result. None: as
            many as from one evaluation to the next.
        callbacks: functions of a :class:`Record`, called in turn.

    Returns:
        The run, as :func:`make_train` would give it.

    Raises:
        ValueError: if a number is out of range or there is no example.
    """
    check_early_stopping("fit", early_stopping)
    examples = as_examples("fit", data)
    used = as_rows("fit", rows, count_rows("fit", examples))
    plan = make_plan(
        "fit",
        used.train.shape[0],
        epochs=epochs,
        steps=steps,
        batch_size=batch_size,
        evaluate_every=evaluate_every,
    )
    segment = plan.evaluate_every if segment is None else segment
    check_integer("fit", "segment", segment, "[1, inf)")

    parts = {"task": task, "optimizer": optimizer, "plan": plan}
    given = (examples, used, early_stopping)
    progress, done = _start(*given, key, **parts), 0
    history: list[dict[str, Array]] = []
    while done < plan.steps:
        begin, pieces, earlier = done, [], len(history)
        while done < min(begin + segment, plan.steps):
            due = min((done // plan.evaluate_every + 1) * plan.evaluate_every, plan.steps)
            end = min(begin + segment, due)
            progress, losses = _advance(*given, progress, np.int32(done), np.int32(end), **parts)
            pieces.append(losses[: end - done])
            done = end
            if done == due:
                progress, row = _evaluate(*given, progress, **parts)
                history.append(row)
        if callbacks:
            record = _record(progress, begin, pieces, history[earlier:], plan.steps_per_epoch)
            for callback in callbacks:
                callback(record)
        if not progress.running:
            break
    evaluations = -(-plan.steps // plan.evaluate_every)
    history += [frozen_row(progress, history[-1])] * (evaluations - len(history))
    return Run(
        state=progress.state,
        best_params=progress.best_params,
        best_model_state=progress.best_model_state,
        history=jax.tree.map(lambda *values: jnp.stack(values), *history),
        outcome=progress.outcome,
    )


# The three programs of a task. Data, rows and the rule of early stopping are arguments: another
# `fit` of the same task and optimizer need not compile again.
_compiled = functools.partial(jax.jit, static_argnames=("task", "optimizer", "plan"))


@_compiled
def _start(examples: Any, used: Rows, rule: Any, key: Any, **parts: Any) -> Progress:
    return make_loop(examples=examples, rows=used, early_stopping=rule, **parts).start(key)


@_compiled
def _advance(
    examples: Any, used: Rows, rule: Any, progress: Progress, begin: Any, end: Any, **parts: Any
) -> tuple[Progress, Array]:
    """The steps from ``begin`` to ``end``, and their losses at the front of a buffer."""
    loop = make_loop(examples=examples, rows=used, early_stopping=rule, **parts)

    def body(index: Array, carry: tuple[Progress, Array]) -> tuple[Progress, Array]:
        progress, losses = carry
        progress, loss = loop.step(progress, index)
        return progress, losses.at[index - begin].set(loss)

    # The bounds are traced: one program serves segments of every length.
    end = jnp.where(progress.running, end, begin)
    losses = jnp.zeros(parts["plan"].evaluate_every, progress.best_loss.dtype)
    return jax.lax.fori_loop(begin, end, body, (progress, losses))


@_compiled
def _evaluate(examples: Any, used: Rows, rule: Any, progress: Progress, **parts: Any) -> Any:
    loop = make_loop(examples=examples, rows=used, early_stopping=rule, **parts)
    return unless_ended(loop, loop.evaluate, progress)


def _record(
    progress: Progress, begin: int, pieces: list[Array], history: list[Any], per_epoch: int
) -> Record:
    """The report on the steps from ``begin`` on; none of what came after the end."""
    step = int(progress.state.step)
    metrics: dict[str, np.ndarray] = {}
    if history:
        table = jax.tree.map(lambda *values: np.stack(values), *history)
        taken = np.diff(table["step"], prepend=begin) > 0
        metrics = {name: values[taken] for name, values in table.items()}
    losses = np.concatenate([np.asarray(piece) for piece in pieces])[: step - begin]
    return Record(step=step, epoch=step // per_epoch, losses=losses, metrics=metrics)
