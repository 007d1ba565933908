"""Trainings that advance together, some of which are then given up for copies of others.

    start    all of them, each from its own key
    advance  the first so many of each device to a step; a score each
    take     the training of place ``sources[i]`` to place i, with everything that it is

The last step, how many train and where they lie come traced, so that one program serves all
budgets. Devices train without a word to each other: only ``take`` moves anything between them.
Places are dealt out in turn, so that each device has as many as the others, or one more.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, PyTree

from jaxopt_course.core import canonical_convolutions, remembered
from jaxopt_course.training import Rows, Stages

from ._designs import Points
from ._devices import copied, dealt, fetched, is_key, sharding_of, shards_of
from ._score import metric_name
from ._space import Dimensions, values_at


class Programs(NamedTuple):
    """The three programs of a cohort, each compiled once for its number of places.

    start: ``start(numbers, keys, rows) -> trainings``.
    advance: ``advance(trainings, numbers, rows, counts, end) -> (trainings, scores)``.
    take: ``take(trainings, sources) -> trainings``.
    """

    start: Callable[..., Any]
    advance: Callable[..., tuple[Any, Array]]
    take: Callable[..., Any]


@remembered
def programs_of(
    stages: Stages, metric: str | None, dimensions: Dimensions, mesh: Mesh | None
) -> Programs:
    """The programs of a cohort; its trainings are scored by ``metric``, a name of their rows."""

    def hyperparameters(numbers: Any, place: Any) -> PyTree:
        return dimensions.fill([column[place] for column in numbers])

    def start(numbers: Any, keys: Any, rows: Any) -> Any:
        begin = lambda place: stages.start(keys[place], hyperparameters(numbers, place), rows)
        return jax.lax.map(begin, jnp.arange(keys.shape[0], dtype=jnp.int32))

    def advance(trainings: Any, numbers: Any, rows: Any, counts: Any, end: Any) -> Any:
        def one(place: Any, carry: Any) -> Any:
            trainings, scores = carry
            mine, hp = jax.tree.map(lambda x: x[place], trainings), hyperparameters(numbers, place)
            mine = stages.advance(mine, hp, rows, end)
            mine, row = stages.evaluate(mine, hp, rows)
            value = row[metric_name("stages", metric, row)]
            score = jnp.where(mine.running, value, jnp.nan).astype(scores.dtype)
            trainings = jax.tree.map(lambda x, y: x.at[place].set(y), trainings, mine)
            return trainings, scores.at[place].set(score)

        places = jax.tree.leaves(trainings)[0].shape[0]
        scores = jnp.full(places, jnp.nan, jnp.result_type(float))
        run = canonical_convolutions(lambda carry: jax.lax.fori_loop(0, counts[0], one, carry))
        return run((trainings, scores))

    def take(trainings: Any, sources: Any) -> Any:
        return jax.tree.map(lambda x: x[sources], trainings)

    if mesh is not None:
        everywhere, shared = PartitionSpec(), PartitionSpec("pop")
        shard = functools.partial(jax.shard_map, mesh=mesh, out_specs=shared, check_vma=False)
        start = shard(start, in_specs=(shared, shared, everywhere))
        advance = shard(advance, in_specs=(shared, shared, everywhere, shared, everywhere))
    return Programs(
        jax.jit(start),
        jax.jit(advance, donate_argnums=0),
        jax.jit(take, out_shardings=sharding_of(mesh, "pop")),
    )


class Cohort:
    """Trainings in their places; what is handed out and taken in is in the order of the members.

    Args:
        programs: that it runs.
        dimensions: of the space.
        rows: which rows train and which validate.
        mesh: the devices.
        points: at which each begins.
        keys: one for each point.
        size: how many places the programs are made for, if that is more than there are points.
    """

    def __init__(
        self,
        programs: Programs,
        dimensions: Dimensions,
        rows: Rows | None,
        mesh: Mesh | None,
        *,
        points: Points,
        keys: Array,
        size: int = 0,
    ) -> None:
        self.programs, self.dimensions, self.mesh = programs, dimensions, mesh
        self.shards = shards_of(mesh)
        self.each = -(-max(size, len(points)) // self.shards)  # places of a device
        self.rows = copied(rows, mesh)
        data = dealt(self._in_places(np.asarray(jax.random.key_data(keys))), mesh)
        keys = jax.random.wrap_key_data(data, impl=jax.random.key_impl(keys))
        self.begin = (self._numbers(points), keys, self.rows)
        self.trainings: Any = None

    def start(self) -> None:
        """Begin all trainings."""
        self.trainings = self.programs.start(*self.begin)

    def advance(self, points: Points, end: int) -> np.ndarray:
        """Train as many as there are ``points``, with these numbers, up to step ``end``.

        Returns:
            The score of each; NaN where it has diverged.
        """
        n = len(points)
        counts = np.bincount(np.arange(n) % self.shards, minlength=self.shards).astype(np.int32)
        self.trainings, scores = self.programs.advance(
            self.trainings,
            self._numbers(points),
            self.rows,
            dealt(counts, self.mesh),
            copied(np.int32(end), self.mesh),
        )
        return np.asarray(fetched(scores), np.float64)[self._places(n)]

    def take(self, sources: np.ndarray) -> None:
        """Member i goes on from where member ``sources[i]`` is; there are as many as sources."""
        if np.array_equal(sources, np.arange(len(sources))):
            return
        places = np.arange(self.each * self.shards, dtype=np.int32)
        places[self._places(len(sources))] = self._places(self.each * self.shards)[sources]
        self.trainings = self.programs.take(self.trainings, dealt(places, self.mesh))

    def state(self, n: int) -> PyTree:
        """The first ``n`` trainings, on the host; of keys their data."""
        if n == 0:
            return self.state_like(0)
        data = jax.tree.map(lambda x: jax.random.key_data(x) if is_key(x) else x, self.trainings)
        return jax.tree.map(lambda x: x[self._places(n)], fetched(data))

    def state_like(self, n: int) -> PyTree:
        """Zeros of the shapes and dtypes of ``state(n)``; nothing has to be compiled for it."""

        def zeros(x: Any) -> np.ndarray:
            x = jax.eval_shape(jax.random.key_data, x) if is_key(x) else x
            return np.zeros((n, *x.shape[1:]), x.dtype)

        return jax.tree.map(zeros, self._like())

    def set_state(self, state: PyTree) -> None:
        """Go on from what :meth:`state` gave."""

        def put(x: np.ndarray, like: Any) -> Array:
            placed = dealt(self._in_places(x), self.mesh)
            if not is_key(like):
                return placed
            impl = jax.random.key_impl(jnp.empty((), like.dtype))
            return jax.random.wrap_key_data(placed, impl=impl)

        self.trainings = jax.tree.map(put, state, self._like())

    def _like(self) -> PyTree:
        """Shapes and dtypes of the trainings."""
        return jax.eval_shape(self.programs.start, *self.begin)

    def _places(self, n: int) -> np.ndarray:
        """Where the first ``n`` members are: dealt out in turn."""
        i = np.arange(n, dtype=np.int32)
        return i % self.shards * self.each + i // self.shards

    def _in_places(self, column: np.ndarray) -> np.ndarray:
        """One row of ``column`` for each member, where it is; the first's where nobody is."""
        spread = np.repeat(column[:1], self.each * self.shards, axis=0)
        spread[self._places(len(column))] = column
        return spread

    def _numbers(self, points: Points) -> list[Array]:
        """The values of each range at ``points``, in their places."""
        columns = values_at(self.dimensions, points)
        return [dealt(self._in_places(column), self.mesh) for column in columns]
