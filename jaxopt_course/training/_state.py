"""The values of a training: its state, the rows it uses, its result and its outcome."""

import enum
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, PyTree

from jaxopt_course.core import Params, State, checks, is_pending


class TrainState(NamedTuple):
    """State of a training between two steps: a pytree of arrays.

    step: number of steps taken, i32[].
    params: the parameters.
    model_state: further state of the model, such as running batch statistics.
    opt_state: state of the optimizer.
    key: key of the run, which stays the same. The order of an epoch is a function of the key and
        the epoch, the dropout of a step is a function of the key and the step.
    """

    step: Int[Array, ""]
    params: Params
    model_state: PyTree
    opt_state: State
    key: Key[Array, ""]


class Rows(NamedTuple):
    """The rows of a data set that train and validate, as in folds, bags and bootstraps.

    train: row numbers, i32[n]; a row may occur several times.
    weights: weight of each of them, f[n]. None: 1.
    validation: row numbers, i32[m]. None: no validation.
    validation_weights: weight of each of them, f[m]. None: 1.
    """

    train: Int[Array, "n"]
    weights: Float[Array, "n"] | None = None
    validation: Int[Array, "m"] | None = None
    validation_weights: Float[Array, "m"] | None = None


class OutcomeCode(enum.IntEnum):
    """How a training ended.

    COMPLETED: all steps were taken.
    STOPPED_EARLY: early stopping ended it.
    DIVERGED: something became NaN or infinite. The loss is checked in every step and in every
        evaluation. The parameters and the states of optimizer and model are checked in every
        evaluation, or in every step if :func:`fit` has ``on_divergence="raise"``. A non-finite
        gradient counts only if it reaches parameters or states, so ``apply_if_finite`` or
        ``zero_nans`` may catch it. A training whose steps were all skipped has diverged, too.
    OUT_OF_TIME: ``max_time`` was reached.
    STOPPED_ON_REQUEST: ``on_evaluation`` returned ``STOP``.
    """

    COMPLETED = 0
    STOPPED_EARLY = 1
    DIVERGED = 2
    OUT_OF_TIME = 3
    STOPPED_ON_REQUEST = 4


class Outcome(NamedTuple):
    """How a training ended; ``print`` it for a sentence that also says what to do about it.

    code: an :class:`OutcomeCode`, i32[].
    step: number of steps after which it ended, i32[].

    Examples:
        >>> print(Outcome(jnp.array(0), jnp.array(40)))
        Completed 40 steps.
    """

    code: Int[Array, ""]
    step: Int[Array, ""]

    def __str__(self) -> str:
        if not checks.are_known(*self):
            return repr(self)
        step, code = int(self.step), OutcomeCode(int(self.code))
        steps = checks.counted(step, "step")
        if code is OutcomeCode.COMPLETED:
            return f"Completed {steps}."
        if code is OutcomeCode.OUT_OF_TIME:
            return f"Out of time after {steps}."
        if code is OutcomeCode.STOPPED_ON_REQUEST:
            return f"Stopped after {steps}: `on_evaluation` returned STOP."
        if code is OutcomeCode.STOPPED_EARLY:
            return (
                f"Stopped early after {steps}: no evaluation within patience improved the "
                "monitored metric, by default the loss. Use the best parameters."
            )
        return (
            f"Diverged: after {steps} the loss, the parameters or the optimizer's state was not "
            "finite. Lower the learning rate, clip the gradients, or look for values in the data "
            "that are not finite or not scaled. `fit` with `on_divergence='raise'` finds the step, "
            "the rows and the operation that caused it."
        )


class Run(NamedTuple):
    """The result of a training.

    state: the last state.
    best_params: the finite parameters with the lowest loss, or with the best value of the metric
        that :class:`EarlyStopping` monitors; the initial ones if no value was finite. With
        validation rows they are those of the evaluation with the lowest validation loss. Without
        them the loss of an interval is a mean over its batches, while the parameters move, and
        ``best_params`` are the last parameters that entered the lowest such mean: those *before*
        the last step of the interval. If the optimizer averages parameters, they are the averages
        at these points, unless ``evaluate="raw"``;
        :func:`~jaxopt_course.transforms.evaluation_params` returns the averages of ``state``.
    best_model_state: the model state that belongs to ``best_params``.
    history: one entry per evaluation. ``"step"``: number of steps taken. ``"loss"`` and the names
        of the metrics: means over the examples since the last evaluation, while the parameters
        moved; NaN if all their weights are 0. With prefix ``"validation_"``: means over the
        validation rows. After the end of a training the entries are NaN, or infinite if
        ``jax_debug_nans`` is set, and the step stays.
    outcome: how the training ended.
    """

    state: TrainState
    best_params: Params
    best_model_state: PyTree
    history: dict[str, Array]
    outcome: Outcome

    def __str__(self) -> str:
        """The outcome and the last evaluation; for several or traced runs, their shapes."""
        if not checks.are_known(*self.outcome) or not np.size(self.history.get("step", ())):
            return f"Run of shapes {jax.tree.map(np.shape, (self.outcome, self.history))}"
        happened, step, skipped = str(self.outcome), int(self.outcome.step), int(self.skipped)
        if skipped and skipped == step and int(self.outcome.code) == OutcomeCode.DIVERGED:
            happened = (
                f"Diverged: every one of the {step} steps was skipped because none was finite, and "
                "the parameters are the initial ones. Look for values in the data that are not "
                "finite or not scaled, or choose another initialization."
            )
        elif skipped:
            happened += (
                f" {skipped} of the {step} steps had no effect, because they were not finite."
            )
        history = {name: np.asarray(values) for name, values in self.history.items()}
        steps = history.pop("step")
        last = np.argmax(steps == steps[-1])  # the step stays after the end
        figures = ", ".join(f"{name} {values[last]:.4g}" for name, values in history.items())
        text = f"{happened}\nEvaluated at the last step, {steps[last]}: {figures}."
        if is_pending(self.state.opt_state):
            text += "\nGradients accumulated since the last update were not applied."
        return text

    @property
    def skipped(self) -> Int[Array, "..."]:
        """Number of skipped steps, i32[]; 0 unless ``fit`` has ``on_divergence="skip"``."""
        counts = self.history.get("skipped")
        return jnp.zeros_like(self.outcome.step) if counts is None else counts[..., -1]
