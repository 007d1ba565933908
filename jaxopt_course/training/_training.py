"""The one abstraction of all trainings: start, advance and evaluate, as pure functions.

The state between two steps is one :class:`Progress`. A training can therefore be split anywhere:
segments of any length give the bits of the whole. Its drivers are :func:`make_train` (one compiled
program), :func:`fit` (compiled segments in a host loop) and the brackets of ``studies``, which
train many configurations side by side.
"""

import dataclasses
import functools
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple, get_args

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PyTree

from jaxopt_course.core import Params, canonical_convolutions, checks, is_pending, split_by
from jaxopt_course.tasks import Batch, Task, targets_check
from jaxopt_course.transforms import apply_accumulated, evaluation_params, packed_state, unpack

from ._arguments import (
    WITHOUT_END,
    Evaluated,
    OnDivergence,
    Timetable,
    built,
    check_build,
    make_timetable,
)
from ._data import Batches, Epoch, as_examples, as_rows, count_rows, rows_used
from ._divergence import Finding, is_lost, judge
from ._early_stopping import EarlyStopping, monitored, refuse_monitor, worst_of
from ._evaluate import validate
from ._progress import (
    Progress,
    code_of,
    compared,
    counted,
    ended_or_not,
    hold,
    judged,
    release,
    skipped,
    unless_ended,
    where,
    zeros_like,
)
from ._sharding import Placement, constrain, constrain_batch, split_shapes
from ._state import Outcome, OutcomeCode, Rows, TrainState
from ._step import (
    StepTaken,
    batch_means,
    check_not_tracked,
    init_state,
    no_norms,
    norms_of,
    rates_of,
    train_step,
    value_fn_after,
)


class Held(NamedTuple):
    """A :class:`Progress` inside a compiled loop over steps.

    progress: the progress, with its parameters in the layout of the optimizer.
    epoch: batches of the current epoch. They follow from the key, so they are not saved.
    losses: losses of the last steps, that of step s at index s modulo its length; or None.
    """

    progress: Progress
    epoch: Epoch
    losses: Float[Array, "steps"] | None = None


class Setup(NamedTuple):
    """The static part of a training: programs are compiled once per setup.

    task, optimizer, evaluated, on_divergence: arguments of :func:`fit`.
    timetable: length of the training and its evaluations.
    placement: devices of the training. None: one device.
    on_host: whether the host adds metrics to an evaluation, by :meth:`Training.settle`.
    track: what is tracked besides loss and metrics.
    validates_stream: whether the driver computes the means over a stream of validation batches.
    """

    task: Task
    optimizer: optax.GradientTransformation
    timetable: Timetable
    evaluated: Evaluated = "averaged"
    on_divergence: OnDivergence = "stop"
    placement: Placement | None = None
    on_host: bool = False
    track: tuple[str, ...] = ()
    validates_stream: bool = False


