"""Early stopping: end a training when a metric, such as its validation loss, no longer improves.

An evaluation improves if its metric is below ``best_metric - min_delta``, or for ``mode="max"``
above ``best_metric + min_delta``. The training stops after ``patience`` evaluations in a row
without an improvement.

Reference: Prechelt, "Early Stopping - But When?", 1998, criterion UP.
"""

import dataclasses
from collections.abc import Collection, Iterator
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, ScalarLike

from jaxopt_course.core import checks, numerics


class EarlyStoppingState(NamedTuple):
    """State of early stopping.

    best_metric: metric of the last evaluation that improved, f[].
    patience_count: number of evaluations since then, i32[].
    should_stop: whether the training ends, bool[]. Once true, it stays true.
    """

    best_metric: Float[Array, ""]
    patience_count: Int[Array, ""]
    should_stop: Bool[Array, ""]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class EarlyStopping:
    """Rule of early stopping, and the metric by which a training chooses its best parameters.

    Attributes:
        patience: number of evaluations in a row without improvement that end the training, in
            [1, inf). It may be traced.
        min_delta: smallest change of the metric that counts as an improvement, in [0, inf). It may
            be traced.
        monitor: name of a metric in the rows of the history, or of one that ``on_evaluation`` of
            :func:`fit` returns. None: ``"validation_loss"``, or without validation ``"loss"``.
        mode: ``"min"`` if lower values of the metric are better, ``"max"`` if higher ones are.

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
    monitor: str | None = dataclasses.field(default=None, metadata={"static": True})
    mode: Literal["min", "max"] = dataclasses.field(default="min", metadata={"static": True})

    def __iter__(self) -> Iterator[ScalarLike]:
        """The numbers of the rule: patience, then min_delta."""
        return iter((self.patience, self.min_delta))

    def init(self) -> EarlyStoppingState:
        """The state before the first evaluation."""
        worst = numerics.as_float(worst_of(self))
        return EarlyStoppingState(worst, jnp.zeros((), jnp.int32), jnp.array(False))

    def update(self, state: EarlyStoppingState, metric: Float[Array, ""]) -> EarlyStoppingState:
        """The state after an evaluation. A metric of NaN never improves."""
        metric, delta = numerics.as_float(metric), numerics.as_float(self.min_delta)
        best = state.best_metric
        improves = metric > best + delta if self.mode == "max" else metric < best - delta
        count = jnp.where(improves, 0, numerics.safe_increment(state.patience_count))
        return EarlyStoppingState(
            best_metric=jnp.where(improves, metric, best),
            patience_count=count,
            should_stop=state.should_stop | numerics.has_reached(count, self.patience),
        )


def worst_of(rule: EarlyStopping | None) -> float:
    """The value that is worse than any other: infinity, with the sign of the mode."""
    return -jnp.inf if rule is not None and rule.mode == "max" else jnp.inf


def monitored(rule: EarlyStopping | None, validates: bool) -> str:
    """The metric that decides which parameters are best: the rule's, or else a loss."""
    if rule is None or rule.monitor is None:
        return "validation_loss" if validates else "loss"
    return rule.monitor


def refuse_monitor(name: str, names: Collection[str]) -> ValueError:
    """The error for a monitored metric that is not among ``names``, the metrics of a row."""
    there = ", ".join(repr(other) for other in names if other != "step")
    return ValueError(f"EarlyStopping: `monitor` must be one of {there}, got {name!r}.")


def described(rule: EarlyStopping | None) -> list[Any] | None:
    """The rule as JSON can represent it; its metric is omitted if it is the default."""
    if rule is None:
        return None
    metric = [rule.monitor, rule.mode]
    return [*rule, *([] if metric == [None, "min"] else metric)]


def check_early_stopping(owner: str, rule: EarlyStopping | None) -> None:
    """Raise unless ``rule`` is None or its numbers and names are in range."""
    if rule is not None:
        if not isinstance(rule, EarlyStopping):
            raise TypeError(
                f"{owner}: `early_stopping` must be an EarlyStopping or None, got "
                f"{checks.shown(rule)}."
            )
        checks.number(owner, "early_stopping.patience", rule.patience, "[1, inf)")
        checks.number(owner, "early_stopping.min_delta", rule.min_delta, "[0, inf)")
        checks.choice(owner, "early_stopping.mode", rule.mode, ("min", "max"))
        if rule.monitor is not None and not isinstance(rule.monitor, str):
            raise TypeError(
                f"{owner}: `early_stopping.monitor` must be the name of a metric or None, got "
                f"{checks.shown(rule.monitor)}."
            )
