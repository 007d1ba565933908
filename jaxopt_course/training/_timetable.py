"""The static numbers of a training: how long it is, and what happens when."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from jaxopt_course.core import checks


WITHOUT_END = 2**30  # steps: no training comes so far, and counters hold it
CAPACITY = 2**14  # steps of one segment: the losses of so many have room in a program's buffer


class Timetable(NamedTuple):
    """How long a training is, and what happens when.

    steps: in all.
    steps_per_epoch: the last, ragged one included.
    evaluate_every: steps from one evaluation to the next; there is one more at the end.
    batch_size: rows a batch.
    """

    steps: int
    steps_per_epoch: int
    evaluate_every: int
    batch_size: int

    def next_evaluation(self, done: Any) -> Any:
        """The step of the first evaluation after step ``done``; either may be traced."""
        due = (done // self.evaluate_every + 1) * self.evaluate_every
        return min(due, self.steps) if isinstance(due, int) else jnp.minimum(due, self.steps)

    @property
    def longest_segment(self) -> int:
        """The most steps that one segment may have."""
        return min(self.steps, CAPACITY)


def make_timetable(
    owner: str,
    n: int,
    *,
    epochs: int | None = None,
    steps: int | None = None,
    batch_size: int,
    evaluate_every: int | None = None,
) -> Timetable:
    """The timetable of a training on ``n`` rows, its numbers checked."""
    if (epochs is None) == (steps is None):
        alone = ", or `max_time` alone" if owner == "fit" else ""
        raise ValueError(f"{owner}: give exactly one of `epochs` and `steps`{alone}.")
    checks.integer(owner, "batch_size", batch_size, "[1, inf)")
    if batch_size > n:
        raise ValueError(
            f"{owner}: `batch_size` must lie in [1, {n}], for there are {n} training rows, "
            f"got {batch_size}."
        )
    steps_per_epoch = -(-n // batch_size)
    if epochs is not None:
        checks.integer(owner, "epochs", epochs, "[1, inf)")
        steps = epochs * steps_per_epoch
    checks.integer(owner, "steps", steps, "[1, inf)")
    if evaluate_every is None:
        evaluate_every = steps_per_epoch
    checks.integer(owner, "evaluate_every", evaluate_every, "[1, inf)")
    return Timetable(int(steps or 0), steps_per_epoch, int(evaluate_every), int(batch_size))


def smoke_timetable(timetable: Timetable) -> Timetable:
    """Two steps, each evaluated."""
    return timetable._replace(steps=min(2, timetable.steps), evaluate_every=1)
