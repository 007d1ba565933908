"""What a study trains: the axes configuration, fold and seed, and buckets of like programs."""

import collections
import dataclasses
import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float64, Key, PyTree

from jaxopt_course.core import checks
from jaxopt_course.data import Folds
from jaxopt_course.training import Rows, fingerprint

from ._designs import Points
from ._devices import checked_mesh, copied
from ._program import Members, Program, execute, program_of
from ._result import SearchResult
from ._saves import describe, digest
from ._score import Metric, check_mode
from ._space import Choice, configuration_at, dimensions_of, values_at
from ._table import Table


Strategy = Literal["map", "chunk", "vmap", "auto"]


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Study:
    """Everything about a study but its points; the arguments of :func:`search`."""

    train: Callable[..., Any]
    space: PyTree
    key: Key[Array, ""]
    seeds: tuple[int, ...]
    rows: Rows | None
    metric: Metric
    mode: Literal["min", "max"]
    strategy: Strategy
    chunk_size: int | None
    mesh: Mesh | None

    def __post_init__(self) -> None:
        check_mode("search", self.metric, self.mode)
        checks.choice("search", "strategy", self.strategy, ("map", "chunk", "vmap", "auto"))
        if self.chunk_size is not None:
            checks.integer("search", "chunk_size", self.chunk_size, "[1, inf)")
        in_chunks = self.strategy == "chunk"
        checks.beside("search", "`strategy='chunk'`", present=in_chunks, chunk_size=self.chunk_size)
        object.__setattr__(self, "mesh", checked_mesh("search", self.mesh))

    @property
    def trainings(self) -> tuple[int, int]:
        """Of a configuration: folds and seeds."""
        return (1 if self.rows is None else len(self.rows.train)), len(self.seeds)

    def values(self, table: Table) -> Float64[np.ndarray, "trials"]:
        """The mean score of each configuration; NaN if a training failed or is still to come."""
        return table.scores.reshape(-1, math.prod(self.trainings)).mean(1)

    def run(self, points: Points, table: Table, first: int, after: Callable[[], None]) -> None:
        """Train what is not done yet of ``points``, which are those from trial ``first`` on.

        Args:
            points: of the unit cube.
            table: is filled in.
            first: number of the first of them.
            after: is called whenever there is more in the table.

        Raises:
            Exception: what the program of an option raises, when all other trainings are done.
        """
        rows = copied(self.rows, self.mesh)
        failures: list[Exception] = []
        each = math.prod(self.trainings)
        for picks, trials in self._buckets(points).items():
            numbers = ((first + trials)[:, None] * each + np.arange(each)).ravel()
            numbers = numbers[~table.done[numbers]]
            if numbers.size == 0:
                continue
            members = self._members(points, numbers, first)
            program = self._program(picks)
            begin = time.perf_counter()
            compiled = sum(program.compile_seconds.values())
            trained = execute(program, members, rows, self.strategy, self.chunk_size or 8)
            for some, kept, chunk in self._unless_it_raises(trained, picks, failures):
                table.record(numbers[some], kept)
                table.chunks[chunk] += len(some)
                after()
            compiled = sum(program.compile_seconds.values()) - compiled
            table.compile_seconds += compiled
            table.run_seconds += time.perf_counter() - begin - compiled
        if failures:
            raise failures[0]

    def result(self, points: Points, table: Table) -> SearchResult:
        """What the table holds, by configuration, fold and seed."""
        axes = (len(points), *self.trainings)
        return SearchResult(
            space=self.space,
            points=points,
            configurations=tuple(configuration_at(self.space, point) for point in points),
            scores=table.scores.reshape(axes),
            history={name: x.reshape(*axes, -1) for name, x in table.history.items()},
            outcomes=table.outcomes.reshape(axes),
            metric=self.metric,
            mode=self.mode,
            rows=self.rows,
            key=self.key,
            seeds=self.seeds,
            seconds={"compile": table.compile_seconds, "run": table.run_seconds},
            chunks=dict(table.chunks),
        )

    def about(self) -> dict[str, Any]:
        """What tells this study from others, in a form that JSON can write."""
        return {
            **describe(self.space, self.key, self.metric, self.mode),
            "seeds": list(self.seeds),
            "folds": digest(self.rows),
            "train": self._fingerprint(),
        }

    def _fingerprint(self) -> Any:
        """Of the program of the first options that have one."""
        ranges = dimensions_of(self.space).ranges
        members = self._members(np.zeros((1, len(ranges))), np.zeros(1, int), 0)
        key, numbers, fold = jax.tree.map(lambda column: column[0], members)
        failures: list[Exception] = []
        choices = (range(len(kind.options)) for kind in ranges if isinstance(kind, Choice))
        for picks in itertools.product(*choices):
            try:
                return fingerprint(self._program(picks).member, key, (numbers, fold), self.rows)
            except Exception as error:  # `run` raises it, after all other trainings
                failures.append(error)
        raise failures[0]

    def _unless_it_raises(
        self, trained: Iterable[Any], picks: tuple[int, ...], failures: list[Exception]
    ) -> Iterator[Any]:
        """What ``trained`` yields; what it raises is added to ``failures``."""
        try:
            yield from trained
        except Exception as error:
            choices = [
                kind for kind in dimensions_of(self.space).ranges if isinstance(kind, Choice)
            ]
            if choices:
                options = [kind.options[pick] for kind, pick in zip(choices, picks, strict=True)]
                error.add_note(
                    f"search: raised by the trainings with {options}; all others of this round "
                    "are done."
                )
            failures.append(error)

    def _program(self, picks: tuple[int, ...]) -> Program:
        """Of the options ``picks``."""
        return program_of(
            self.train,
            dimensions_of(self.space),
            picks,
            self.metric,
            self.mode,
            str(jax.random.key_impl(self.key)),
            self.mesh,
        )

    def _buckets(self, points: Points) -> dict[tuple[int, ...], np.ndarray]:
        """The rows of ``points`` by the options that they pick."""
        ranges = dimensions_of(self.space).ranges
        choices = [(i, kind) for i, kind in enumerate(ranges) if isinstance(kind, Choice)]
        buckets = collections.defaultdict(list)
        for row, point in enumerate(points.tolist()):
            buckets[tuple(kind.index(point[i]) for i, kind in choices)].append(row)
        return {picks: np.array(found) for picks, found in buckets.items()}

    def _members(self, points: Points, numbers: np.ndarray, first: int) -> Members:
        """The arguments of the trainings ``numbers``."""
        folds, seeds = self.trainings
        trial, fold, seed = np.unravel_index(numbers, (first + len(points), folds, seeds))
        columns = values_at(dimensions_of(self.space), points)
        keys = jax.vmap(lambda s: jax.random.fold_in(self.key, s))(jnp.array(self.seeds, "uint32"))
        return Members(
            key=np.asarray(jax.random.key_data(keys))[seed],
            numbers=[column[trial - first] for column in columns],
            fold=fold.astype(np.int32),
        )


