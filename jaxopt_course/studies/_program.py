"""One combination of options as one program, and the fastest way to run it.

A program takes a chunk of trainings at a time. Their keys, numbers and folds are its arguments, so
the program does not depend on the number of trials or on their values. Programs are remembered: a
second study of the same training compiles nothing.
"""

import collections
import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.interpreters import partial_eval
from jax.sharding import Mesh
from jaxtyping import PyTree

from jaxopt_course.core import on_host, remembered
from jaxopt_course.training import make_population

from ._space import Choice, Space
from ._study import Kept, Ranking, keep, sharding_of, shards_of
from ._table import agreed


AHEAD = 2  # calls in flight, so that the device need not wait for the host
LADDER = (1, 8, 32, 128)  # chunk sizes that `auto` tries; 1 is "map"
LONG_ENOUGH = 0.1  # seconds of a call: 2 such calls measure the speed; of shorter ones it takes 4

# The trainings of a program, one a row of each array: (key data, (numbers of each range, fold)).
Members = tuple[np.ndarray, tuple[list[np.ndarray], np.ndarray]]


@dataclasses.dataclass(eq=False)
class Program:
    """The trainings with one combination of options, compiled for chunks of several sizes.

    Attributes:
        member: ``member(key data, (numbers, fold), rows) -> Kept``, one training.
        mesh: the devices that share a chunk, or None.
        calls: compiled functions, by the shapes of their arguments.
        compile_seconds: durations of compilation, by chunk size.
        call_seconds: measured durations of a call, by chunk size.
        read: which numbers of a member its results depend on, by their positions.
    """

    member: Callable[..., Kept]
    mesh: Mesh | None
    calls: dict[Any, Callable[..., Kept]] = dataclasses.field(default_factory=dict)
    compile_seconds: dict[int, float] = dataclasses.field(default_factory=dict)
    call_seconds: dict[int, float] = dataclasses.field(default_factory=dict)
    read: set[int] = dataclasses.field(default_factory=set)

    @property
    def shards(self) -> int:
        return shards_of(self.mesh)

    def call(self, chunk: int, members: Members, rows: PyTree) -> Callable[[Members], Kept]:
        """The function for ``chunk`` trainings a device, compiled if need be."""
        first = _taken(members, np.zeros(chunk * self.shards, int))
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
            # Every device has all members and looks up its own.
            program = jax.jit(population, in_shardings=sharding_of(self.mesh))
            traced = program.trace(*first, rows)
            self.read |= _read(traced.jaxpr, len(first[1][0]))
            self.calls[shapes] = traced.lower().compile()
            self.compile_seconds[chunk] = self.agreed(time.perf_counter() - begin)
        compiled = self.calls[shapes]
        return lambda some: compiled(*some, rows)

    def agreed(self, seconds: float) -> float:
        """The duration that all processes of the mesh use."""
        return agreed(seconds, among_all=self.mesh is not None and self.mesh.is_multi_process)


@remembered
def program_of(
    train: Callable[..., Any],
    space: Space,
    picks: tuple[int, ...],
    ranking: Ranking,
    impl: str,
    mesh: Mesh | None,
) -> Program:
    """The program of the options ``picks``, one for each choice, with keys of kind ``impl``."""

    def member(key: Any, own: Any, rows: PyTree) -> Kept:
        numbers, fold = own
        picked, traced = iter(picks), iter(numbers)
        values = [
            kind.options[next(picked)] if isinstance(kind, Choice) else next(traced)
            for kind in space.ranges
        ]
        own_rows = jax.tree.map(lambda x: x[fold], rows)
        key = jax.random.wrap_key_data(key, impl=impl)
        return keep(train(key, space.fill(values), own_rows), *ranking)

    return Program(member, mesh)


def execute(
    program: Program, members: Members, rows: PyTree, strategy: str, chunk_size: int
) -> Iterator[tuple[np.ndarray, Kept, int]]:
    """Run all members; yields the numbers of some, what is kept of them, and their chunk size.

    "auto" runs a few calls with each size of the ladder, then the rest with the fastest one. The
    measured calls train members that have to be trained in any case.
    """
    done, count = 0, len(members[0])
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
    """Run the members from each of ``begins`` up to the next, with a few calls in flight."""
    last = len(members[0]) - 1
    waiting: collections.deque[tuple[np.ndarray, Kept]] = collections.deque()

    def oldest() -> tuple[np.ndarray, Kept]:
        numbers, kept = waiting.popleft()
        return numbers, jax.tree.map(lambda x: x[: len(numbers)], on_host(kept))

    for begin in begins:
        numbers = np.arange(begin, begin + begins.step)
        some = _taken(members, np.minimum(numbers, last))  # the last member fills the last chunk
        waiting.append((numbers[numbers <= last], call(some)))
        if len(waiting) > AHEAD:
            yield oldest()
    while waiting:
        yield oldest()


def _worth_measuring(program: Program, left: int) -> int | None:
    """The next chunk size whose speed should be measured; None: do the rest.

    The climb ends where a larger chunk is not faster by a tenth, or where compiling the next size
    would not pay off even if it were twice as fast.
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
    """Run a call to warm up and then a few in flight, and note the duration of one of these."""
    call = program.call(chunk, members, rows)
    begins = range(begin, len(members[0]), chunk * program.shards)
    started = time.perf_counter()
    yield from _in_turn(call, members, begins[:1])
    calls = 2 if program.agreed(time.perf_counter() - started) > LONG_ENOUGH else 4
    started = time.perf_counter()
    yield from _in_turn(call, members, begins[1 : 1 + calls])
    if timed := len(begins[1 : 1 + calls]):
        program.call_seconds[chunk] = program.agreed((time.perf_counter() - started) / timed)


def _fastest(program: Program, count: int) -> int:
    """The measured chunk size that finishes ``count`` members first."""
    calls = lambda chunk: math.ceil(count / (chunk * program.shards))
    return min(program.call_seconds, key=lambda chunk: calls(chunk) * program.call_seconds[chunk])


def _read(program: Any, count: int) -> set[int]:
    """Which of the ``count`` numbers, which follow the key, the results of a program depend on."""
    outputs = [True] * len(program.jaxpr.outvars)
    _, used = partial_eval.dce_jaxpr(program.jaxpr, outputs)
    return {i for i, is_used in enumerate(used[1 : 1 + count]) if is_used}


def _taken(members: Members, rows: np.ndarray) -> Members:
    return jax.tree.map(lambda column: column[rows], members)
