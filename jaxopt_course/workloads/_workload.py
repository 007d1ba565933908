"""A workload: something small to train, its length, and what it has to reach.

It comes in two variants. On ``"base"`` configurations are tried and picked; ``"held_out"`` is a
change that a number tuned there should survive: other data, another width, depth or noise.
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
TARGETS = pathlib.Path(__file__).with_name("targets.json")


class Parts(NamedTuple):
    """What :func:`~jaxopt_course.training.make_train` needs of a variant, besides an optimizer.

    task: what is trained.
    data: inputs and targets of all rows.
    rows: which of them train, and which validate.
    """

    task: Task
    data: tuple[Any, Any]
    rows: Rows


class Workload(NamedTuple):
    """A small problem whose validation loss is to come down to a target.

    name: its key in ``WORKLOADS``.
    summary: one sentence.
    variants: a function for each, which makes its :class:`Parts`.
    steps: length of a training.
    batch_size: of a step; where gradients are of the full batch, costs are counted in these.
    evaluate_every: steps from one evaluation to the next.
    targets: the validation loss to reach, by variant; frozen numbers for those of this library.
    floors: what no model gets below on average, by variant; 0 where nothing better is known.
    """

    name: str
    summary: str
    variants: Mapping[str, Callable[[], Parts]]
    steps: int
    batch_size: int
    evaluate_every: int
    targets: Mapping[str, float]
    floors: Mapping[str, float] = MappingProxyType(dict.fromkeys(VARIANTS, 0.0))


def frozen_targets(name: str) -> Mapping[str, float]:
    """The targets of a workload as ``targets.json`` has them, which says where they come from.

    NaN, which nothing reaches, where there are none yet.
    """
    known = json.loads(TARGETS.read_text())["targets"] if TARGETS.exists() else {}
    return MappingProxyType(known.get(name, dict.fromkeys(VARIANTS, float("nan"))))


def parts(task: Task, data: tuple[Any, Any], train: int) -> Parts:
    """The first ``train`` rows train, the others validate."""
    n = len(jax.tree.leaves(data)[0])
    rows = Rows(jnp.arange(train, dtype=jnp.int32), None, jnp.arange(train, n, dtype=jnp.int32))
    return Parts(task, data, rows)


def shuffled(seed: int, n: int) -> np.ndarray:
    """The rows 0, ..., n - 1 in an order of their own."""
    return np.random.default_rng(seed).permutation(n)


def numbers_of(function: Callable[..., Any], *arguments: Any) -> Any:
    """What ``function`` draws, in single precision, as NumPy arrays.

    A draw in double precision would be another draw, so that the data of a workload, for which
    its target was found, would depend on a flag of the process.
    """
    with jax.enable_x64(False):
        return jax.tree.map(np.asarray, function(*arguments))