@dataclasses.dataclass(frozen=True, eq=False)
class Training:
    """A training of a task by an optimizer on given data: start, advance, evaluate.

    All methods are pure, and safe under ``jax.jit`` and ``jax.vmap``.

    setup: the static part.
    examples: pair of the inputs and targets of all rows. None for a stream without validation.
    rows: the :class:`Rows` to train and to validate on. ``rows.train`` is None for a stream.
    early_stopping: rule that ends the training before its last step, or None.
    owner: function that :meth:`start` names in messages about targets. None if the targets have
        been checked.
    """

    setup: Setup
    examples: Any = None
    rows: Any = None
    early_stopping: EarlyStopping | None = None
    owner: str | None = None

    @property
    def batches(self) -> Any:
        """The batches of arrays; None for a stream."""
        if self.rows is None or self.rows.train is None:
            return None
        return Batches(self.examples, self.rows, self.setup.timetable)

    @property
    def monitored(self) -> str:
        """The name of the metric that decides which parameters are best."""
        return monitored(self.early_stopping, self._validates)

    @property
    def _validates(self) -> bool:
        has_rows = self.rows is not None and self.rows.validation is not None
        return has_rows or self.setup.validates_stream

    @property
    def _batch_at(self) -> Any:
        """``batch_at(key, step)`` of past steps, if these are still available."""
        # An accumulation does not record which batches were skipped.
        is_known = self.batches is not None and self.setup.on_divergence != "skip"
        return self.batches.batch_at if is_known else None

    def start(self, key: Any, like: Batch | None = None) -> Progress:
        """The progress before the first step.

        Args:
            key: key of all randomness of the run.
            like: a batch of the stream, of which shapes and dtypes matter. None for arrays.
        """
        task, optimizer = self.setup.task, self.setup.optimizer
        if self.owner is not None:
            used = rows_used(self.rows, count_rows(self.owner, self.examples))
            targets_check(task, self.examples[0])(self.owner, self.examples[1], used)
        with self._placed():
            state = init_state(task, optimizer, key)
            means_of = functools.partial(batch_means, task, key=state.key, train=True)
            like = self.batches.like if like is None else like
            totals = zeros_like(jax.eval_shape(means_of, state.params, state.model_state, like)[0])
            zero = jnp.zeros_like(totals["loss"])
            check_not_tracked(self.setup.track, totals)
            totals |= no_norms(self.setup.track, state.params)
            of_steps = self.monitored in totals
            return Progress(
                state=state,
                measured=state.params if of_steps else None,
                totals=totals,
                weight=zero,
                best_loss=zero + jnp.asarray(worst_of(self.early_stopping), zero.dtype),
                best_params=state.params,
                best_model_state=state.model_state,
                stopping=None if self.early_stopping is None else self.early_stopping.init(),
                skipped=jnp.zeros((), jnp.int32),
                outcome=Outcome(code_of(OutcomeCode.COMPLETED), jnp.zeros((), jnp.int32)),
                running=jnp.array(True),
            )

    def advance(self, progress: Progress, until: Int[Array, ""] | int) -> Progress:
        """The progress after step ``until``, which may be traced; unchanged if it has ended."""
        begin = progress.state.step
        end = jnp.where(progress.running, jnp.asarray(until, begin.dtype), begin)
        run = canonical_convolutions(lambda held: self.steps(held, end))
        return release(run(self.hold(progress)).progress)

    def evaluate(
        self,
        progress: Progress,
        last: Bool[Array, ""] | bool = True,
        validated: dict[str, Array] | None = None,
    ) -> tuple[Progress, dict[str, Array]]:
        """Evaluate, and decide which parameters are best and whether the training continues.

        Args:
            progress: the progress.
            last: whether the training ends here. The parameters after :meth:`finish` are then
                evaluated. The result stays unfinished, so that the training can be resumed with
                more steps.
            validated: means over the validation stream at the point of :meth:`evaluated`. None:
                they are computed from the validation rows, if there are any.

        Returns:
            The progress, and the metrics: ``"step"``, means over the examples since the last
            evaluation, and means over the validation rows.
        """
        with self._placed():
            before, progress = progress.state, self.finish(progress, last)
            state = progress.state
            metrics = {
                name: total / progress.weight.astype(total.dtype)
                for name, total in progress.totals.items()
            }
            loss = metrics["loss"]
            if "learning_rate" in self.setup.track:
                of_task = unpack(state.params)
                metrics |= rates_of(self.setup.optimizer, of_task, state.opt_state)
            if self.setup.on_divergence == "skip":
                metrics["skipped"] = progress.skipped
            point = self._evaluated(state)
            _warn_of_model_state(point, state)
            if self._validates:
                if validated is None:
                    evaluated = unpack(point), state.model_state
                    data = self.examples, self.rows, self.setup.timetable.batch_size
                    validated = validate(self.setup.task, *evaluated, *data)
                metrics |= {f"validation_{name}": value for name, value in validated.items()}
                loss = validated["loss"].astype(loss.dtype)
            opt_state = self.setup.optimizer.init(unpack(state.params))
            fine = state._replace(
                params=progress.best_params,
                model_state=progress.best_model_state,
                opt_state=packed_state(opt_state, state.opt_state),
            )
            lost = is_lost(fine, state)
            metric = self._metric(metrics, loss)
            after = judged(progress, point, loss, metric, lost, self.early_stopping)
        return after._replace(state=before), {"step": state.step, **metrics}

    def settle(
        self, progress: Progress, point: tuple[Params, PyTree], metric: Any, stops: Any
    ) -> Progress:
        """The progress after the host has looked at the evaluation of ``point``.

        Args:
            progress: the progress after :meth:`evaluate`.
            point: the evaluated parameters and their model state, of :meth:`evaluated`.
            metric: the monitored metric; None if it is not one of the host.
            stops: whether the host ends the training.
        """
        if metric is not None:
            metric = jnp.where(progress.running, metric, jnp.nan)
            progress = compared(progress, *point, metric, self.early_stopping)
        step, code = progress.state.step, OutcomeCode.STOPPED_ON_REQUEST
        outcome = unless_ended(progress.outcome, stops, code, step)
        return ended_or_not(progress._replace(outcome=outcome))

    def evaluated(self, progress: Progress, last: Bool[Array, ""] | bool) -> tuple[Params, PyTree]:
        """The parameters that :meth:`evaluate` evaluates, unpacked, and their model state."""
        with self._placed():
            state = self.finish(progress, last).state
            return unpack(self._evaluated(state)), state.model_state

    def finish(self, progress: Progress, when: Bool[Array, ""] | bool = True) -> Progress:
        """Apply gradients that are still accumulated after the last step, if ``when`` is True."""
        state, setup = progress.state, self.setup
        if when is False or is_pending(state.opt_state) is None:
            return progress

        def finished() -> tuple[Params, Any]:
            value_fn = value_fn_after(setup.task, state, self._batch_at)
            params, opt_state = apply_accumulated(
                setup.optimizer, state.opt_state, state.params, value_fn=value_fn
            )
            if setup.on_divergence == "skip":
                lost = is_lost(state, state._replace(params=params, opt_state=opt_state))
                return where(lost, (state.params, state.opt_state), (params, opt_state))
            return params, opt_state

        with self._placed():
            stays = lambda: (state.params, state.opt_state)
            params, opt_state = jax.lax.cond(when, finished, stays)
        return progress._replace(state=state._replace(params=params, opt_state=opt_state))

    def train_step(self, state: TrainState, batch: Batch) -> StepTaken:
        """The step of the optimizer, with its intermediate results."""
        return train_step(self.setup.task, self.setup.optimizer, state, batch, self._batch_at)

    def step(self, progress: Progress, batch: Batch) -> tuple[Progress, Float[Array, ""]]:
        """The progress after a step on ``batch``, and the loss of the batch."""
        with self._placed():
            before, how = progress.state, self.setup.on_divergence
            taken = self.train_step(before, batch)
            loss = taken.means["loss"]
            means = taken.means | norms_of(self.setup.track, before, taken)
            after = counted(progress._replace(state=taken.state), means, batch)
            if progress.measured is not None:
                average = self._evaluated(before)
                point = taken.point if average is before.params else average
                after = after._replace(measured=point)
            if how == "skip":
                is_finite = judge(before, taken, strict=True) == int(Finding.FINITE)
                return where(is_finite, after, skipped(progress)), loss
            lost = ~jnp.isfinite(loss)
            if how == "raise":
                lost = judge(before, taken, strict=False) != int(Finding.FINITE)
            outcome = unless_ended(progress.outcome, lost, OutcomeCode.DIVERGED, before.step)
            return after._replace(outcome=outcome), loss

    def steps(self, held: Held, until: Any) -> Held:
        """The loop over the steps up to ``until``, which may be traced."""
        begin, key = held.progress.state.step, held.progress.state.key
        batches, placement = self.batches, self.setup.placement

        def step(index: Array, held: Held) -> Held:
            epoch = batches.turn(key, held.epoch, index)
            batch = constrain_batch(batches.batch(epoch.table, index), placement)
            progress, loss = self.step(held.progress, batch)
            losses = held.losses
            if losses is not None:
                losses = losses.at[index % losses.shape[0]].set(loss)
            return Held(constrain(progress, placement), epoch, losses)

        return jax.lax.fori_loop(begin, until, step, held)

    def hold(self, progress: Progress) -> Held:
        """``progress`` for a loop over steps; the reverse is :func:`release`."""
        return Held(hold(progress), self.batches.no_epoch)

    def _evaluated(self, state: TrainState) -> Params:
        """The parameters to evaluate."""
        if self.setup.evaluated == "raw":
            return state.params
        return evaluation_params(state.opt_state, state.params)

    def _metric(self, metrics: dict[str, Array], loss: Array) -> Array | None:
        """The metric that decides what is best, ``loss`` by default; None: one of the host."""
        name = self.monitored
        if name == monitored(None, self._validates):
            return loss
        if name not in metrics and not self.setup.on_host:
            raise refuse_monitor(name, metrics)
        return metrics.get(name)

    def _placed(self) -> Any:
        """A context that knows which arrays are split, which the type of a tracer does not say."""
        placement = self.setup.placement
        return split_by(None if placement is None else split_shapes(*placement))


