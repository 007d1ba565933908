"""The state of a training between two steps, and how steps and evaluations change it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree

from jaxopt_course.core import Params, tree
from jaxopt_course.tasks import Batch
from jaxopt_course.transforms import packed_params, unpack

from ._early_stopping import EarlyStopping, EarlyStoppingState
from ._state import Outcome, OutcomeCode, Run, TrainState
from ._step import batch_weight


class Progress(NamedTuple):
    """A training between two steps.

    state: state that the next step needs.
    measured: parameters at which the last loss that counts was computed, before its step. None if
        a metric of the evaluated parameters decides which parameters are best.
    totals: weighted sums of loss and metrics over the examples since the last evaluation, by name.
    weight: total weight of these examples.
    best_loss: best value so far of the metric that :class:`EarlyStopping` monitors, by default the
        lowest loss; infinite before the first evaluation.
    best_params: parameters with that value.
    best_model_state: the model state that belongs to them.
    stopping: state of early stopping, or None.
    skipped: number of steps that were skipped because they were not finite.
    outcome: ``COMPLETED`` until something else happens.
    running: False after the evaluation that ended the training; nothing changes any more.
    """

    state: TrainState
    measured: Params | None
    totals: dict[str, Float[Array, ""]]
    weight: Float[Array, ""]
    best_loss: Float[Array, ""]
    best_params: Params
    best_model_state: PyTree
    stopping: EarlyStoppingState | None
    skipped: Int[Array, ""]
    outcome: Outcome
    running: Bool[Array, ""]


def hold(progress: Progress) -> Progress:
    """``progress`` with its parameters in the layout of the optimizer: packed ones stay packed."""
    return with_params(progress, lambda params: packed_params(progress.state.opt_state, params))


def release(progress: Progress) -> Progress:
    """``progress`` with its parameters in the layout of the task: the reverse of :func:`hold`."""
    return with_params(progress, unpack)


def frozen_metrics(progress: Progress, like: Any) -> dict[str, Any]:
    """The metrics of an evaluation after the end of a training, shaped like ``like``."""
    counts = {"step": progress.state.step, "skipped": progress.skipped}
    config: Any = jax.config
    fill = np.inf if config.jax_debug_nans else np.nan  # that flag allows no NaN at all
    filled: Callable[[Any], Any] = lambda x: np.full(x.shape, fill, np.float32)
    return {name: counts.get(name, filled(x)).astype(x.dtype) for name, x in like.items()}


def run_of(progress: Progress, history: dict[str, Array], outcome: Outcome) -> Run:
    """The result of a training that ends with ``progress``."""
    best = progress.best_params, progress.best_model_state
    return Run(progress.state, *best, history, outcome)


def with_params(progress: Progress, change: Callable[[Params], Params]) -> Progress:
    return progress._replace(
        state=progress.state._replace(params=change(progress.state.params)),
        measured=None if progress.measured is None else change(progress.measured),
        best_params=change(progress.best_params),
    )


def counted(progress: Progress, means: dict[str, Array], batch: Batch) -> Progress:
    """``progress`` with one more batch in its totals."""
    weight = batch_weight(batch).astype(progress.weight.dtype)
    totals = {
        name: total + means[name] * weight.astype(total.dtype)
        for name, total in progress.totals.items()
    }
    return progress._replace(totals=totals, weight=progress.weight + weight)


def skipped(progress: Progress) -> Progress:
    """``progress`` after a step that was skipped."""
    state = progress.state._replace(step=progress.state.step + 1)
    return progress._replace(state=state, skipped=progress.skipped + 1)


def judged(
    progress: Progress,
    params: Params,
    loss: Array,
    metric: Array | None,
    lost: Array,
    rule: EarlyStopping | None,
) -> Progress:
    """``progress`` after an evaluation: what is best, whether it continues, and empty totals.

    A validation evaluated ``params``. ``loss`` is the loss of the evaluation. ``metric`` decides
    what is best; None leaves that to :func:`compared`. ``lost`` says whether parameters or states
    are not finite.
    """
    state = progress.state
    params = params if progress.measured is None else progress.measured
    spoiled = tree.loses_finiteness(progress.best_params, params)
    unsound = spoiled if metric is loss else spoiled | ~jnp.isfinite(loss)
    loss = jnp.where(spoiled, jnp.nan, loss)
    lost |= ~jnp.isfinite(loss) & (progress.weight > 0)  # the mean over no example is NaN
    progress = progress._replace(
        totals=zeros_like(progress.totals),
        weight=jnp.zeros_like(progress.weight),
        outcome=unless_ended(progress.outcome, lost, OutcomeCode.DIVERGED, state.step),
    )
    if metric is None:
        return ended_or_not(progress)
    metric = jnp.where(unsound, jnp.nan, metric)
    return compared(progress, params, state.model_state, metric, rule)


def compared(
    progress: Progress,
    params: Params,
    model_state: PyTree,
    metric: Array,
    rule: EarlyStopping | None,
) -> Progress:
    """``progress`` with these parameters if ``metric`` is the best, or stopped by the rule."""
    metric = metric.astype(progress.best_loss.dtype)
    is_max = rule is not None and rule.mode == "max"
    better = jnp.greater if is_max else jnp.less
    improves = better(metric, progress.best_loss)  # False for NaN
    best_loss, best_params, best_model_state = where(
        improves,
        (metric, params, model_state),
        (progress.best_loss, progress.best_params, progress.best_model_state),
    )
    outcome, stopping = progress.outcome, progress.stopping
    if rule is not None and stopping is not None:
        stopping = rule.update(stopping, metric)
        stops, step = stopping.should_stop, progress.state.step
        outcome = unless_ended(outcome, stops, OutcomeCode.STOPPED_EARLY, step)
    return ended_or_not(
        progress._replace(
            best_loss=best_loss,
            best_params=best_params,
            best_model_state=best_model_state,
            stopping=stopping,
            outcome=outcome,
        )
    )


def ended_or_not(progress: Progress) -> Progress:
    """``progress``, which stops running if its outcome says that it has ended."""
    outcome = progress.outcome
    running = outcome.code == code_of(OutcomeCode.COMPLETED)
    step = jnp.where(running, progress.state.step, outcome.step)
    return progress._replace(outcome=Outcome(outcome.code, step), running=running)


def unless_ended(outcome: Outcome, happens: Any, code: OutcomeCode, step: Any) -> Outcome:
    """``outcome``, or ``code`` at ``step`` if that happens first."""
    new = happens & (outcome.code == code_of(OutcomeCode.COMPLETED))
    return Outcome(jnp.where(new, code_of(code), outcome.code), jnp.where(new, step, outcome.step))


def code_of(code: OutcomeCode) -> Array:
    return jnp.asarray(int(code), jnp.int32)


def zeros_like(tree: Any) -> Any:
    return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), tree)


def where(condition: Array, new: Any, old: Any) -> Any:
    return jax.tree.map(lambda x, y: jnp.where(condition, x, y), new, old)
