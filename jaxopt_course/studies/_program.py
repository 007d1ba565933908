"""One combination of static choices as one program, and the fastest way to run it.

A program takes a chunk of trainings at a time: their numbers, folds and keys are its arguments, so
that neither the number of trials nor their values are part of it. Programs are kept, so that a
second study of the same training compiles nothing.
"""

import collections
import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import PyTree

from jaxopt_course.core import remembered
from jaxopt_course.training import make_population

from ._devices import agreed, fetched, sharding_of, shards_of
from ._score import Kept, Metric, keep
from ._space import Choice, Dimensions


AHEAD = 2  # calls in flight, so that the device need not wait for the host
LADDER = (1, 8, 32, 128)  # how many at a time `auto` tries; 1 is "map"
LONG_ENOUGH = 0.1  # seconds of a call, two of which tell how long one takes; four of shorter ones


class Members(NamedTuple):
    """The trainings of a bucket, one a row, on the host.

    key: the data of its key.
    numbers: a column for each traced range, in the order of the dimensions.
    fold: which fold each sees.
    """

    key: np.ndarray
    numbers: list[np.ndarray]
    fold: np.ndarray

    def take(self, rows: np.ndarray) -> "Members":
        """Some of them."""
        return jax.tree.map(lambda column: column[rows], self)


@dataclasses.dataclass(eq=False)
class Program:
    """The trainings of a bucket, compiled for chunks of several sizes.

    Attributes:
        member: ``member(key data, (numbers, fold), rows) -> Kept`` of one training.
        mesh: that chunks are shared out over, or None.
        calls: what is compiled, by the shapes of its arguments.
        compile_seconds: by chunk size.
        call_seconds: how long a call takes, by chunk size, where that was measured.
    """

    member: Callable[..., Kept]
    mesh: Mesh | None
    calls: dict[Any, Callable[..., Kept]] = dataclasses.field(default_factory=dict)
    compile_seconds: dict[int, float] = dataclasses.field(default_factory=dict)
    call_seconds: dict[int, float] = dataclasses.field(default_factory=dict)

    @property
    def shards(self) -> int:
        return shards_of(self.mesh)

    def call(self, chunk: int, members: Members, rows: PyTree) -> Callable[[Members], Kept]:
        """The program for ``chunk`` trainings a device at a time; compiled if need be."""
        first = members.take(np.zeros(chunk * self.shards, int))
        shapes = tuple((x.shape, str(x.dtype)) for x in jax.tree.leaves((first, rows)))
        if shapes not in self.calls:
            population = make_population(
                self.member,
                [("key", "hyperparameters")],
                strategy="map" if chunk == 1 else "chunk",
                chunk_size=None if chunk == 1 else chunk,
                mesh=self.mesh,
            )
            begin = time.perf_counter()
            # The same numbers on every device, which looks up its own.
            program = jax.jit(population, in_shardings=sharding_of(self.mesh))
            lowered = program.lower(first.key, (first.numbers, first.fold), rows)
            self.calls[shapes] = lowered.compile()
            self.compile_seconds[chunk] = self.agreed(time.perf_counter() - begin)
        compiled = self.calls[shapes]
        return lambda some: compiled(some.key, (some.numbers, some.fold), rows)

    def agreed(self, seconds: float) -> float:
        """What all processes of the mesh go by."""
        return agreed(seconds, among_all=self.mesh is not None and self.mesh.is_multi_process)


@remembered
def program_of(
    train: Callable[..., Any],
    dimensions: Dimensions,
    picks: tuple[int, ...],
    metric: Metric,
    mode: str,
    impl: str,
    mesh: Mesh | None,
) -> Program:
    """The program of the options ``picks``, one for each choice of the space."""

    def member(key: Any, own: Any, rows: PyTree) -> Kept:
        numbers, fold = own
        picked, traced = iter(picks), iter(numbers)
        values = [
            kind.options[next(picked)] if isinstance(kind, Choice) else next(traced)
            for kind in dimensions.ranges
        ]
        own_rows = jax.tree.map(lambda x: x[fold], rows)
        key = jax.random.wrap_key_data(key, impl=impl)
        return keep(train(key, dimensions.fill(values), own_rows), metric, mode)

    return Program(member, mesh)


