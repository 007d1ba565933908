"""What a whole training and one in segments have in common: start, step, evaluation.

Everything between two steps is carried in one :class:`Progress`, so that it makes no difference
where a training is cut.
"""

import functools
import warnings
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PyTree

from jaxopt_course.core import Params, is_pending
from jaxopt_course.tasks import Batch, Task
from jaxopt_course.transforms import (
    apply_accumulated,
    evaluation_params,
    packed_params,
    packed_state,
    unpack,
)

from ._early_stopping import EarlyStopping, EarlyStoppingState
from ._judgement import Finding, is_lost, judge, loses_finiteness
from ._state import OnDivergence, Outcome, OutcomeCode, TrainState
from ._step import batch_means, batch_weight, init_state, step_function, value_fn_after


Evaluated = Literal["averaged", "raw"]  # which parameters


class Progress(NamedTuple):
    """A training between two steps.

    state: what the next step needs.
    measured: where the last loss that counts was computed, which is before its step; None where
        the loss of the validation decides what is best.
    totals: sums of loss and metrics over the examples since the last evaluation, by name.
    weight: the weight of those examples.
    best_loss: the lowest so far; infinite before the first evaluation.
    best_params: the parameters at which it was computed: those of the evaluation, or ``measured``.
    best_model_state: and its model state.
    stopping: the state of early stopping, or None.
    skipped: steps without effect, for their loss or what they led to was not finite.
    outcome: ``COMPLETED`` as long as nothing else has been seen.
    running: False after the evaluation that ended the training: nothing changes any more.
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


class Loop(NamedTuple):
    """The parts of a training.

    start: ``start(key, batch) -> progress``; of the batch only shapes and dtypes matter.
    step: ``step(progress, batch) -> (progress, loss)``.
    evaluate: ``evaluate(progress, last=False) -> (progress, row)``: one row of the history. The
        last one is of the parameters that ``finish`` leads to, though the state stays as it is,
        so that a training that is resumed with more steps has the bits of one that was not cut.
    finish: ``finish(progress, when=True) -> progress`` after the last step: gradients that are
        still accumulated are applied.
    """

    start: Callable[..., Progress]
    step: Callable[..., tuple[Progress, Array]]
    evaluate: Callable[..., tuple[Progress, dict[str, Array]]]
    finish: Callable[..., Progress]


def make_loop(
    task: Task,
    optimizer: optax.GradientTransformation,
    validate: Callable[[Params, PyTree], dict[str, Array]] | None,
    early_stopping: EarlyStopping | None,
    *,
    evaluated: Evaluated,
    on_divergence: OnDivergence = "stop",
    batch_at: Callable[[Any, Array], Batch] | None = None,
) -> Loop:
    """The parts of a training of ``task``.

    Args:
        task: what is trained.
        optimizer: any gradient transformation.
        validate: the means of loss and metrics, of parameters and model state. None: the loss of
            the training itself decides what is best.
        early_stopping: when to end before the last step.
        evaluated: ``"averaged"``: evaluations are of the averages that the optimizer defines, if
            it does (:func:`~jaxopt_course.transforms.evaluation_params`), and the best of these are
            kept; ``"raw"``: of the parameters that are trained.
        on_divergence: "stop" looks at the loss of every step, and at parameters and states in
            every evaluation. The others judge every step as a whole: with "raise" the outcome
            says at which step something was not finite first, with "skip" such a step leaves
            parameters, model state and the optimizer's state as they were and counts as skipped.
        batch_at: ``batch_at(key, step) -> batch``, of a step in the past. None: it is gone.
    """
    # Of skipped steps, no accumulation has a trace.
    recent = None if on_divergence == "skip" else batch_at
    train_step = step_function(task, optimizer, recent)

    def averaged(state: TrainState) -> Params:
        if evaluated == "raw":
            return state.params
        return evaluation_params(state.opt_state, state.params)

    def start(key: Any, batch: Batch) -> Progress:
        state = init_state(task, optimizer, key)
        means_of = functools.partial(batch_means, task, key=state.key, train=True)
        totals = _zeros(jax.eval_shape(means_of, state.params, state.model_state, batch)[0])
        zero = jnp.zeros_like(totals["loss"])
        return Progress(
            state=state,
            measured=state.params if validate is None else None,
            totals=totals,
            weight=zero,
            best_loss=zero + jnp.asarray(jnp.inf, zero.dtype),
            best_params=state.params,
            best_model_state=state.model_state,
            stopping=None if early_stopping is None else early_stopping.init(),
            skipped=jnp.zeros((), jnp.int32),
            outcome=Outcome(_code(OutcomeCode.COMPLETED), jnp.zeros((), jnp.int32)),
            running=jnp.array(True),
        )

    def step(progress: Progress, batch: Batch) -> tuple[Progress, Array]:
        before = progress.state
        taken = train_step(before, batch)
        loss = taken.means["loss"]
        after = _counted(progress._replace(state=taken.state), taken.means, batch)
        if validate is None:
            average = averaged(before)
            point = taken.point if average is before.params else average
            after = after._replace(measured=point)
        if on_divergence == "skip":
            is_finite = judge(before, taken, strict=True) == int(Finding.FINITE)
            return _where(is_finite, after, _skipped(progress)), loss
        lost = ~jnp.isfinite(loss)
        if on_divergence == "raise":
            lost = judge(before, taken, strict=False) != int(Finding.FINITE)
        outcome = _unless_ended(progress.outcome, lost, OutcomeCode.DIVERGED, before.step)
        return after._replace(outcome=outcome), loss

    def finish(progress: Progress, when: Any = True) -> Progress:
        state = progress.state
        if is_pending(state.opt_state) is None:
            return progress

        def finished() -> tuple[Params, Any]:
            value_fn = value_fn_after(task, state, recent)
            params, opt_state = apply_accumulated(
                optimizer, state.opt_state, state.params, value_fn=value_fn
            )
            if on_divergence == "skip":
                lost = is_lost(state, state._replace(params=params, opt_state=opt_state))
                return _where(lost, (state.params, state.opt_state), (params, opt_state))
            return params, opt_state

        stays = lambda: (state.params, state.opt_state)
        params, opt_state = jax.lax.cond(when, finished, stays)
        return progress._replace(state=state._replace(params=params, opt_state=opt_state))

    def evaluate(progress: Progress, last: Any = False) -> tuple[Progress, dict[str, Array]]:
        before, progress = progress.state, progress if last is False else finish(progress, last)
        state = progress.state
        row = {
            name: total / progress.weight.astype(total.dtype)
            for name, total in progress.totals.items()
        }
        loss = row["loss"]
        if on_divergence == "skip":
            row["skipped"] = progress.skipped
        point = averaged(state)
        _warn_of_model_state(point, state)
        if validate is not None:
            validated = validate(unpack(point), state.model_state)
            row |= {f"validation_{name}": value for name, value in validated.items()}
            loss = validated["loss"].astype(loss.dtype)
        fine = state._replace(
            params=progress.best_params,
            model_state=progress.best_model_state,
            opt_state=packed_state(optimizer.init(unpack(state.params)), state.opt_state),
        )
        lost = is_lost(fine, state)
        judged = _judged(progress, point, loss, lost, early_stopping)._replace(state=before)
        return judged, {"step": state.step, **row}

    return Loop(start, step, evaluate, finish)


def hold(progress: Progress) -> Progress:
    """``progress`` with its parameters as the optimizer holds them: packed ones stay packed."""
    return _with_params(progress, functools.partial(packed_params, progress.state.opt_state))


def release(progress: Progress) -> Progress:
    """``progress`` with its parameters as the task knows them: the reverse of :func:`hold`."""
    return _with_params(progress, unpack)


def _with_params(progress: Progress, change: Callable[[Params], Params]) -> Progress:
    return progress._replace(
        state=progress.state._replace(params=change(progress.state.params)),
        measured=None if progress.measured is None else change(progress.measured),
        best_params=change(progress.best_params),
    )


def frozen_row(progress: Progress, row: Any) -> dict[str, Array]:
    """The row of an evaluation after the end of a training, in the form of ``row``."""
    counts = {"step": progress.state.step, "skipped": progress.skipped}
    return {
        k: counts.get(k, jnp.full(x.shape, jnp.nan, jnp.float32)).astype(x.dtype)
        for k, x in row.items()
    }


def _counted(progress: Progress, means: dict[str, Array], batch: Batch) -> Progress:
    """``progress`` with one batch more in its totals."""
    weight = batch_weight(batch).astype(progress.weight.dtype)
    totals = {
        name: total + means[name] * weight.astype(total.dtype)
        for name, total in progress.totals.items()
    }
    return progress._replace(totals=totals, weight=progress.weight + weight)


def _skipped(progress: Progress) -> Progress:
    """``progress`` after a step that is left without effect."""
    state = progress.state._replace(step=progress.state.step + 1)
    return progress._replace(state=state, skipped=progress.skipped + 1)


def _judged(
    progress: Progress, params: Params, loss: Array, lost: Array, rule: EarlyStopping | None
) -> Progress:
    """``progress`` after an evaluation: what is best, whether it continues, and empty totals.

    ``params`` were evaluated by a validation, ``loss`` is that of the evaluation, ``lost`` whether
    parameters or states are not finite.
    """
    state, outcome, stopping = progress.state, progress.outcome, progress.stopping
    params = params if progress.measured is None else progress.measured
    loss = jnp.where(loses_finiteness(progress.best_params, params), jnp.nan, loss)
    improves = loss < progress.best_loss  # False for NaN
    best_loss, best_params, best_model_state = _where(
        improves,
        (loss, params, state.model_state),
        (progress.best_loss, progress.best_params, progress.best_model_state),
    )
    lost |= ~jnp.isfinite(loss) & (progress.weight > 0)  # the mean over no example is NaN
    outcome = _unless_ended(outcome, lost, OutcomeCode.DIVERGED, state.step)
    if rule is not None and stopping is not None:
        stopping = rule.update(stopping, loss)
        stops = stopping.should_stop
        outcome = _unless_ended(outcome, stops, OutcomeCode.STOPPED_EARLY, state.step)
    running = outcome.code == _code(OutcomeCode.COMPLETED)
    return progress._replace(
        totals=_zeros(progress.totals),
        weight=jnp.zeros_like(progress.weight),
        best_loss=best_loss,
        best_params=best_params,
        best_model_state=best_model_state,
        stopping=stopping,
        outcome=Outcome(outcome.code, jnp.where(running, state.step, outcome.step)),
        running=running,
    )


def _warn_of_model_state(point: Params, state: TrainState) -> None:
    """Warn where averaged parameters meet a model state that is not of them."""
    if point is not state.params and jax.tree.leaves(state.model_state):
        warnings.warn(
            "The averaged parameters are evaluated with the model state, batch statistics for "
            "example, of the parameters that are trained: recompute the statistics of the result "
            "by `nn.recompute_batch_stats`, or evaluate the trained parameters by "
            "`evaluate='raw'`.",
            stacklevel=2,
        )


def _unless_ended(outcome: Outcome, happens: Any, code: OutcomeCode, step: Any) -> Outcome:
    """``outcome``, or ``code`` at ``step`` if that happens first."""
    new = happens & (outcome.code == _code(OutcomeCode.COMPLETED))
    return Outcome(jnp.where(new, _code(code), outcome.code), jnp.where(new, step, outcome.step))


def _code(code: OutcomeCode) -> Array:
    return jnp.asarray(int(code), jnp.int32)


def _zeros(tree: Any) -> Any:
    return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), tree)


def _where(condition: Array, new: Any, old: Any) -> Any:
    return jax.tree.map(lambda x, y: jnp.where(condition, x, y), new, old)
