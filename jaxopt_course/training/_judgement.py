"""Whether a step of a training is finite, and which part of it was not finite first.

A step computes in this order, and each part may hold the first NaN or infinity:

    loss        the mean over the batch
    gradient    of that loss
    update      the new parameters
    state       the new state of the optimizer and of the model

Parameters and states may hold infinities from the start, such as the best value of
``reduce_on_plateau``: an entry of them counts only where it was finite before.
"""

import enum
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Int, PyTree

from jaxopt_course.core import State
from jaxopt_course.transforms import MonitorState, MultiStepsState, SnapshotState, loss_scale

from ._state import TrainState
from ._step import StepTaken


class Finding(enum.IntEnum):
    """What of a step was not finite first, in the order of computation."""

    FINITE = 0
    LOSS = 1
    GRADIENT = 2
    UPDATE = 3
    STATE = 4


def judge(before: TrainState, taken: StepTaken, *, strict: bool) -> Int[Array, ""]:
    """The :class:`Finding` of the step from ``before``, i32[].

    Args:
        before: the state before the step.
        taken: the step.
        strict: whether a gradient counts that is not finite and reaches neither parameters nor
            states, as behind ``zero_nans`` or a clip. Where the optimizer scales the loss, which
            makes such gradients on purpose, it never does.
    """
    after = taken.state
    loss = ~jnp.isfinite(taken.means["loss"])
    gradient = loses_finiteness(None, taken.grads)
    update = loses_finiteness(before.params, after.params)
    state = _loses_state(before, after)
    if not strict or loss_scale(before.opt_state) is not None:
        gradient &= loss | update | state
    codes = [jnp.asarray(int(finding), jnp.int32) for finding in Finding]
    return jnp.select([loss, gradient, update, state], codes[1:], codes[0])


def is_lost(fine: TrainState, state: TrainState) -> Bool[Array, ""]:
    """Whether parameters or states are not finite where those of ``fine`` are."""
    return loses_finiteness(fine.params, state.params) | _loses_state(fine, state)


def loses_finiteness(old: PyTree, new: PyTree) -> Bool[Array, ""]:
    """Whether an entry of ``new`` is NaN or infinite that is finite in ``old``.

    Leaves without floating point numbers, such as counts and keys, pass. An ``old`` of another
    structure, such as None, counts as finite everywhere.
    """
    lost = jnp.array(False)
    leaves, olds = jax.tree.leaves(new), jax.tree.leaves(old)
    of_new: Any = jax.tree.structure(new)
    if of_new != jax.tree.structure(old):
        olds = [jnp.zeros(())] * len(leaves)
    for was, leaf in zip(olds, leaves, strict=True):
        if jnp.issubdtype(leaf.dtype, jnp.inexact):
            lost |= jnp.any(~jnp.isfinite(leaf) & jnp.isfinite(was))
    return lost


def judged_parts(state: TrainState) -> dict[str, PyTree]:
    """The states of optimizer and model, without what merely reports on a step.

    Measurements, and what a line search has found, may be infinite where the step is fine, and no
    later step depends on them.
    """
    return {"opt_state": without_reports(state.opt_state), "model_state": state.model_state}


def without_reports(state: State) -> State:
    """The state of an optimizer, without what merely reports on a step."""
    searches = (optax.ScaleByZoomLinesearchState, optax.ScaleByBacktrackingLinesearchState)
    special = (MonitorState, SnapshotState, MultiStepsState, *searches)

    def without(part: Any) -> Any:
        if isinstance(part, MultiStepsState):
            inner = without_reports(part.inner_opt_state)
            return part._replace(inner_opt_state=inner, skip_state=())
        if isinstance(part, searches):
            return part._replace(value=(), grad=(), info=())
        return () if isinstance(part, special) else part

    return jax.tree.map(without, state, is_leaf=lambda part: isinstance(part, special))


def _loses_state(old: TrainState, new: TrainState) -> Bool[Array, ""]:
    return loses_finiteness(judged_parts(old), judged_parts(new))
