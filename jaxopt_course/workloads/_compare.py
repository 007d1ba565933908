"""Compare optimizers with equal budgets of trials on every workload, and store each trial.

Tuning studies are simulated afterwards, by drawing from the stored trials: see
:func:`tuning_studies`.

References: Dahl et al., "Benchmarking Neural Network Training Algorithms", 2023,
https://arxiv.org/abs/2306.07179; Sivaprasad et al., "Optimizer Benchmarking Needs to Account for
Hyperparameter Tuning", ICML 2020, https://arxiv.org/abs/1910.11758.
"""

import concurrent.futures
import itertools
import os
import pathlib
import re
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from jaxopt_course.core import checks, show_progress
from jaxopt_course.studies import Float, configuration_at, sobol_design
from jaxopt_course.training import make_population, make_train

from ._comparison import (
    Cell,
    Comparison,
    Trials,
    check_index,
    comparison_of,
    read_cell,
    write_cell,
    write_index,
)
from ._entries import Entry
from ._workload import VARIANTS, Workload


Strategy = Literal["map", "chunk", "vmap"]


class Job(NamedTuple):
    """The trainings of one cell.

    points: configurations as points of the unit cube, the defaults first.
    key: from which the key of each seed is derived.
    seeds: number of seeds of each configuration.
    """

    entry: Entry
    workload: Workload
    variant: str
    points: np.ndarray
    key: Key[Array, ""]
    seeds: int

    @property
    def cell(self) -> Cell:
        return self.entry.name, self.workload.name, self.variant

    def numbers(self) -> dict[str, np.ndarray]:
        """One array for each hyperparameter, with its value in every configuration."""
        space = self.entry.space
        rows = [configuration_at(dict(space), point) for point in self.points]
        dtype = lambda kind: jnp.result_type(float) if isinstance(kind, Float) else np.int32
        return {k: np.array([row[k] for row in rows], dtype(kind)) for k, kind in space.items()}

    def describe(self) -> dict[str, Any]:
        """What decides the trainings, as JSON can write it."""
        on = self.workload
        return {
            "trials": len(self.points) - 1,
            "seeds": self.seeds,
            "key": np.asarray(jax.random.key_data(self.key)).tolist(),
            "space": {name: str(kind) for name, kind in sorted(self.entry.space.items())},
            "numbers": {name: x.tolist() for name, x in sorted(self.numbers().items())},
            "full_batch": self.entry.full_batch,
            "steps": on.steps,
            "batch_size": on.batch_size,
            "evaluate_every": on.evaluate_every,
        }


