"""The result of tuning by gradients."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Float64, Key, PyTree

from jaxopt_course.core import checks

from ._space import space_of
from ._study import Mode, columns_table


UNRELATED = 0.1  # cosines below this are pointed out: those of unrelated directions are about 0


class GradientTuningResult(NamedTuple):
    """The result of :func:`tune_by_gradient`; ``print`` it.

    space, mode, key: arguments of the study.
    points: points of the unit cube at which each step measured, f64[steps, starts, ranges].
    scores: scores at these points, f64[steps, starts, seeds]; NaN where a training failed, and
        after its start was discarded.
    agreement: mean cosine between the gradients of the seeds, f64[steps, starts]; NaN for a single
        seed, and after a start was discarded.
    seconds: duration of the study, with compilation.
    """

    space: PyTree
    points: Float64[np.ndarray, "t p d"]
    scores: Float64[np.ndarray, "t p s"]
    agreement: Float64[np.ndarray, "t p"]
    mode: Mode
    key: Key[Array, ""]
    seconds: float

    @property
    def values(self) -> Float64[np.ndarray, "t p"]:
        """The mean score over the seeds, at each step of each start."""
        return self.scores.mean(2)

    @property
    def best(self) -> tuple[int, int]:
        """The step and the start with the best mean score.

        Raises:
            ValueError: if no score is finite.
        """
        losses = self._losses
        if not np.isfinite(losses).any():
            raise ValueError(
                "tune_by_gradient: every training failed: lower the learning rates of the space, "
                "or look at the data."
            )
        step, start = np.unravel_index(np.argmin(losses), losses.shape)
        return int(step), int(start)

    @property
    def configuration(self) -> PyTree:
        """The configuration with the best mean score."""
        return space_of(self.space).configuration(self.points[self.best])

    @property
    def curve(self) -> Float64[np.ndarray, "t"]:
        """The best mean score up to each step; NaN as long as there is none."""
        best = np.minimum.accumulate(self._losses.min(1))
        return np.where(np.isfinite(best), best if self.mode == "min" else -best, np.nan)

    @property
    def _losses(self) -> Float64[np.ndarray, "t p"]:
        losses = self.values if self.mode == "min" else -self.values
        return np.where(np.isfinite(losses), losses, np.inf)

    def __str__(self) -> str:
        """A line for each start, and the numbers of the best one at its first and best step."""
        failed, losses = np.isnan(self.values), self._losses
        chosen = losses.argmin(0)
        starts = np.arange(len(chosen))
        ends = [f"discarded at step {np.argmax(bad)}" if bad.any() else "" for bad in failed.T]
        columns: list[tuple[str, Any]] = [
            ("start", starts),
            ("first score", self.values[0].tolist()),
            ("best score", self.values[chosen, starts].tolist()),
            ("at step", chosen),
            ("", ends),
        ]
        if not np.isnan(self.agreement).all():
            unrelated = (self.agreement < UNRELATED).sum(0)
            columns.insert(4, ("agreement at first", self.agreement[0].tolist()))
            columns.insert(5, (f"steps below {UNRELATED}", unrelated))
        table = columns_table(columns)
        if not np.isfinite(losses).any():
            return table
        (step, start), space = self.best, space_of(self.space)
        at = lambda point: [r.at(u) for r, u in zip(space.ranges, point.tolist(), strict=True)]
        rows = at(self.points[0, start]), at(self.points[step, start])
        numbers = columns_table([("", space.names), ("first", rows[0]), ("best", rows[1])])
        steps = checks.counted(len(losses), "step")
        return (
            f"{table}\n{steps} in {self.seconds:.1f} s; best: start {start}, step {step}, "
            f"{self.values[step, start]:.4g}\n\n{numbers}"
        )
