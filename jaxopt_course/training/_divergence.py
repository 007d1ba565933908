"""What is wrong where a training diverges: the step, the part of it, the leaf, the rows."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import Int

from jaxopt_course.tasks import Batch

from ._judgement import Finding, judge, judged_parts, loses_finiteness
from ._rows import count_rows
from ._state import TrainState
from ._step import StepTaken


SHOWN = 10  # rows, at most
INITIAL = "parameter before it"
REMEDY = "Lower the learning rate, clip the gradients, or mend the data."


class DivergenceError(FloatingPointError):
    """Something in a training is NaN or infinite.

    step: after how many steps.
    leaf: the path of the first leaf that is not finite, of the gradients, the new parameters or the
        new states, or None.
    rows: at most ten rows of the data, or places in the batch of a stream. The step taken on each
        of them alone is not finite in the same way. Empty if no single row brings it about.
    part: what was not finite first: ``"loss"``, ``"gradient"``, ``"update"`` or ``"state"``.
    """

    def __init__(
        self, message: str, step: int, leaf: str | None, rows: list[int], part: str
    ) -> None:
        super().__init__(message)
        self.step, self.leaf, self.rows, self.part = step, leaf, rows, part


def explain_divergence(
    train_step: Callable[[TrainState, Batch], StepTaken],
    state: TrainState,
    batch: Batch,
    rows: Int[np.ndarray, "batch"] | None,
) -> DivergenceError:
    """The error for a ``train_step`` that is not finite, of the state and batch it was given."""

    @jax.jit
    def look(part: Batch) -> tuple[Any, Any]:
        taken = train_step(state, part)
        return taken, judge(state, taken, strict=False)

    taken, code = look(batch)
    finding = Finding(int(code))
    kind, leaf = _first_leaf(state, taken, finding)
    if kind == INITIAL:  # which no row can help
        culprits: tuple[list[int], bool] = [], True
    elif jax.process_count() > 1:  # each holds a part of the batch
        culprits = [], False
    else:
        culprits = _culprits(lambda part: int(look(part)[1]), batch, finding)
    places, are_all = culprits
    named = sorted(set(places if rows is None else rows[places].tolist()))
    what = "places in its batch" if rows is None else "rows"
    return DivergenceError(
        f"fit: the {_name(finding)} of step {int(state.step)} is not finite, "
        f"{_because(what, named, are_all)}.{_where(kind, leaf)} {REMEDY}",
        int(state.step),
        leaf,
        named,
        _name(finding),
    )


def explain_evaluation(state: TrainState) -> DivergenceError:
    """The error for an evaluation whose loss is not finite, though the steps were."""
    step, leaf = int(state.step), _path(None, state.params)
    where = _where("parameter", leaf)
    message = f"fit: the loss of the evaluation after step {step} is not finite.{where} {REMEDY}"
    return DivergenceError(message, step, leaf, [], "loss")


def _culprits(
    look: Callable[[Batch], int], batch: Batch, finding: Finding
) -> tuple[list[int], bool]:
    """The places in the batch that alone make the step what it is, and whether these are all.

    A group of places is tried in a batch in which copies of its rows take the other places, so
    shapes stay, and rows that a batch normalization has infected are told from the one that did
    it. Groups that are not finite are halved. An update may overflow whatever the rows are, for
    its rate: then the other rows lead to it too, and none is to blame.
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


def _first_leaf(state: TrainState, taken: Any, finding: Finding) -> tuple[str, str | None]:
    """What the first leaf is of that is not finite, and its path."""
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
    return _name(finding), None


def _path(old: Any, new: Any) -> str | None:
    """The path of the first leaf of ``new`` that is not finite where that of ``old`` is."""
    olds = jax.tree.leaves(new if old is None else old)
    for (path, leaf), was in zip(jax.tree.leaves_with_path(new), olds, strict=True):
        if bool(loses_finiteness(None if old is None else was, leaf)):
            return jax.tree_util.keystr(path)
    return None


def _name(finding: Finding) -> str:
    # Taken once more, in another program, a borderline step may turn out to be finite.
    return "loss" if finding is Finding.FINITE else finding.name.lower()


def _because(what: str, named: list[int], are_all: bool) -> str:
    if not named and not are_all:
        return "and the rows were not looked for, since several processes hold them"
    if not named:
        return "for which no single row is to blame"
    return f"because of {what} {named}{'' if are_all else ' and perhaps others'}"


def _where(kind: str, leaf: str | None) -> str:
    return "" if leaf is None else f" The first leaf that is not finite is the {kind}, {leaf}."
