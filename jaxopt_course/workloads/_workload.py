"""A workload: a small training problem with a fixed length and a target for the validation loss.

It comes in two variants. Configurations are tried and selected on ``"base"``. ``"held_out"`` has
other data, and another width, depth or noise; tuned hyperparameters should work on it too.
"""

import json
import pathlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxopt_course.tasks import Task
from jaxopt_course.training import Rows


VARIANTS = ("base", "held_out")
TARGETS_FILE = pathlib.Path(__file__).with_name("targets.json")
TARGETS = json.loads(TARGETS_FILE.read_text())["targets"]


class Parts(NamedTuple):
    """What :func:`~jaxopt_course.training.make_train` needs besides an optimizer.

    task: the task to train.
    data: inputs and targets of all rows.
    rows: which rows train and which validate.
    """

    task: Task
    data: tuple[Any, Any]
    rows: Rows


class Workload(NamedTuple):
    """A small training problem whose validation loss has to come down to a target.

    name: its key in ``WORKLOADS``.
    summary: a description in one sentence.
    variants: {variant: function that makes its :class:`Parts`}.
    steps: number of steps of a training.
    batch_size: examples in a step. Costs are counted in batches of this size, even for optimizers
        whose gradients are of all training rows.
    evaluate_every: number of steps between two evaluations.
    targets: {variant: validation loss to reach}.
    floors: {variant: expected loss that no model can beat}; 0 where no better bound is known.
    """

    name: str
    summary: str
    variants: Mapping[str, Callable[[], Parts]]
    steps: int
    batch_size: int
    evaluate_every: int
    targets: Mapping[str, float]
    floors: Mapping[str, float] = MappingProxyType(dict.fromkeys(VARIANTS, 0.0))


def make_workload(
    name: str,
    summary: str,
    base: Callable[[], Parts],
    held_out: Callable[[], Parts],
    *,
    steps: int,
    batch_size: int = 32,
    evaluate_every: int = 10,
    floors: tuple[float, float] = (0.0, 0.0),
) -> Workload:
    """A workload of this library, with its targets in ``targets.json``.

    That file records how the targets were found. A workload that it lacks has the target NaN, which
    no loss reaches.
    """
    by_variant = lambda values: dict(zip(VARIANTS, values, strict=True))
    return Workload(
        name,
        summary,
        by_variant((base, held_out)),
        steps,
        batch_size,
        evaluate_every,
        MappingProxyType(TARGETS.get(name, dict.fromkeys(VARIANTS, float("nan")))),
        by_variant(floors),
    )


def parts(task: Task, data: tuple[Any, Any], train: int) -> Parts:
    """Train on the first ``train`` rows, and validate on the others."""
    n = len(jax.tree.leaves(data)[0])
    rows = Rows(jnp.arange(train, dtype=jnp.int32), None, jnp.arange(train, n, dtype=jnp.int32))
    return Parts(task, data, rows)


def shuffled(seed: int, n: int) -> np.ndarray:
    """The rows 0, ..., n - 1 in random order."""
    return np.random.default_rng(seed).permutation(n)


def numbers_of(function: Callable[..., Any], *arguments: Any) -> Any:
    """The random numbers that ``function`` draws in single precision, as NumPy arrays.

    In double precision JAX draws others, so that data and target would not belong together.
    """
    with jax.enable_x64(False):
        return jax.tree.map(np.asarray, function(*arguments))
