"""Early stopping: end a training when its validation loss no longer improves.

An evaluation improves if its loss is below ``best_metric - min_delta``. The training stops after
``patience`` evaluations in a row without an improvement.

Reference: Prechelt, "Early Stopping - But When?", 1998, criterion UP.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, ScalarLike

from jaxopt_course.core import checks, numerics


class EarlyStoppingState(NamedTuple):
    """State of early stopping.

    best_metric: loss of the last evaluation that improved, f[].
    patience_count: number of evaluations since then, i32[].
    should_stop: whether the training ends, bool[]. Once true, it stays true.
    """

    best_metric: Float[Array, ""]
    patience_count: Int[Array, ""]
    should_stop: Bool[Array, ""]


class EarlyStopping(NamedTuple):
    """Rule of early stopping. Its numbers may be traced.

    patience: number of evaluations in a row without improvement that end the training, in [1, inf).
    min_delta: smallest decrease of the loss that counts as an improvement, in [0, inf).

    Examples:
        >>> rule = EarlyStopping(patience=2)
        >>> state = rule.init()
        >>> for loss in [1.0, 0.5, 0.6]:
        ...     state = rule.update(state, jnp.array(loss))
        >>> bool(state.should_stop)
        False
        >>> bool(rule.update(state, jnp.array(float("nan"))).should_stop)
        True
    """

    patience: ScalarLike
    min_delta: ScalarLike = 0.0

    def init(self) -> EarlyStoppingState:
        """The state before the first evaluation."""
        return EarlyStoppingState(
            numerics.as_float(jnp.inf), jnp.zeros((), jnp.int32), jnp.array(False)
        )

    def update(self, state: EarlyStoppingState, loss: Float[Array, ""]) -> EarlyStoppingState:
        """The state after an evaluation. A loss of NaN never improves."""
        loss = numerics.as_float(loss)
        improves = loss < state.best_metric - numerics.as_float(self.min_delta)
        count = jnp.where(improves, 0, numerics.safe_increment(state.patience_count))
        return EarlyStoppingState(
            best_metric=jnp.where(improves, loss, state.best_metric),
            patience_count=count,
            should_stop=state.should_stop | numerics.has_reached(count, self.patience),
        )


def check_early_stopping(owner: str, rule: EarlyStopping | None) -> None:
    """Raise unless ``rule`` is None or its numbers are in range."""
    if rule is not None:
        checks.number(owner, "early_stopping.patience", rule.patience, "[1, inf)")
        checks.number(owner, "early_stopping.min_delta", rule.min_delta, "[0, inf)")
