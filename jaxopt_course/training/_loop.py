"""What a whole training and one in segments have in common: start, step, evaluation.

Everything between two steps is carried in one :class:`Progress`, so that it makes no difference
where a training is cut.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, PyTree

from jaxopt_course.core import Params, check_integer
from jaxopt_course.data import BatchTable, epoch_batches
from jaxopt_course.tasks import Batch, Task

from ._early_stopping import EarlyStopping, EarlyStoppingState
from ._evaluate import mean_over_rows
from ._rows import take_rows
from ._state import Outcome, OutcomeCode, Rows, TrainState
from ._step import batch_means, init_state, make_step


__all__ = ["Loop", "Plan", "Progress", "frozen_row", "make_loop", "make_plan", "unless_ended"]

# Step numbers are below 2^31, so this one is free for the second use of the run's key.
_DATA_STREAM = 2**32 - 1


class Plan(NamedTuple):
    """The static numbers of a training.

    steps: in all.
    steps_per_epoch: the last, ragged one included.
    evaluate_every: steps from one evaluation to the next; there is one more at the end.
    batch_size: rows a batch.
    """

    steps: int
    steps_per_epoch: int
    evaluate_every: int
    batch_size: int


class Progress(NamedTuple):
    """A training between two steps.

    state: what the next step needs.
    table: the batches of this epoch.
    totals: sums of loss and metrics over the examples since the last evaluation, by name.
    weight: the weight of those examples.
    best_loss: the lowest so far; infinite before the first evaluation.
    best_params: the parameters of that evaluation.
    best_model_state: and its model state.
    stopping: the state of early stopping, or None.
    outcome: ``COMPLETED`` as long as nothing else has been seen.
    running: False after the evaluation that ended the training: nothing changes any more.
    """

    state: TrainState
    table: BatchTable
    totals: dict[str, Float[Array, ""]]
    weight: Float[Array, ""]
    best_loss: Float[Array, ""]
    best_params: Params
    best_model_state: PyTree
    stopping: EarlyStoppingState | None
    outcome: Outcome
    running: Bool[Array, ""]


class Loop(NamedTuple):
    """The parts of a training.

    start: ``start(key) -> progress``.
    step: ``step(progress, index) -> (progress, loss)``, where ``index`` counts steps from 0. It is
        handed in, though the state has it too: under ``vmap`` a loop's counter stays one number,
        and the order of an epoch is drawn once an epoch, not in every step.
    evaluate: ``evaluate(progress) -> (progress, row)``: one row of the history.
    """

    start: Callable[..., Progress]
    step: Callable[..., tuple[Progress, Array]]
    evaluate: Callable[..., tuple[Progress, dict[str, Array]]]


def make_plan(
    owner: str,
    n: int,
    *,
    epochs: int | None,
    steps: int | None,
    batch_size: int,
    evaluate_every: int | None,
) -> Plan:
    """The plan of a training on ``n`` rows, its numbers checked."""
    if (epochs is None) == (steps is None):
        raise ValueError(f"{owner}: give exactly one of `epochs` and `steps`.")
    check_integer(owner, "batch_size", batch_size, "[1, inf)")
    if batch_size > n:
        raise ValueError(
            f"{owner}: `batch_size` must lie in [1, {n}], for there are {n} training rows, "
            f"got {batch_size}."
        )
    steps_per_epoch = -(-n // batch_size)
    if epochs is not None:
        check_integer(owner, "epochs", epochs, "[1, inf)")
        steps = epochs * steps_per_epoch
    check_integer(owner, "steps", steps, "[1, inf)")
    if evaluate_every is None:
        evaluate_every = steps_per_epoch
    check_integer(owner, "evaluate_every", evaluate_every, "[1, inf)")
    return Plan(int(steps or 0), steps_per_epoch, int(evaluate_every), int(batch_size))


def make_loop(
    task: Task,
    optimizer: optax.GradientTransformation,
    examples: tuple[PyTree, PyTree],
    rows: Rows,
    plan: Plan,
    early_stopping: EarlyStopping | None,
) -> Loop:
    """The parts of a training of ``task`` on ``rows`` of ``examples``."""
    train_step = make_step(task, optimizer)
    n = rows.train.shape[0]
    counted = jnp.ones(n, jnp.result_type(float)) if rows.weights is None else rows.weights
    all_count = rows.weights is None and n % plan.batch_size == 0

    def draw_table(state: TrainState, epoch: Any) -> BatchTable:
        key = jax.random.fold_in(state.key, _DATA_STREAM)
        return epoch_batches(key, epoch, rows.train, counted, plan.batch_size)

    def take_batch(table: BatchTable, position: Any) -> Batch:
        inputs, targets = take_rows(examples, table.indices[position])
        return Batch(inputs, targets, None if all_count else table.weights[position])

    def start(key: Any) -> Progress:
        state = init_state(task, optimizer, key)
        table = _zeros(jax.eval_shape(draw_table, state, 0))
        totals = _zeros(jax.eval_shape(_first_means, state, take_batch(table, 0)))
        zero = jnp.zeros_like(totals["loss"])
        return Progress(
            state=state,
            table=table,
            totals=totals,
            weight=zero,
            best_loss=zero + jnp.asarray(jnp.inf, zero.dtype),
            best_params=state.params,
            best_model_state=state.model_state,
            stopping=None if early_stopping is None else early_stopping.init(),
            outcome=Outcome(_code(OutcomeCode.COMPLETED), jnp.zeros((), jnp.int32)),
            running=jnp.array(True),
        )

    def _first_means(state: TrainState, batch: Batch) -> dict[str, Array]:
        return batch_means(task, state.params, state.model_state, batch, key=state.key, train=True)[
            0
        ]

    def step(progress: Progress, index: Any) -> tuple[Progress, Array]:
        epoch, position = index // plan.steps_per_epoch, index % plan.steps_per_epoch
        table = jax.lax.cond(
            position == 0, lambda: draw_table(progress.state, epoch), lambda: progress.table
        )
        batch = take_batch(table, position)
        state, means = train_step(progress.state, batch)
        loss = means["loss"]
        rows_seen = plan.batch_size if batch.weights is None else jnp.sum(batch.weights)
        weight = jnp.asarray(rows_seen, loss.dtype)
        totals = {
            name: total + means[name] * weight.astype(total.dtype)
            for name, total in progress.totals.items()
        }
        progress = progress._replace(
            state=state,
            table=table,
            totals=totals,
            weight=progress.weight + weight,
            outcome=_unless_ended(
                progress.outcome, ~jnp.isfinite(loss), OutcomeCode.DIVERGED, progress.state.step
            ),
        )
        return progress, loss

    def evaluate(progress: Progress) -> tuple[Progress, dict[str, Array]]:
        state = progress.state
        row = {
            name: total / progress.weight.astype(total.dtype)
            for name, total in progress.totals.items()
        }
        loss = row["loss"]
        if rows.validation is not None:
            validated = mean_over_rows(
                task,
                state.params,
                state.model_state,
                examples,
                rows.validation,
                rows.validation_weights,
                plan.batch_size,
            )
            row |= {f"validation_{name}": value for name, value in validated.items()}
            loss = validated["loss"].astype(loss.dtype)
        improves = loss < progress.best_loss  # False for NaN
        best_loss, best_params, best_model_state = jax.tree.map(
            lambda new, old: jnp.where(improves, new, old),
            (loss, state.params, state.model_state),
            (progress.best_loss, progress.best_params, progress.best_model_state),
        )
        outcome = _unless_ended(
            progress.outcome, ~jnp.isfinite(loss), OutcomeCode.DIVERGED, state.step
        )
        stopping = None
        if early_stopping is not None and progress.stopping is not None:
            stopping = early_stopping.update(progress.stopping, loss)
            outcome = _unless_ended(
                outcome, stopping.should_stop, OutcomeCode.STOPPED_EARLY, state.step
            )
        running = outcome.code == _code(OutcomeCode.COMPLETED)
        progress = progress._replace(
            totals=_zeros(progress.totals),
            weight=jnp.zeros_like(progress.weight),
            best_loss=best_loss,
            best_params=best_params,
            best_model_state=best_model_state,
            stopping=stopping,
            outcome=Outcome(outcome.code, jnp.where(running, state.step, outcome.step)),
            running=running,
        )
        return progress, {"step": state.step, **row}

    return Loop(start, step, evaluate)


def unless_ended(
    loop: Loop,
    run: Callable[..., tuple[Progress, dict[str, Array]]],
    progress: Progress,
    *operands: Any,
) -> tuple[Progress, dict[str, Array]]:
    """``run(progress, *operands)``, or nothing and a row of NaN where the training has ended."""
    row = jax.eval_shape(loop.evaluate, progress)[1]
    return jax.lax.cond(
        progress.running, run, lambda p, *_: (p, frozen_row(p, row)), progress, *operands
    )


def frozen_row(progress: Progress, row: Any) -> dict[str, Array]:
    """The row of an evaluation after the end of a training, in the form of ``row``."""
    values = {k: jnp.full(x.shape, jnp.nan, x.dtype) for k, x in row.items() if k != "step"}
    return values | {"step": progress.state.step}


def _unless_ended(outcome: Outcome, happens: Any, code: OutcomeCode, step: Any) -> Outcome:
    """``outcome``, or ``code`` at ``step`` if that happens first."""
    new = happens & (outcome.code == _code(OutcomeCode.COMPLETED))
    return Outcome(jnp.where(new, _code(code), outcome.code), jnp.where(new, step, outcome.step))


def _code(code: OutcomeCode) -> Array:
    return jnp.asarray(int(code), jnp.int32)


def _zeros(tree: Any) -> Any:
    return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), tree)
