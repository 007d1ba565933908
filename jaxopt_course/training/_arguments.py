"""Checks of the arguments that all trainings have in common."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxopt_course.core import checks
from jaxopt_course.tasks import Task


WITHOUT_END = 2**30  # steps of a training without an end; more than any takes, below 2**31
CAPACITY = 2**14  # largest number of steps of a segment; the program has a buffer for their losses

Evaluated = Literal["averaged", "raw"]  # which parameters
OnDivergence = Literal["stop", "raise", "skip"]


class Timetable(NamedTuple):
    """The length of a training, and when it is evaluated.

    steps: total number of steps.
    steps_per_epoch: number of batches of an epoch, including a ragged last one.
    evaluate_every: steps between evaluations; the last step is evaluated in any case.
    batch_size: rows of a batch.
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
        """The largest number of steps of one segment."""
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
    """The timetable of a training on ``n`` rows, after checking the arguments."""
    if (epochs is None) == (steps is None):
        alone = ", or `max_time` alone" if owner == "fit" else ""
        raise ValueError(f"{owner}: give exactly one of `epochs` and `steps`{alone}.")
    checks.integer(owner, "batch_size", batch_size, "[1, inf)")
    if batch_size > n:
        raise ValueError(
            f"{owner}: `batch_size` must lie in [1, {n}], at most the number of training rows, "
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


def check_parts(owner: str, task: Any, optimizer: Any) -> None:
    """Raise TypeError unless these are a task and a gradient transformation."""
    if not isinstance(task, Task):
        hint = " Was it meant to be called?" if callable(task) else ""
        raise TypeError(f"{owner}: `task` must be a Task, got {checks.shown(task)}.{hint}")
    checks.transformation(owner, "optimizer", optimizer)


def check_key(owner: str, key: Any) -> None:
    """Raise unless ``key`` is one typed key, which may be traced.

    Raises:
        TypeError: if it is not a typed key.
        ValueError: if it is an array of keys.
    """
    rule = f"{owner}: `key` must be a typed key, such as jax.random.key(0)"
    dtype = getattr(key, "dtype", None)
    if dtype is None or not jax.dtypes.issubdtype(dtype, jax.dtypes.prng_key):
        raise TypeError(f"{rule}, got {checks.shown(key)}.")
    if key.shape != ():
        raise ValueError(
            f"{owner}: `key` must be one key, got an array of keys of shape {key.shape}; give one "
            "of them, such as keys[0]."
        )


def built(owner: str, build: Callable[[Any], Any], hyperparameters: Any) -> tuple[Task, Any]:
    """The task and the optimizer that ``build`` returns; TypeError if it returns something else."""
    parts = build(hyperparameters)
    is_pair = isinstance(parts, tuple | list) and len(parts) == 2
    if not is_pair or isinstance(parts, optax.GradientTransformation):  # a pair of functions
        raise TypeError(
            f"{owner}: `build` must return a pair (task, optimizer), got {checks.shown(parts)}."
        )
    check_parts(f"{owner}: what `build` returns", *parts)
    return parts[0], parts[1]


def check_build(owner: str, build: Any) -> None:
    """Raise TypeError unless ``build`` is callable."""
    if not callable(build):
        raise TypeError(
            f"{owner}: `build` must be a function of hyperparameters that returns "
            f"(task, optimizer), got {type(build).__name__}."
        )
