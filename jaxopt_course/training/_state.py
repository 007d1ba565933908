"""The values of a training: its state, the rows it uses, what it returns, and how it ended."""

import enum
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, PyTree

from jaxopt_course.core import Params, State, checks, is_pending


OnDivergence = Literal["stop", "raise", "skip"]


class TrainState(NamedTuple):
    """What the next step needs. It holds arrays only, so it can be scanned, sharded, and saved.

    step: how many steps were taken, i32[].
    params: the parameters.
    model_state: what the model keeps besides, such as running batch statistics.
    opt_state: the state of the optimizer.
    key: fixed for the run. The order of an epoch is a function of it and the epoch's number,
        the dropout of a step of it and the step's.
    """

    step: Int[Array, ""]
    params: Params
    model_state: PyTree
    opt_state: State
    key: Key[Array, ""]


class Rows(NamedTuple):
    """Which rows of the data train, how much they count, and which validate.

    Folds, bags and bootstraps of one data set differ in nothing else.

    train: row numbers, i32[n]; a row may occur more than once.
    weights: how much each of them counts, f[n]. None: once.
    validation: row numbers, i32[m]. None: there is no validation.
    validation_weights: how much each of them counts, f[m]. None: once.
    """

    train: Int[Array, "n"]
    weights: Float[Array, "n"] | None = None
    validation: Int[Array, "m"] | None = None
    validation_weights: Float[Array, "m"] | None = None


class OutcomeCode(enum.IntEnum):
    """How a training ended.

    COMPLETED: all steps were taken.
    STOPPED_EARLY: early stopping ended it.
    DIVERGED: something became NaN or infinite. The loss is looked at in every step and in every
        evaluation, the parameters and the states of optimizer and model in every evaluation, or
        in every step if :func:`fit` has ``on_divergence="raise"``. A gradient that is not finite
        counts where it reaches parameters or states, so ``apply_if_finite`` or ``zero_nans`` may
        catch it. A training of which every step was skipped has diverged too.
    OUT_OF_TIME: ``max_time`` was up.
    """

    COMPLETED = 0
    STOPPED_EARLY = 1
    DIVERGED = 2
    OUT_OF_TIME = 3


class Outcome(NamedTuple):
    """How a training ended, as a value that compiled code can carry.

    code: an :class:`OutcomeCode`, i32[].
    step: after how many steps that was seen, i32[].
    """

    code: Int[Array, ""]
    step: Int[Array, ""]


class Run(NamedTuple):
    """What a training returns.

    state: the last state.
    best_params: the parameters with the lowest loss. With validation rows these are the parameters
        of the evaluation with the lowest validation loss. Without them the loss of an interval is
        a mean over its batches, while the parameters move, and ``best_params`` are the last
        parameters that entered the lowest such mean: those *before* the last step of the
        interval. With one step an interval they are exactly the parameters at which the lowest
        loss was computed. Parameters that are not finite never win. The initial parameters if no
        loss was finite. Of an optimizer that averages parameters they are the averages in the
        same places, unless ``evaluate="raw"``; those that belong to ``state`` are given by
        :func:`~jaxopt_course.transforms.evaluation_params`.
    best_model_state: the model state that belongs to them.
    history: one entry an evaluation. ``"step"``: how many steps had been taken. ``"loss"`` and
        the names of the metrics: means over the examples seen since the last evaluation, while
        the parameters moved; NaN if none of them counted. With prefix ``"validation_"``: means
        over the validation rows. After a training has stopped, entries are NaN and the step stays.
    outcome: how the training ended.
    """

    state: TrainState
    best_params: Params
    best_model_state: PyTree
    history: dict[str, Array]
    outcome: Outcome

    def __str__(self) -> str:
        """How it ended, and its last evaluation; of several runs, or of none yet, their shapes."""
        known = [
            isinstance(x, jax.Array | np.ndarray) and not checks.is_traced(x) for x in self.outcome
        ]
        if (
            not all(known)
            or np.ndim(self.outcome.code)
            or not np.size(self.history.get("step", ()))
        ):
            return f"Run of shapes {jax.tree.map(np.shape, (self.outcome, self.history))}"
        history = {name: np.asarray(values) for name, values in self.history.items()}
        steps = history.pop("step")
        last = np.argmax(steps == steps[-1])  # after the end the step stays
        figures = ", ".join(f"{name} {values[last]:.4g}" for name, values in history.items())
        happened = describe_outcome(self.outcome, int(self.skipped))
        text = f"{happened}\nEvaluated at step {steps[last]}: {figures}."
        if is_pending(self.state.opt_state):
            text += "\nGradients accumulated since the last update were not applied."
        return text

    @property
    def skipped(self) -> Int[Array, "..."]:
        """How many steps were without effect, i32[]; 0 unless ``fit`` was told to skip steps."""
        counts = self.history.get("skipped")
        return jnp.zeros_like(self.outcome.step) if counts is None else counts[..., -1]


def describe_outcome(outcome: Outcome, skipped: int = 0) -> str:
    """Say for a person what happened, when, and what to do about it.

    Args:
        outcome: of one run, concrete.
        skipped: how many of its steps were skipped, as :attr:`Run.skipped` says.

    Examples:
        >>> import jax.numpy as jnp
        >>> describe_outcome(Outcome(jnp.array(0), jnp.array(40)))
        'Completed 40 steps.'
    """
    step, code = int(outcome.step), OutcomeCode(int(outcome.code))
    steps = checks.counted(step, "step")
    if code is OutcomeCode.DIVERGED and 0 < skipped == step:
        return (
            f"Diverged: every one of the {step} steps was skipped because none was finite, and the "
            "parameters are the initial ones. Look for values in the data that are not finite or "
            "not scaled, or choose another initialization."
        )
    texts = {
        OutcomeCode.COMPLETED: f"Completed {steps}.",
        OutcomeCode.STOPPED_EARLY: (
            f"Stopped early after {steps}: no evaluation within patience improved the loss. "
            "Use the best parameters."
        ),
        OutcomeCode.DIVERGED: (
            f"Diverged: at step {step} the loss, the parameters or the optimizer's state was not "
            "finite. Lower the learning rate, clip the gradients, or look for values in the data "
            "that are not finite or not scaled."
        ),
        OutcomeCode.OUT_OF_TIME: f"Out of time after {steps}.",
    }
    of_them = f" {skipped} of the {step} steps had no effect, because they were not finite."
    return texts[code] + (of_them if skipped else "")
