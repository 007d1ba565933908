"""Which learning rates are worth a try? One short training for each of many, all at once.

Every rate starts from the same parameters and sees the same batches, so the losses at the end
differ by the rate alone. No training of the caller's is touched: all of them begin anew.

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
    """The loss that each rate leads to.

    rates: f[points], rising.
    losses: the last training loss, f[points]; NaN where the training diverged.
    start: the first training loss that was recorded at the smallest rate.
    """

    rates: np.ndarray
    losses: np.ndarray
    start: float

    @property
    def suggested(self) -> float:
        """The rate of the lowest loss; NaN where all diverge."""
        if not np.isfinite(self.losses).any():
            return float("nan")
        return float(self.rates[np.nanargmin(self.losses)])

    @property
    def usable(self) -> tuple[float, float]:
        """The ends of the rates around the best that win at least half of what it wins.

        NaN where no rate lowers the loss.
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
            return f"All rates from {self.rates[0]:.1e} up diverge: look at the data, or clip."
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
            f"{np.nanmin(self.losses):.3g}; rates from {low:.1e} to {high:.1e} win at least half "
            "as much." + (" It lies at the end of the range: widen it." if at_end else "")
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
    """Train once for each of many rates, in one program, and compare the losses at the end.

    Args:
        train: of :func:`~jaxopt_course.training.make_train`, short: an epoch or two.
        key: of all trainings.
        low: the smallest rate, in (0, high).
        high: the largest rate.
        points: how many rates, evenly spaced on a logarithmic scale, in [2, inf).
        hyperparameters: makes of a rate the hyperparameters that ``train`` takes.
        rows: that ``train`` takes.
        strategy: of :func:`~jaxopt_course.training.make_population`.

    Returns:
        The report; ``print`` it.

    Raises:
        ValueError: if a number is out of range.
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
    finite = jnp.isfinite(values)
    last = jnp.max(jnp.where(finite, jnp.arange(values.shape[0]), 0))
    return values[last]
