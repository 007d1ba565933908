"""Non-finite steps: which part of a step was not finite first, and which rows caused it.

A step computes in this order, and each part may contain the first NaN or infinity:

    loss        the mean over the batch
    gradient    of that loss
    update      the new parameters
    state       the new states of optimizer and model

Parameters and states may contain infinities from the start, such as the best value of
``reduce_on_plateau``. An entry of them counts only if it was finite before.
"""

import enum
import pathlib
from collections.abc import Callable
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.experimental import checkify
from jaxtyping import Array, Bool, Int, PyTree

from jaxopt_course.core import states, tree
from jaxopt_course.tasks import Batch
from jaxopt_course.transforms import loss_scale

from ._arguments import OnDivergence
from ._data import count_rows
from ._state import TrainState
from ._step import StepTaken


SHOWN = 10  # rows at most
INITIAL = "parameter before it"
LIBRARIES = (  # whose lines do not explain where a NaN comes from
    *(str(pathlib.Path(module.__file__ or "").parent) for module in (jax, flax, optax)),
    str(pathlib.Path(__file__).parent.parent),
)
REMEDY = "Lower the learning rate, clip the gradients, or correct the data."


class Finding(enum.IntEnum):
    """The first part of a step that was not finite, in the order of computation."""

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
        strict: whether a non-finite gradient counts if it reaches neither parameters nor states,
            for instance because of ``zero_nans``. It never counts if the optimizer scales the loss,
            which produces such gradients on purpose.
    """
    after = taken.state
    loss = ~jnp.isfinite(taken.means["loss"])
    gradient = tree.loses_finiteness(None, taken.grads)
    update = tree.loses_finiteness(before.params, after.params)
    state = _loses_state(before, after)
    if not strict or loss_scale(before.opt_state) is not None:
        gradient &= loss | update | state
    codes = [jnp.asarray(int(finding), jnp.int32) for finding in Finding]
    return jnp.select([loss, gradient, update, state], codes[1:], codes[0])


def is_lost(fine: TrainState, state: TrainState) -> Bool[Array, ""]:
    """Whether parameters or states are not finite where those of ``fine`` are."""
    return tree.loses_finiteness(fine.params, state.params) | _loses_state(fine, state)


def judged_parts(state: TrainState) -> dict[str, PyTree]:
    """The states of optimizer and model, without entries that only describe a step.

    Measurements and the results of a line search may be infinite after a sound step, and no later
    step depends on them.
    """
    return {"opt_state": states.without_reports(state.opt_state), "model_state": state.model_state}


def _loses_state(old: TrainState, new: TrainState) -> Bool[Array, ""]:
    return tree.loses_finiteness(judged_parts(old), judged_parts(new))


class DivergenceError(FloatingPointError):
    """A step or an evaluation of a training is NaN or infinite.

    step: number of steps before it.
    leaf: path of the first non-finite leaf of the gradients, the new parameters or the new states,
        or None.
    rows: at most ten rows of the data, or places in the batch of a stream. Each of them alone makes
        the step non-finite in the same way. Empty if no single row does.
    part: the part that was not finite first: ``"loss"``, ``"gradient"``, ``"update"`` or
        ``"state"``.
    origin: the operation whose result was the first NaN of the step and its line in the source,
        such as ``"sqrt at model.py:12 (norm)"``. None if there is no NaN, as in an overflow, or it
        could not be found.
    """

    def __init__(
        self,
        message: str,
        step: int,
        leaf: str | None,
        rows: list[int],
        part: str,
        origin: str | None = None,
    ) -> None:
        super().__init__(message)
        self.step, self.leaf, self.rows, self.part = step, leaf, rows, part
        self.origin = origin


def nan_checks(on_divergence: OnDivergence) -> Any:
    """A context in which JAX raises at a NaN if its flag is set and the training would end at it.

    The other answers to a NaN are their own: they expect it, or explain it.
    """
    config: Any = jax.config
    return jax.debug_nans(config.jax_debug_nans and on_divergence == "stop")


def explain_divergence(
    train_step: Callable[[TrainState, Batch], StepTaken],
    state: TrainState,
    batch: Batch,
    rows: Int[np.ndarray, "batch"] | None,
) -> DivergenceError:
    """The error for a ``train_step`` that is not finite for this state and batch."""

    @jax.jit
    def look(part: Batch) -> tuple[Any, Any]:
        taken = train_step(state, part)
        return taken, judge(state, taken, strict=False)

    taken, code = look(batch)
    finding = Finding(int(code))
    # When it is repeated in another program, a borderline step may turn out to be finite.
    part = "loss" if finding is Finding.FINITE else finding.name.lower()
    kind, leaf = _first_leaf(state, taken, part)
    places: list[int] = []
    because = "for which no single row is to blame"
    if kind != INITIAL and jax.process_count() > 1:  # each process holds a part of the batch
        because = "and the rows were not searched for, because several processes hold them"
    elif kind != INITIAL:
        places, are_all = _culprits(lambda part: int(look(part)[1]), batch, finding)
    named = sorted(set(places if rows is None else rows[places].tolist()))
    if named:
        what = "places in its batch" if rows is None else "rows"
        because = f"because of {what} {named}{'' if are_all else ' and perhaps others'}"
    step = int(state.step)
    message = f"fit: the {part} of step {step} is not finite, {because}.{_where(kind, leaf)}"
    origin = None if kind == INITIAL else _origin(train_step, state, batch)
    if origin is not None:
        message += f" The first NaN is the result of {origin}."
    return DivergenceError(f"{message} {REMEDY}", step, leaf, named, part, origin)


def explain_evaluation(state: TrainState) -> DivergenceError:
    """The error for an evaluation with a non-finite loss after finite steps."""
    step, leaf = int(state.step), _path(None, state.params)
    message = f"fit: the loss of the evaluation after step {step} is not finite."
    message += f"{_where('parameter', leaf)} {REMEDY}"
    return DivergenceError(message, step, leaf, [], "loss")


def _origin(
    train_step: Callable[[TrainState, Batch], StepTaken], state: TrainState, batch: Batch
) -> str | None:
    """The first operation of the step whose result is NaN, and its line in the source.

    The line is the first one outside of JAX, Flax, optax and this library, if there is one. A
    gradient has the line of the operation that it differentiates.
    """
    checked = checkify.checkify(train_step, errors=checkify.nan_checks)
    try:
        error = jax.jit(checked)(state, batch)[0].get_exception()
    except Exception:  # checkify does not support every primitive, and the error to raise is ours
        return None
    if error is None:
        return None
    lines = str(getattr(error, "traceback_info", "")).splitlines()
    outside = [line for line in lines if not line.startswith(LIBRARIES)]
    place = next(iter([*outside, *lines]), None)
    return f"`{getattr(error, 'prim', 'an operation')}`" + (f" at {place}" if place else "")


def _culprits(
    look: Callable[[Batch], int], batch: Batch, finding: Finding
) -> tuple[list[int], bool]:
    """The places in the batch that alone make the step non-finite, and whether these are all.

    A group of rows is tried in a batch of copies of these rows, so shapes stay the same, and batch
    normalization does not spread a NaN to sound rows. Non-finite groups are halved. An update may
    overflow whatever the rows are, because of the learning rate: then the other rows overflow, too,
    and none is to blame.
    """
    n = count_rows("Batch", batch.inputs)
    on_host = jax.device_get(batch)

    def is_bad(group: np.ndarray) -> bool:
        chosen = np.resize(group, n)
        chosen[group] = group
        code = look(jax.tree.map(lambda x: x[chosen], on_host))
        return Finding.FINITE < code <= finding

    found: list[int] = []
    groups = [np.arange(n)]
    while groups and len(found) < SHOWN:
        group = groups.pop()
        if not is_bad(group):
            continue
        if len(group) == 1:
            found.append(int(group[0]))
        else:
            groups += [group[len(group) // 2 :], group[: len(group) // 2]]
    others = np.setdiff1d(np.arange(n), found)
    if finding is Finding.UPDATE and found and (not others.size or is_bad(others)):
        return [], True
    return found, not groups


def _first_leaf(state: TrainState, taken: Any, part: str) -> tuple[str, str | None]:
    """The kind of the first non-finite leaf, and its path; ``part`` and None if there is none."""
    after = taken.state
    looked_at: list[tuple[str, Any, Any]] = [
        (INITIAL, None, state.params),
        ("gradient", None, taken.grads),
        ("parameter after it", state.params, after.params),
        ("state", judged_parts(state), judged_parts(after)),
    ]
    for kind, old, new in looked_at:
        if (leaf := _path(old, new)) is not None:
            return kind, leaf
    return part, None


def _path(old: Any, new: Any) -> str | None:
    """The path of the first leaf of ``new`` that is not finite where that of ``old`` is."""
    olds = jax.tree.leaves(new if old is None else old)
    for (path, leaf), was in zip(jax.tree.leaves_with_path(new), olds, strict=True):
        if bool(tree.loses_finiteness(None if old is None else was, leaf)):
            return jax.tree_util.keystr(path)
    return None


def _where(kind: str, leaf: str | None) -> str:
    return "" if leaf is None else f" The first leaf that is not finite is the {kind}, {leaf}."
