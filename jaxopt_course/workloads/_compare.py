"""Compare optimizers with equal budgets of trials on every workload, and store each trial.

Tuning studies are simulated afterwards, by drawing from the stored trials: see
:func:`tuning_studies`.

References: Dahl et al., "Benchmarking Neural Network Training Algorithms", 2023,
https://arxiv.org/abs/2306.07179; Sivaprasad et al., "Optimizer Benchmarking Needs to Account for
Hyperparameter Tuning", ICML 2020, https://arxiv.org/abs/1910.11758.
"""

import concurrent.futures
import os
import pathlib
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal

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
    check_name,
    comparison_of,
    read_cell,
    write_cell,
    write_index,
)
from ._entries import Entry
from ._workload import VARIANTS, Workload


Strategy = Literal["map", "chunk", "vmap"]
Job = tuple[Entry, Workload, str]


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
        strategy: as of :func:`~jaxopt_course.training.make_population`. With "map" one training
            runs after the other, and seconds are those of a single training.
        devices: each one trains cells (an optimizer on a variant) of its own. None: the first.
        resume: directory that stores each cell once it is done, and from which an interrupted
            comparison resumes. Entries and workloads may be added later. Changes in the code
            of optimizers and workloads are not noticed.
        progress: show it on stderr: a bar on a terminal, else a line every five seconds.

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
    _check_names("workloads", [own.name for own in problems])
    design_key, seed_key = jax.random.split(key)
    designs = {own.name: _design(own, design_key, trials) for own in entries}
    jobs = [(own, on, variant) for on in problems for variant in VARIANTS for own in entries]
    numbers = {"base": seeds, "held_out": held_out_seeds}
    directory = None if resume is None else pathlib.Path(resume)
    about = {
        _cell(job): _about(*job, designs[job[0].name], seed_key, numbers[job[2]]) for job in jobs
    }
    if directory is not None:
        check_index(directory)
    found = {} if directory is None else _kept(directory, about)

    def train(job: Job) -> None:
        own, cell = job[0], _cell(job)
        found[cell] = _train(*job, designs[own.name], seed_key, numbers[job[2]], strategy)
        if directory is not None:
            write_cell(directory, cell, found[cell], designs[own.name], about[cell])

    left = [job for job in jobs if _cell(job) not in found]
    position = lambda done: f"cell {done}/{len(jobs)}"
    with show_progress(position, len(jobs), len(found), shown=progress) as show:
        for job in _side_by_side(train, left, devices or jax.devices()[:1]):
            show(len(found), " on ".join(_cell(job)[:2]) + f", {job[2]}")
    comparison = comparison_of(
        [own.name for own in entries],
        [on.name for on in problems],
        {(on.name, variant): on.targets[variant] for on in problems for variant in VARIANTS},
        found,
        designs,
        about,
    )
    if directory is not None:
        write_index(directory, comparison)
    return comparison


def make_training(own: Entry, on: Workload, variant: str) -> tuple[Callable[..., Any], float]:
    """``train(key, numbers) -> Run`` and the cost of one of its steps, in batches of the workload.

    With gradients of the full batch, the number of epochs is the same, rounded to an integer.
    """
    task, data, rows = on.variants[variant]()
    batch_size = len(rows.train) if own.full_batch else on.batch_size
    cost = batch_size / on.batch_size
    train = make_train(
        lambda numbers: (task, own.build(numbers)),
        data,
        steps=max(round(on.steps / cost), 1),
        batch_size=batch_size,
        evaluate_every=max(round(on.evaluate_every / cost), 1),
    )
    return lambda key, numbers: train(key, numbers, rows), cost


def _train(
    own: Entry,
    on: Workload,
    variant: str,
    points: np.ndarray,
    key: Key[Array, ""],
    seeds: int,
    strategy: Strategy,
) -> Trials:
    """Run the trainings of one cell in one compiled program."""
    train, cost = make_training(own, on, variant)
    history_of = lambda key, numbers, _: train(key, numbers).history
    run = make_population(history_of, ("hyperparameters", "key"), strategy=strategy)
    keys = jax.vmap(lambda s: jax.random.fold_in(key, s))(jnp.arange(seeds, dtype="uint32"))
    numbers = _numbers(own, points)
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


def _numbers(own: Entry, points: np.ndarray) -> dict[str, np.ndarray]:
    """One array of values for each range, at ``points`` of the unit cube."""
    rows = [configuration_at(dict(own.space), point) for point in points]
    dtype = lambda kind: jnp.result_type(float) if isinstance(kind, Float) else np.int32
    return {
        name: np.array([row[name] for row in rows], dtype(kind)) for name, kind in own.space.items()
    }


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
    """The defaults and a Sobol design, whose key depends on the optimizer's name."""
    key = jax.random.fold_in(key, np.uint32(zlib.crc32(own.name.encode())))
    return np.concatenate([own.default_point()[None], sobol_design(key, dict(own.space), trials)])


def _about(
    own: Entry,
    on: Workload,
    variant: str,
    points: np.ndarray,
    key: Key[Array, ""],
    seeds: int,
) -> dict[str, Any]:
    """The description of a cell, as JSON can write it."""
    return {
        "trials": len(points) - 1,
        "seeds": seeds,
        "key": np.asarray(jax.random.key_data(key)).tolist(),
        "space": {name: str(kind) for name, kind in sorted(own.space.items())},
        "numbers": {name: x.tolist() for name, x in sorted(_numbers(own, points).items())},
        "full_batch": own.full_batch,
        "steps": on.steps,
        "batch_size": on.batch_size,
        "evaluate_every": on.evaluate_every,
    }


def _cell(job: Job) -> Cell:
    own, on, variant = job
    return own.name, on.name, variant


def _kept(directory: pathlib.Path, about: dict[Any, Any]) -> dict[Any, Trials]:
    """The trials of the cells that ``directory`` holds; their descriptions must be equal."""
    found = {}
    for cell, wanted in about.items():
        if (kept := read_cell(directory, cell)) is None:
            continue
        for name, value in wanted.items():
            if kept[2].get(name) != value:
                optimizer, workload, variant = cell
                raise ValueError(
                    f"compare: {directory} holds trials of {optimizer} on {workload} ({variant}) "
                    f"with another `{name}`; choose another directory for these."
                )
        found[cell] = kept[0]
    return found


def _check_names(argument: str, names: Sequence[str]) -> None:
    for name in names:
        check_name("compare", name)
    if not names or len(set(names)) < len(names):
        raise ValueError(
            f"compare: `{argument}` must be at least one, each of its own name, got {names}."
        )
