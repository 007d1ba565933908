"""Trainings that advance together, some of which are then replaced by copies of others.

    start    begin all of them, each from its own key
    advance  train the first ones on each device up to a step, and score each
    take     replace the training in place i by that in place ``sources[i]``, with all its state

The last step, the number of trainings and their hyperparameters are traced, so one program serves
all budgets. Devices train independently; only ``take`` moves anything between them. Members are
dealt to the devices in turn, so that the devices' shares differ by at most one.
"""

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, PyTree

from jaxopt_course.checkpoints import fingerprint
from jaxopt_course.core import canonical_convolutions, is_key, on_host, remembered, show_progress
from jaxopt_course.training import Training

from ._designs import is_design, sobol_design
from ._space import Points, Space
from ._study import Study, best_text, digest, metric_name, sharding_of, shards_of
from ._table import open_store


@remembered
def programs_of(
    training: Callable[..., Training], metric: str | None, space: Space, mesh: Mesh | None
) -> Any:
    """The compiled functions of a cohort whose trainings are scored by ``metric``.

    Returns:
        ``start(numbers, keys, rows) -> trainings``,
        ``advance(trainings, numbers, rows, counts, end) -> (trainings, scores)``,
        ``take(trainings, sources) -> trainings``. Each compiles once for its number of places.
    """

    def hyperparameters(numbers: Any, place: Any) -> PyTree:
        return space.fill([column[place] for column in numbers])

    def start(numbers: Any, keys: Any, rows: Any) -> Any:
        own = lambda place: training(hyperparameters(numbers, place), rows)
        begin = lambda place: own(place).start(keys[place])
        return jax.lax.map(begin, jnp.arange(keys.shape[0], dtype=jnp.int32))

    def advance(trainings: Any, numbers: Any, rows: Any, counts: Any, end: Any) -> Any:
        def one(place: Any, carry: Any) -> Any:
            trainings, scores = carry
            mine = jax.tree.map(lambda x: x[place], trainings)
            own = training(hyperparameters(numbers, place), rows)
            mine, row = own.evaluate(own.advance(mine, end))
            value = row[metric_name("training", metric, row)]
            score = jnp.where(mine.running, value, jnp.nan).astype(scores.dtype)
            trainings = jax.tree.map(lambda x, y: x.at[place].set(y), trainings, mine)
            return trainings, scores.at[place].set(score)

        places = jax.tree.leaves(trainings)[0].shape[0]
        # Not NaN, which `jax_debug_nans` would refuse; the scores of other places are not used.
        scores = jnp.zeros(places, jnp.result_type(float))
        run = canonical_convolutions(lambda carry: jax.lax.fori_loop(0, counts[0], one, carry))
        return run((trainings, scores))

    def take(trainings: Any, sources: Any) -> Any:
        return jax.tree.map(lambda x: x[sources], trainings)

    if mesh is not None:
        everywhere, shared = PartitionSpec(), PartitionSpec("pop")
        shard = functools.partial(jax.shard_map, mesh=mesh, out_specs=shared, check_vma=False)
        start = shard(start, in_specs=(shared, shared, everywhere))
        advance = shard(advance, in_specs=(shared, shared, everywhere, shared, everywhere))
    take = jax.jit(take, out_shardings=sharding_of(mesh, "pop"))
    return jax.jit(start), jax.jit(advance, donate_argnums=0), take


