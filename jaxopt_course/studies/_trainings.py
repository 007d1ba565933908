"""The trainings of a search: each configuration, fold and seed, in the program of its options."""

import collections
import itertools
import math
import time
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxopt_course.checkpoints import fingerprint

from ._program import Members, Program, execute, program_of
from ._space import Choice, Points, option_name
from ._study import Study, digest
from ._table import Table


class Trainings:
    """Configurations x folds x seeds, numbered in this order.

    If it ``warns``, it names the numbers that have no effect.
    """

    def __init__(self, study: Study, seeds: tuple[int, ...], *, warns: bool) -> None:
        self.study, self.seeds = study, seeds
        self.axes = (1 if study.rows is None else len(study.rows.train)), len(seeds)
        self.each = math.prod(self.axes)  # of a configuration
        self.choices = list(study.apart.choices.items())
        self.tried = set[tuple[int, ...]]()  # options of the programs so far
        self.programs: dict[tuple[int, ...], Program] = {}  # by their options
        self.read = set[int]() if warns else None  # numbers that they read; None: no need to know

    def values(self, table: Table) -> np.ndarray:
        """The mean score of each configuration; NaN if a training failed or is not done."""
        return table.scores.reshape(-1, self.each).mean(1)

    def run(
        self, points: Points, first: int, table: Table, strategy: str, chunk_size: int
    ) -> Iterator[None]:
        """Train what is not done yet of the configurations from ``first`` on.

        Yields whenever it has filled rows of ``table``. What a program raises is raised again after
        all other trainings.
        """
        rows = self.study.copied(self.study.rows)
        failures: list[Exception] = []
        buckets: dict[tuple[int, ...], list[int]] = collections.defaultdict(list)
        for number, point in enumerate(points[first:].tolist(), first):
            active = self.study.apart.active(point)
            picks = tuple(kind.index(point[i]) if active[i] else 0 for i, kind in self.choices)
            buckets[picks] += range(number * self.each, (number + 1) * self.each)
        last = next(reversed(buckets.values()), None)
        for picks, bucket in buckets.items():
            numbers = np.array(bucket)
            numbers = numbers[~table.done[numbers]]
            if numbers.size == 0:
                self.read = None  # its program is not compiled
                continue
            program = self._program(picks)
            begin, compiled = time.perf_counter(), sum(program.compile_seconds.values())
            members = self._members(points, numbers)
            trained = execute(program, members, rows, strategy, chunk_size)
            chosen = zip(picks, self.choices, strict=True)
            options = [option_name(kind.options[i]) for i, (_, kind) in chosen]
            for some, kept, chunk in _unless_it_raises(trained, options, failures):
                table.record(numbers[some], kept)
                table.chunks[chunk] += len(some)
                if self.read is not None:
                    self.read |= program.read
                if bucket is last and not failures:
                    self._warn_of_unread(set(buckets))
                yield
            compiled = sum(program.compile_seconds.values()) - compiled
            table.compile_seconds += compiled
            table.run_seconds += time.perf_counter() - begin - compiled
        if failures:
            raise failures[0]

    def _warn_of_unread(self, new: set[tuple[int, ...]]) -> None:
        """Warn once of numbers that no program reads, as soon as each program has been run."""
        self.tried |= new
        if self.read is None or len(self.tried) < self.study.apart.programs:
            return
        names = [
            name
            for name, kind in zip(self.study.apart.names, self.study.apart.ranges, strict=True)
            if not isinstance(kind, Choice)
        ]
        unread = [name for i, name in enumerate(names) if i not in self.read]
        self.read = None
        if unread:
            warnings.warn(
                f"search: no result depends on {', '.join(map(repr, unread))}: `train` does not "
                "read it, so searching it has no effect.",
                stacklevel=6,  # the user's call: above `run`, `_train_all`, `search`, its wrapper
            )

    def about(self) -> dict[str, Any]:
        """What distinguishes these trainings from others, in terms of JSON."""
        members = self._members(np.zeros((1, len(self.study.apart.ranges))), np.zeros(1, int))
        key, own = jax.tree.map(lambda column: column[0], members)
        about = {"seeds": list(self.seeds), "folds": digest(self.study.rows)}
        failures: list[Exception] = []
        for picks in itertools.product(*(range(len(kind.options)) for _, kind in self.choices)):
            try:  # the first options whose program can be built
                member = self._program(picks).member
                return {**about, "train": fingerprint(member, key, own, self.study.rows)}
            except Exception as error:  # `run` raises it, after all other trainings
                failures.append(error)
        raise failures[0]

    def _program(self, picks: tuple[int, ...]) -> Program:
        if picks not in self.programs:
            own = self.study
            impl = str(jax.random.key_impl(own.key))
            self.programs[picks] = program_of(
                own.training, own.apart, picks, own.ranking, impl, own.mesh
            )
        return self.programs[picks]

    def _members(self, points: Points, numbers: np.ndarray) -> Members:
        """The arguments of the trainings ``numbers``."""
        trial, fold, seed = np.unravel_index(numbers, (len(points), *self.axes))
        fold_in = lambda s: jax.random.fold_in(self.study.key, s)
        keys = jax.vmap(fold_in)(jnp.array(self.seeds, "uint32"))
        columns = [column[trial] for column in self.study.apart.numbers(points)]
        return np.asarray(jax.random.key_data(keys))[seed], (columns, fold.astype(np.int32))


def _unless_it_raises(
    trained: Iterable[Any], options: list[Any], failures: list[Exception]
) -> Iterator[Any]:
    """What ``trained`` yields; what it raises is appended to ``failures``."""
    try:
        yield from trained
    except Exception as error:
        if options:
            error.add_note(
                f"search: raised by the trainings with {options}; all others of this round are "
                "done."
            )
        failures.append(error)