def fold_table(folds: Folds | Rows | None) -> Rows | None:
    """Rows with the folds in front; one split is one fold.

    Raises:
        ValueError: if the arrays do not have one fold a row, as many in each.
    """
    if folds is None:
        return None
    table: Rows = jax.tree.map(np.asarray, Rows(*folds))
    if table.train.ndim == 1:
        table = jax.tree.map(lambda x: x[None], table)
    shapes = {name: x.shape for name, x in table._asdict().items() if x is not None}
    if any(len(s) != 2 or s[0] != len(table.train) for s in shapes.values()) or not shapes:
        raise ValueError(
            f"search: all arrays of `folds` must have one fold a row, got the shapes {shapes}."
        )
    return table


def seed_numbers(seeds: int | Iterable[int]) -> tuple[int, ...]:
    """The numbers of the seeds: as they are, or the first so many.

    Raises:
        ValueError: if it is none, or one of them is below 0 or there twice.
    """
    if isinstance(seeds, int):
        checks.integer("search", "seeds", seeds, "[1, inf)")
        return tuple(range(seeds))
    numbers = tuple(seeds)
    for number in numbers:
        checks.integer("search", "seeds", number, "[0, 4294967295)")
    if not numbers or len(set(numbers)) < len(numbers):
        raise ValueError(f"search: `seeds` must be at least one number, each once, got {numbers}.")
    return numbers