def make_training(
    build: Callable[[Any], Any],
    data: Any,
    *,
    batch_size: int,
    evaluate: Evaluated = "averaged",
) -> Callable[..., Training]:
    """The function ``training(hyperparameters=None, rows=None) -> Training``.

    It makes the training that :func:`make_train` runs to its end, for drivers that pause, compare,
    copy or stop trainings. Call it inside the function that is compiled. The arguments are those of
    :func:`make_train`.

    Examples:
        >>> from jaxopt_course.problems import problem
        >>> from jaxopt_course.tasks import function_task
        >>> init = lambda key: {"w": jnp.zeros((1, 1))}
        >>> task = function_task(init, lambda p, x: x @ p["w"], problem("regression"))
        >>> x = jnp.array([[1.0], [2.0], [3.0]])
        >>> training = make_training(lambda rate: (task, optax.sgd(rate)), (x, 2 * x), batch_size=2)
        >>> progress = training(0.1).start(jax.random.key(0))
        >>> advance = jax.jit(lambda progress, rate, until: training(rate).advance(progress, until))
        >>> int(advance(progress, 0.1, 7).state.step)
        7
    """
    owner = "make_training"
    check_build(owner, build)
    checks.integer(owner, "batch_size", batch_size, "[1, inf)")
    checks.choice(owner, "evaluate", evaluate, get_args(Evaluated))
    examples = as_examples(owner, data)
    n = count_rows(owner, examples)

    def training(hyperparameters: Any = None, rows: Rows | None = None) -> Training:
        task, optimizer = built(owner, build, hyperparameters)
        used = as_rows(owner, rows, n)
        size = used.train.shape[0]
        timetable = make_timetable(owner, size, steps=WITHOUT_END, batch_size=batch_size)
        return Training(Setup(task, optimizer, timetable, evaluate), examples, used, owner=owner)

    return training


def _warn_of_model_state(point: Params, state: TrainState) -> None:
    """Warn if averaged parameters are evaluated with the model state of the trained ones."""
    if point is not state.params and jax.tree.leaves(state.model_state):
        warnings.warn(
            "The averaged parameters are evaluated with the model state of the trained parameters, "
            "such as batch statistics: recompute the statistics of the result by "
            "`nn.recompute_batch_stats`, or evaluate the trained parameters by `evaluate='raw'`.",
            stacklevel=2,
        )