class Cohort:
    """The trainings of a study in rounds. Arguments and results are in the order of the members.

    Args:
        study: the study, whose space holds no choice.
        points: the point at which each member begins.
        keys: the key of each member.
        size: number of places that the programs are compiled for, if it exceeds that of the points.
    """

    def __init__(self, study: Study, points: Points, keys: Array, size: int = 0) -> None:
        self.study = study
        programs = programs_of(study.training, study.ranking.metric, study.apart, study.mesh)
        self._start, self._advance, self._take = programs
        self.shards = shards_of(study.mesh)
        each = -(-max(size, len(points)) // self.shards)  # places of a device
        # The place of each member, and the member in each place.
        self.places = np.arange(each * self.shards).reshape(self.shards, each).T.ravel()
        self.members = np.argsort(self.places)
        self.rows = study.copied(study.rows)
        self.begin = (self._numbers(points), self._dealt(keys), self.rows)
        self.trainings: Any = None

    def advance(self, points: Points, end: int) -> np.ndarray:
        """Train the first ``len(points)`` members to step ``end``, with the values at ``points``.

        Returns the score of each, which is NaN if it has diverged.
        """
        n = len(points)
        counts = np.bincount(np.arange(n) % self.shards, minlength=self.shards).astype(np.int32)
        counts, end = self.study.dealt(counts), self.study.copied(np.int32(end))
        arguments = self.trainings, self._numbers(points), self.rows, counts, end
        self.trainings, scores = self._advance(*arguments)
        return np.asarray(on_host(scores), np.float64)[self.places[:n]]

    def take(self, sources: np.ndarray) -> None:
        """Replace member i by a copy of member ``sources[i]``."""
        if np.array_equal(sources, np.arange(len(sources))):
            return
        places = np.arange(len(self.places), dtype=np.int32)
        places[self.places[: len(sources)]] = self.places[sources]
        self.trainings = self._take(self.trainings, self.study.dealt(places))

    def state(self, n: int) -> PyTree:
        """The first ``n`` trainings on the host; keys as their data."""
        if n == 0:
            return self.state_like(0)
        return jax.tree.map(lambda x: x[self.places[:n]], on_host(_key_data(self.trainings)))

    def state_like(self, n: int) -> PyTree:
        """Zeros of the shapes and dtypes of ``state(n)``; compiles nothing."""
        like = jax.eval_shape(_key_data, self._like())
        return jax.tree.map(lambda x: np.zeros((n, *x.shape[1:]), x.dtype), like)

    def set_state(self, state: PyTree) -> None:
        """Continue from what :meth:`state` returned."""

        def put(x: Any, like: Any) -> Array:
            if is_key(like):
                impl = jax.random.key_impl(jnp.empty((), like.dtype))
                x = jax.random.wrap_key_data(x, impl=impl)
            return self._dealt(x)

        self.trainings = jax.tree.map(put, state, self._like())

    def run(
        self,
        record: dict[str, np.ndarray],
        one_round: Callable[[int], None],
        remaining: Sequence[int],
        unit: str,
        **about: Any,
    ) -> None:
        """Run all rounds that are not saved yet; save and show the progress after each.

        Args:
            record: arrays that ``one_round`` fills row by row; one is named ``"scores"``.
            one_round: does round i, up to the beginning of the next one.
            remaining: number of members that continue after each round.
            unit: what a round is called.
            about: what distinguishes the study from others of its kind.
        """
        study, rounds = self.study, len(remaining)
        like = lambda info: {**record, "trainings": self.state_like(remaining[info.step - 1])}
        position = lambda done: f"{unit} {done}/{rounds}"
        with open_store(study, lambda: self._about(about), like) as (saved, save):
            done = 0 if saved is None else saved.step
            if saved is not None:
                for name, values in record.items():
                    values[...] = saved.tree[name]
            if done == rounds:
                return
            if saved is None:
                self.trainings = self._start(*self.begin)
            else:
                self.set_state(saved.tree["trainings"])
            with show_progress(position, rounds, done, shown=study.progress) as show:
                for number in range(done, rounds):
                    one_round(number)
                    if study.resume is not None:
                        save(number + 1, {**record, "trainings": self.state(remaining[number])})
                    show(number + 1, best_text(record["scores"][number], study.ranking.mode))

    def _about(self, more: dict[str, Any]) -> dict[str, Any]:
        """What distinguishes the study from others, in terms of JSON."""
        own = self.study
        numbers = own.apart.numbers(np.zeros((1, len(own.apart.ranges))))

        def training(key: Any, numbers: Any, rows: Any, end: Any) -> Any:
            hp = own.apart.fill([column[0] for column in numbers])
            mine = own.training(hp, rows)
            return mine.evaluate(mine.advance(mine.start(key), end))

        program = fingerprint(training, own.key, numbers, own.rows, np.int32(1))
        return own.about(**more, rows=digest(own.rows), training=program)

    def _like(self) -> PyTree:
        """Shapes and dtypes of the trainings."""
        return jax.eval_shape(self._start, *self.begin)

    def _dealt(self, column: Any) -> Array:
        """One row for each member, in its place; unused places repeat the last row."""
        return self.study.dealt(column[np.minimum(self.members, len(column) - 1)])

    def _numbers(self, points: Points) -> list[Array]:
        """The values at ``points``, in the members' places."""
        return list(map(self._dealt, self.study.apart.numbers(points)))


def _key_data(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda x: jax.random.key_data(x) if is_key(x) else x, tree)


def check_rounds(study: Study, points: Points | None, n: int) -> Points:
    """The first ``n`` of ``points``, of a Sobol sequence by default, after checks."""
    if points is None:
        points = sobol_design(study.key, study.space, n)
    if study.apart.choices:
        raise ValueError(
            f"{study.owner}: `space` must hold numbers only, because each option of a choice is a "
            "program of its own; search each option separately, or use `search`."
        )
    d = len(study.apart.ranges)
    if not is_design(points, d, n):
        raise ValueError(
            f"{study.owner}: `points` must be at least {n}, of {d} numbers in [0, 1], got shape "
            f"{np.shape(points)}."
        )
    return np.asarray(points, np.float64)[:n]


def correlations(scores: np.ndarray) -> np.ndarray:
    """Spearman's rank correlation of each row with the next, where both are finite."""
    from scipy.stats import spearmanr

    found = []
    for row, after in itertools.pairwise(scores):
        pair = [x[np.isfinite(row) & np.isfinite(after)] for x in (row, after)]
        varies = all(len(np.unique(x)) > 1 for x in pair)
        found.append(spearmanr(*pair)[0] if varies else np.nan)
    return np.asarray(found, np.float64)


def correlation_texts(correlations: np.ndarray) -> list[str]:
    """The correlation of each row with the next: "-" if undefined, empty for the last row."""
    return [*("-" if np.isnan(x) else f"{x:.2f}" for x in correlations), ""]
