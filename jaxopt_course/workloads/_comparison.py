"""A comparison: every training of every optimizer, in memory and on disk.

On disk there is one file for each cell, the trainings of one optimizer on one variant of one
workload. It is written atomically and describes its cell. ``index.json`` lists the cells of the
comparison in order, and the targets.
"""

import itertools
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Float64, Int

from jaxopt_course.core import checks, replacing

from ._workload import VARIANTS


INDEX = "index.json"
Cell = tuple[str, str, str]  # optimizer, workload, variant


class Trials(NamedTuple):
    """The trainings of one optimizer on one variant of one workload.

    values: validation loss at each evaluation; NaN once a training has failed. The first trial has
        the default hyperparameters.
    costs: examples seen before each evaluation, in batches of the workload.
    seconds_per_step: time of one such batch, with one training at a time, without compilation.
    """

    values: Float[np.ndarray, "trials seeds evaluations"]
    costs: Float[np.ndarray, "evaluations"]
    seconds_per_step: float


class Comparison(NamedTuple):
    """Every training of every optimizer on every workload, for :func:`summarize`.

    optimizers: names of the optimizers.
    workloads: names of the workloads.
    steps: {workload: number of steps of a training}.
    targets: {(workload, variant): validation loss to reach}.
    numbers: {optimizer: {hyperparameter: its value in each trial}}; the first are the defaults.
    points: {optimizer: its trials as points of the unit cube}.
    trials: {(optimizer, workload, variant): :class:`Trials`}.
    """

    optimizers: tuple[str, ...]
    workloads: tuple[str, ...]
    steps: Mapping[str, int]
    targets: Mapping[tuple[str, str], float]
    numbers: Mapping[str, Mapping[str, np.ndarray]]
    points: Mapping[str, Float64[np.ndarray, "trials d"]]
    trials: Mapping[tuple[str, str, str], Trials]

    def __str__(self) -> str:
        trials, seeds, _ = next(iter(self.trials.values())).values.shape
        return (
            f"{checks.counted(len(self.optimizers), 'optimizer')} ({', '.join(self.optimizers)}) "
            f"on {checks.counted(len(self.workloads), 'workload')} ({', '.join(self.workloads)}): "
            f"the defaults and {checks.counted(trials - 1, 'trial')} each, "
            f"with {checks.counted(seeds, 'seed')}"
        )


class Costs(NamedTuple):
    """Costs of trainings until the target, and their lowest losses.

    steps: steps until the target; infinite where it was never reached.
    best: lowest validation loss; infinite where every one is NaN.
    """

    steps: Float64[np.ndarray, "trials seeds"]
    best: Float64[np.ndarray, "trials seeds"]

    @property
    def ranks(self) -> Int[np.ndarray, "trials seeds"]:
        """Rank of each trial within its seed, by steps and then by best; 0 is the best."""
        order = np.lexsort((self.best, self.steps), axis=0)
        ranks = np.empty_like(order)
        np.put_along_axis(ranks, order, np.arange(len(order))[:, None], axis=0)
        return ranks


def costs_of(trials: Trials, target: float) -> Costs:
    """The cost of the first evaluation at or below ``target``."""
    values = np.asarray(trials.values, float)
    reached = values <= target  # False of NaN
    first = np.asarray(trials.costs, float)[reached.argmax(-1)]
    best = np.where(np.isfinite(values), values, np.inf).min(-1)
    return Costs(np.where(reached.any(-1), first, np.inf), best)


def comparison_of(
    about: Mapping[Cell, dict[str, Any]],
    trials: Mapping[Cell, Trials],
    points: Mapping[str, np.ndarray],
    targets: Mapping[tuple[str, str], float],
) -> Comparison:
    """The comparison of these cells, in the order of their descriptions ``about``."""
    optimizers, workloads, _ = (tuple(dict.fromkeys(names)) for names in zip(*about, strict=True))
    numbers = {own: about[own, workloads[-1], "base"]["numbers"] for own in optimizers}
    return Comparison(
        optimizers=optimizers,
        workloads=workloads,
        steps={on: about[optimizers[0], on, "base"]["steps"] for on in workloads},
        targets=dict(targets),
        numbers={own: {k: np.array(x) for k, x in each.items()} for own, each in numbers.items()},
        points=dict(points),
        trials=dict(trials),
    )


def write_cell(
    directory: pathlib.Path, cell: Cell, trials: Trials, points: np.ndarray, about: dict[str, Any]
) -> None:
    """Write the trials of a cell and its description ``about``."""
    directory.mkdir(parents=True, exist_ok=True)
    with replacing(_path(directory, cell)) as part, part.open("wb") as file:
        np.savez_compressed(
            file,
            values=np.asarray(trials.values, np.float32),
            costs=trials.costs,
            seconds_per_step=trials.seconds_per_step,
            points=points,
            about=json.dumps(about),
        )


def read_cell(
    directory: pathlib.Path, cell: Cell
) -> tuple[Trials, np.ndarray, dict[str, Any]] | None:
    """The trials of a cell, their points and its description; None if there is no such file.

    Raises:
        ValueError: if the file is damaged.
    """
    path = _path(directory, cell)
    if not path.exists():
        return None
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            seconds = float(file["seconds_per_step"])
            trials = Trials(file["values"], file["costs"], seconds)
            return trials, file["points"], json.loads(str(file["about"]))
    except Exception as error:
        raise ValueError(f"compare: {path} is damaged ({error}); delete it.") from error


def write_index(directory: pathlib.Path, comparison: Comparison) -> None:
    """Write which cells belong to the comparison, and the targets."""
    about = {
        "optimizers": comparison.optimizers,
        "workloads": comparison.workloads,
        "targets": [[*place, target] for place, target in comparison.targets.items()],
    }
    check_index(directory)
    with replacing(directory / INDEX) as part, part.open("wb") as file:
        file.write(f"{json.dumps(about, indent=2)}\n".encode())


def check_index(directory: pathlib.Path) -> None:
    """Raise if the index of ``directory``, which would be replaced, is not that of a comparison."""
    path = directory / INDEX
    if not os.path.lexists(path):
        return
    try:
        about = {} if path.is_symlink() else json.loads(path.read_bytes())
    except (OSError, RecursionError, ValueError):
        about = {}
    if not (isinstance(about, dict) and {"optimizers", "workloads", "targets"} <= about.keys()):
        raise ValueError(
            f"compare: {path} is not the index of a comparison, so it is not replaced: give "
            "another directory."
        )


def load_comparison(directory: str | os.PathLike[str]) -> Comparison:
    """The comparison that :func:`compare` stored in its directory ``resume``.

    Raises:
        ValueError: if there is none, or one of its files is missing.
    """
    directory = pathlib.Path(directory)
    if not (directory / INDEX).exists():
        raise ValueError(f"load_comparison: {directory} must hold a finished comparison.")
    index = json.loads((directory / INDEX).read_text())
    found: dict[Cell, Trials] = {}
    points, about = {}, {}
    order = itertools.product(index["workloads"], VARIANTS, index["optimizers"])
    for cell in ((own, on, variant) for on, variant, own in order):
        if (read := read_cell(directory, cell)) is None:
            raise ValueError(f"load_comparison: {_path(directory, cell)} is missing.")
        found[cell], points[cell[0]], about[cell] = read
    targets = {(on, variant): target for on, variant, target in index["targets"]}
    return comparison_of(about, found, points, targets)


def _path(directory: pathlib.Path, cell: Cell) -> pathlib.Path:
    optimizer, workload, variant = cell
    return directory / f"{workload}.{variant}.{optimizer}.npz"
