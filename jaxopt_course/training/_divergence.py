"""What is wrong where a training diverges: the step, the leaf, the rows of the batch."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from jaxopt_course.optimizers import lookahead_params
from jaxopt_course.tasks import Batch, Task, losses_of

from ._state import TrainState
from ._step import batch_means


__all__ = ["DivergenceError", "explain_divergence", "explain_evaluation"]

SHOWN = 10  # rows, at most
REMEDY = "Lower the learning rate, clip the gradients, or mend the data."


class DivergenceError(FloatingPointError):
    """The loss of a training is not finite.

    step: after how many steps.
    leaf: the path of the first parameter that is not finite, or else of the first gradient, or
        None.
    rows: rows of the data, or places in the batch of a stream, whose own loss is not finite.
    """

    def __init__(self, message: str, step: int, leaf: str | None, rows: list[int]) -> None:
        super().__init__(message)
        self.step, self.leaf, self.rows = step, leaf, rows


def explain_divergence(
    task: Task, state: TrainState, batch: Batch, rows: Int[np.ndarray, "batch"] | None
) -> DivergenceError:
    """The error for a step whose loss is not finite, of the state and the batch it was given."""
    key = jax.random.fold_in(state.key, state.step)

    @jax.jit
    def look(params: Any) -> tuple[Any, Any]:
        losses, _ = losses_of(task, params, state.model_state, batch, key=key, train=True)
        mean = lambda p: batch_means(task, p, state.model_state, batch, key=key, train=True)[0]
        return losses, jax.grad(lambda p: mean(p)["loss"])(params)

    losses, grads = look(lookahead_params(state.opt_state, state.params))
    bad = ~np.isfinite(losses)
    if batch.weights is not None:
        bad &= np.asarray(batch.weights) > 0
    places = np.flatnonzero(bad)
    named = places if rows is None else rows[places]
    leaf, what = _first_not_finite(state.params), "parameter"
    if leaf is None:
        leaf, what = _first_not_finite(grads), "gradient"
    parts = [f"fit: the loss is not finite at step {int(state.step)}"]
    if named.size:
        where = "places in its batch" if rows is None else "rows"
        more = f" and {named.size - SHOWN} more" if named.size > SHOWN else ""
        parts.append(f"that of {where} {named[:SHOWN].tolist()}{more} is not")
    if leaf is not None:
        parts.append(f"the {what} {leaf} is not")
    message = f"{'; '.join(parts)}. {REMEDY}"
    return DivergenceError(message, int(state.step), leaf, sorted(set(named.tolist())))


def explain_evaluation(state: TrainState) -> DivergenceError:
    """The error for an evaluation whose loss is not finite, though those of the steps are."""
    step, leaf = int(state.step), _first_not_finite(state.params)
    what = "" if leaf is None else f"; the parameter {leaf} is not"
    message = f"fit: the loss of the evaluation after step {step} is not finite{what}. {REMEDY}"
    return DivergenceError(message, step, leaf, [])


def _first_not_finite(tree: Any) -> str | None:
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if not bool(jnp.all(jnp.isfinite(leaf))):
            return jax.tree_util.keystr(path)
    return None
