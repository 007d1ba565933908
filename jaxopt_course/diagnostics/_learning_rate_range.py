"""Compare learning rates by one short training for each, all in one program.

All trainings start from the same parameters and see the same batches, so their losses differ by
the learning rate alone.

Reference: after the range test of Smith, "Cyclical Learning Rates for Training Neural Networks",
WACV 2017, https://arxiv.org/abs/1506.01186, which raises one rate during one training instead.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from jaxopt_course.core import checks
from jaxopt_course.training import OutcomeCode, Rows, make_population


class LearningRateRangeReport(NamedTuple):
    """The final loss of each learning rate; ``print`` it.

    rates: f[points], increasing.
    losses: the last training loss, f[points]; NaN where the training diverged.
    start: the first training loss of the smallest rate.
    """

    rates: np.ndarray
    losses: np.ndarray
    start: float

    @property
    def suggested(self) -> float:
        """The rate with the lowest loss; NaN if all trainings diverged."""
        if not np.isfinite(self.losses).any():
            return float("nan")
        return float(self.rates[np.nanargmin(self.losses)])

    @property
    def usable(self) -> tuple[float, float]:
        """The range around the best rate that lowers the loss at least half as much.

        NaN if no rate lowers the loss.
        """
        if not self.start > np.fmin.reduce(self.losses):
            return float("nan"), float("nan")
        bar = (self.start + np.nanmin(self.losses)) / 2
        good = np.nan_to_num(self.losses, nan=np.inf) <= bar
        best = int(np.nanargmin(self.losses))
        bad = np.flatnonzero(~good)
        first = bad[bad < best].max(initial=-1) + 1
        last = bad[bad > best].min(initial=len(good)) - 1
        return float(self.rates[first]), float(self.rates[last])

    def __str__(self) -> str:
        if np.isnan(self.suggested):
            return f"All rates from {self.rates[0]:.1e} up diverge: check the data, or clip."
        low, high = self.usable
        if np.isnan(low):
            return (
                f"No rate from {self.rates[0]:.1e} to {self.rates[-1]:.1e} lowers the loss, "
                f"{self.start:.3g} at the start: train longer, widen the range, or check the "
                "gradients."
            )
        at_end = self.suggested in (self.rates[0], self.rates[-1])
        return (
            f"Learning rate {self.suggested:.1e} has the lowest loss, "
            f"{np.nanmin(self.losses):.3g}; rates from {low:.1e} to {high:.1e} lower it at least "
            "half as much." + (" It lies at the end of the range: widen it." if at_end else "")
        )


def learning_rate_range(
    train: Callable[..., Any],
    *,
    key: Key[Array, ""],
    low: float = 1e-6,
    high: float = 10.0,
    points: int = 32,
    hyperparameters: Callable[[Array], Any] = lambda rate: {"learning_rate": rate},
    rows: Rows | None = None,
    strategy: Literal["map", "chunk", "vmap"] = "map",
) -> LearningRateRangeReport:
    """Train once with each of many learning rates, in one program, and compare the final losses.

    Args:
        train: a short training of an epoch or two, such as
            :func:`~jaxopt_course.training.make_train` returns.
        key: PRNG key of all trainings.
        low: the smallest rate, in (0, high).
        high: the largest rate.
        points: number of rates, evenly spaced on a logarithmic scale, in [2, inf).
        hyperparameters: maps a rate to the hyperparameters of ``train``.
        rows: those of ``train``.
        strategy: as for :func:`~jaxopt_course.training.make_population`.
    """
    owner = "learning_rate_range"
    checks.number(owner, "low", low, "(0, inf)")
    checks.number(owner, "high", high, f"({low}, inf)")
    checks.integer(owner, "points", points, "[2, inf)")
    rates = jnp.geomspace(low, high, points)

    def losses(key: Any, rate: Array, rows: Any) -> tuple[Array, Array]:
        run = train(key, hyperparameters(rate), rows)
        history = run.history["loss"]
        diverged = run.outcome.code == OutcomeCode.DIVERGED
        return history[0], jnp.where(diverged, jnp.nan, _last_finite(history))

    run = jax.jit(make_population(losses, ("hyperparameters",), strategy=strategy))
    first, last = run(key, rates, rows)
    return LearningRateRangeReport(np.asarray(rates), np.asarray(last), float(first[0]))


def _last_finite(values: Array) -> Array:
    """The last entry before the NaN that follow the end of a training."""
    return values[jnp.max(jnp.where(jnp.isfinite(values), jnp.arange(values.shape[0]), 0))]