def execute(
    program: Program, members: Members, rows: PyTree, strategy: str, chunk_size: int
) -> Iterator[tuple[np.ndarray, Kept, int]]:
    """Run all members; which ones, what is kept of them, and how many ran at a time.

    "auto" runs a few calls with each size of the ladder, and the rest with the fastest. What it
    measures with are trainings that have to be done in any case.
    """
    done, count = 0, len(members.fold)
    if strategy == "auto":
        while (chunk := _worth_measuring(program, count - done)) is not None:
            for numbers, kept in _measured(program, chunk, members, rows, done):
                done += len(numbers)
                yield numbers, kept, chunk
        if done == count:
            return
        chunk = _fastest(program, count - done)
    else:
        chunk = {"map": 1, "chunk": chunk_size, "vmap": -(-count // program.shards)}[strategy]
    call = program.call(chunk, members, rows)
    for numbers, kept in _in_turn(call, members, range(done, count, chunk * program.shards)):
        yield numbers, kept, chunk


def _in_turn(
    call: Callable[[Members], Kept], members: Members, begins: range
) -> Iterator[tuple[np.ndarray, Kept]]:
    """Run the members from each of these on up to the next, with a few calls in flight."""
    waiting: collections.deque[tuple[np.ndarray, Kept]] = collections.deque()
    for begin in begins:
        numbers, some = _call_at(members, begin, begins.step)
        waiting.append((numbers, call(some)))
        if len(waiting) > AHEAD:
            yield _fetched(*waiting.popleft())
    while waiting:
        yield _fetched(*waiting.popleft())


def _worth_measuring(program: Program, left: int) -> int | None:
    """The next size of the ladder whose speed should be known; None: do the rest.

    The climb ends where a larger chunk is not faster by a tenth, and where compiling the next one,
    if it is not compiled yet, would not pay though it were twice as fast.
    """
    fastest = math.inf  # seconds a training
    for chunk in LADDER:
        size = chunk * program.shards
        if chunk not in program.call_seconds:
            known = chunk in program.compile_seconds
            compiling = 0.0 if known else max(program.compile_seconds.values(), default=0.0)
            worth = chunk == 1 or (left >= size and left * fastest > 2 * compiling)
            return chunk if worth and left > 0 else None
        seconds = program.call_seconds[chunk] / size
        if seconds > 0.9 * fastest:
            return None
        fastest = seconds
    return None


def _measured(
    program: Program, chunk: int, members: Members, rows: PyTree, begin: int
) -> Iterator[tuple[np.ndarray, Kept]]:
    """A call that warms up, and a few in flight as the rest will be: what one takes is noted."""
    call, size = program.call(chunk, members, rows), chunk * program.shards
    begins = range(begin, len(members.fold), size)
    started = time.perf_counter()
    yield from _in_turn(call, members, begins[:1])
    calls = 2 if program.agreed(time.perf_counter() - started) > LONG_ENOUGH else 4
    started = time.perf_counter()
    yield from _in_turn(call, members, begins[1 : 1 + calls])
    if timed := len(begins[1 : 1 + calls]):
        program.call_seconds[chunk] = program.agreed((time.perf_counter() - started) / timed)


def _fastest(program: Program, count: int) -> int:
    """The chunk size that does ``count`` members first, going by what was measured."""
    calls = lambda chunk: math.ceil(count / (chunk * program.shards))
    return min(program.call_seconds, key=lambda chunk: calls(chunk) * program.call_seconds[chunk])


def _call_at(members: Members, begin: int, size: int) -> tuple[np.ndarray, Members]:
    """Which members a call from ``begin`` on runs; the last one fills up what there is room for."""
    numbers, last = np.arange(begin, begin + size), len(members.fold) - 1
    return numbers[numbers <= last], members.take(np.minimum(numbers, last))


def _fetched(numbers: np.ndarray, kept: Kept) -> tuple[np.ndarray, Kept]:
    """What is kept of these members, on the host."""
    return numbers, jax.tree.map(lambda x: x[: len(numbers)], fetched(kept))