def compare(
    optimizers: Iterable[Entry],
    workloads: Iterable[Workload],
    *,
    key: Key[Array, ""],
    trials: int = 100,
    seeds: int = 2,
    held_out_seeds: int = 1,
    strategy: Strategy = "map",
    devices: Sequence[jax.Device] | None = None,
    resume: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> Comparison:
    """Train many configurations of every optimizer on both variants of every workload.

    The configurations of an optimizer are its defaults and a Sobol design of its space, the same on
    all workloads. The designs of different optimizers are independent. All optimizers share the
    seeds of initial parameters and data order.

    Args:
        optimizers: at least one, such as ``[entry("adam"), entry("sgd")]``.
        workloads: at least one, such as ``WORKLOADS.values()``.
        key: random key of designs and seeds.
        trials: number of configurations besides the defaults, in [1, inf), and the largest budget
            of tuning that can be simulated.
        seeds: seeds of each configuration on the base variant, in [2, inf). One is used to pick a
            configuration, another one to score it.
        held_out_seeds: seeds of each configuration on the held-out variant, in [1, inf).
        strategy: argument of :func:`~jaxopt_course.training.make_population`. With "map" one
            training runs after the other, and seconds are those of a single training.
        devices: devices, each of which trains one cell (an optimizer on a variant) at a time. None:
            the first device.
        resume: directory that stores each cell once it is done, and from which an interrupted
            comparison resumes. Optimizers and workloads may be added later. Changes in the code
            of optimizers and workloads are not noticed.
        progress: whether to show the progress on stderr: a bar on a terminal, else a line every
            five seconds.

    Returns:
        The comparison, for :func:`summarize`.

    Raises:
        ValueError: if an argument is out of range, or ``resume`` holds trials of another design.
    """
    entries, problems = list(optimizers), list(workloads)
    checks.integer("compare", "trials", trials, "[1, inf)")
    checks.integer("compare", "seeds", seeds, "[2, inf)")
    checks.integer("compare", "held_out_seeds", held_out_seeds, "[1, inf)")
    checks.choice("compare", "strategy", strategy, ("map", "chunk", "vmap"))
    _check_names("optimizers", [own.name for own in entries])
    _check_names("workloads", [on.name for on in problems])
    design_key, seed_key = jax.random.split(key)
    points = {own.name: _design(own, design_key, trials) for own in entries}
    counts = dict(zip(VARIANTS, (seeds, held_out_seeds), strict=True))
    jobs = [
        Job(own, on, variant, points[own.name], seed_key, counts[variant])
        for on, variant, own in itertools.product(problems, VARIANTS, entries)
    ]
    about = {job.cell: job.describe() for job in jobs}
    directory = None if resume is None else pathlib.Path(resume)
    found = {} if directory is None else _stored(directory, about)

    def train(job: Job) -> None:
        found[job.cell] = _train(job, strategy)
        if directory is not None:
            write_cell(directory, job.cell, found[job.cell], job.points, about[job.cell])

    left = [job for job in jobs if job.cell not in found]
    position = lambda done: f"cell {done}/{len(jobs)}"
    with show_progress(position, len(jobs), len(found), shown=progress) as show:
        for job in _side_by_side(train, left, devices or jax.devices()[:1]):
            show(len(found), "{} on {}, {}".format(*job.cell))
    targets = {(on.name, variant): on.targets[variant] for on in problems for variant in VARIANTS}
    comparison = comparison_of(about, found, points, targets)
    if directory is not None:
        write_index(directory, comparison)
    return comparison


def _train(job: Job, strategy: Strategy) -> Trials:
    """Run the trainings of one cell in one compiled program."""
    own, on = job.entry, job.workload
    task, data, rows = on.variants[job.variant]()
    batch_size = len(rows.train) if own.full_batch else on.batch_size
    cost = batch_size / on.batch_size  # of a step; all optimizers train for the same epochs
    train = make_train(
        lambda numbers: (task, own.build(numbers)),
        data,
        steps=max(round(on.steps / cost), 1),
        batch_size=batch_size,
        evaluate_every=max(round(on.evaluate_every / cost), 1),
    )
    history_of = lambda key, numbers, _: train(key, numbers, rows).history
    run = make_population(history_of, ("hyperparameters", "key"), strategy=strategy)
    seeds = jnp.arange(job.seeds, dtype="uint32")
    keys, numbers = jax.vmap(lambda s: jax.random.fold_in(job.key, s))(seeds), job.numbers()
    compiled = jax.jit(run).lower(keys, numbers).compile()
    begin = time.perf_counter()
    history = jax.device_get(compiled(keys, numbers))
    seconds = time.perf_counter() - begin
    values, steps = history["validation_loss"], history["step"]
    return Trials(
        values=np.where(np.isfinite(values), values, np.nan),
        costs=cost * steps.max((0, 1)),
        seconds_per_step=seconds / float(cost * steps[..., -1].sum()),  # failed ones stop early
    )


def _side_by_side(
    work: Callable[[Job], None], jobs: Sequence[Job], devices: Sequence[jax.Device]
) -> Iterator[Job]:
    """Run each job on the next free device, and yield it when it is done.

    Each device has a host thread, so that one can compile while another computes. No job starts
    after one has failed.
    """

    def on(device: jax.Device, job: Job) -> Job:
        with jax.default_device(device):
            work(job)
        return job

    left, free = iter(jobs), list(devices)
    running: dict[concurrent.futures.Future[Job], jax.Device] = {}
    with concurrent.futures.ThreadPoolExecutor(len(devices)) as pool:
        while True:
            for device, job in zip(tuple(free), left, strict=False):
                free.remove(device)
                running[pool.submit(on, device, job)] = device
            if not running:
                return
            for future in concurrent.futures.wait(running, return_when="FIRST_COMPLETED").done:
                free.append(running.pop(future))
                yield future.result()


def _design(own: Entry, key: Key[Array, ""], trials: int) -> np.ndarray:
    """The defaults and a Sobol design, whose key depends on the entry's name."""
    key = jax.random.fold_in(key, np.uint32(zlib.crc32(own.name.encode())))
    return np.concatenate([own.default_point()[None], sobol_design(key, dict(own.space), trials)])


def _stored(directory: pathlib.Path, about: dict[Cell, dict[str, Any]]) -> dict[Cell, Trials]:
    """The trials of the cells that ``directory`` holds; their descriptions must be equal."""
    check_index(directory)
    found = {}
    for cell, wanted in about.items():
        if (stored := read_cell(directory, cell)) is None:
            continue
        found[cell], _, description = stored
        for name, value in wanted.items():
            if description.get(name) != value:
                raise ValueError(
                    f"compare: {directory} holds trials of {cell[0]} on {cell[1]} ({cell[2]}) "
                    f"with another `{name}`; choose another directory for these."
                )
    return found


def _check_names(argument: str, names: Sequence[str]) -> None:
    """Raise unless there are names, all are different, and each may be part of a file name."""
    if not names or len(set(names)) < len(names):
        raise ValueError(
            f"compare: `{argument}` must be at least one, with different names, got {names}."
        )
    for name in names:
        if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*", name):
            raise ValueError(
                f"compare: a name in `{argument}` must consist of letters, digits, `_`, `-` and "
                f"`.`, and must not start with `.`, got {name!r}."
            )
