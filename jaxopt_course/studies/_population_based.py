"""Population-based training: trainings side by side whose hyperparameters change as they train.

All members train for some steps and are scored. Then two things happen, on the host:

    exploit  the worst share, and members that have diverged, are replaced by copies of members of
             the best share: parameters, optimizer state and hyperparameters alike
    explore  each hyperparameter of a copy is drawn again with some probability, otherwise it is
             multiplied by one of two factors

The result is one training with a schedule of every hyperparameter. All draws are functions of the
key, the round and the member. One program, about as large as a single training, serves all rounds.

Reference: Jaderberg et al., "Population Based Training of Neural Networks", 2017,
https://arxiv.org/abs/1711.09846, section 4.1.1: truncation selection, perturb and resample.
"""

import math
import os
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float64, Int32, Key, PyTree

from jaxopt_course.core import checks, under_automatic_mesh
from jaxopt_course.training import Rows, Training

from ._cohort import Cohort, check_rounds, correlation_texts, correlations
from ._designs import host_seed
from ._optimizer_checks import check_state_has_no_numbers, warn_of_decay
from ._space import Float, Int, Points, space_of
from ._study import Mode, Ranking, Study, columns_table, digest, ranked


TURNS = 2**32 - 1  # folded into the key for all draws; members have smaller numbers


class PopulationResult(NamedTuple):
    """The result of population-based training; ``print`` it.

    space, mode: arguments of the study.
    points: points of the unit cube, f64[rounds, members, ranges].
    scores: scores at the end of each round, f64[rounds, members]; NaN where a member has diverged.
    parents: the place in the round before that each member continues from, i32[rounds, members]:
        its own place unless it is a copy, and in the first round.
    steps: total number of steps at the end of each round, i32[rounds].
    correlations: Spearman's rank correlation of the scores of each round with those of the next,
        among the members that were not replaced, f64[rounds - 1].
    key: key of the study. The training that began in place m and its copies have the key
        ``fold_in(key, m)``.
    seconds: duration of the study, with compilation.
    """

    space: PyTree
    points: Float64[np.ndarray, "r m d"]
    scores: Float64[np.ndarray, "r m"]
    parents: Int32[np.ndarray, "r m"]
    steps: Int32[np.ndarray, "r"]
    mode: Mode
    correlations: Float64[np.ndarray, "r-1"]
    key: Key[Array, ""]
    seconds: float

    @property
    def values(self) -> Float64[np.ndarray, "r m d"]:
        """The hyperparameters of every member in every round."""
        found = np.empty_like(self.points)
        for i, kind in enumerate(space_of(self.space).ranges):
            found[..., i] = np.vectorize(lambda u, at=kind.at: float(at(u)))(self.points[..., i])
        return found

    @property
    def best(self) -> int:
        """The best member of the last round."""
        return int(ranked(self.scores[-1], self.mode)[0])

    @property
    def schedule(self) -> tuple[PyTree, ...]:
        """The configuration of the best member's training in each round."""
        space, places = space_of(self.space), self.lineage(self.best)
        rows = zip(self.points, places, strict=True)
        return tuple(space.configuration(points[place]) for points, place in rows)

    def lineage(self, member: int) -> tuple[int, ...]:
        """The place, in each round, of the training that ends as ``member``."""
        checks.integer("lineage", "member", member, f"[0, {self.scores.shape[1]})")
        places = [member]
        for parents in self.parents[:0:-1]:
            places.append(int(parents[places[-1]]))
        return tuple(places[::-1])

    def __str__(self) -> str:
        space, pick = space_of(self.space), np.fmin if self.mode == "min" else np.fmax
        rounds, places = range(len(self.steps)), list(self.lineage(self.best))
        columns = [
            ("round", rounds),
            ("steps", self.steps),
            ("replaced", (self.parents != np.arange(self.scores.shape[1])).sum(1)),
            ("best score", pick.reduce(self.scores, axis=1)),
            ("correlation with the next", correlation_texts(self.correlations)),
            *zip(space.names, self.values[rounds, places].T, strict=True),
        ]
        return (
            f"{columns_table(columns)}\nbest: member {self.best}, {self.scores[-1, self.best]:.4g}"
        )


@under_automatic_mesh
def population_based_training(
    training: Callable[..., Training],
    space: PyTree,
    *,
    key: Key[Array, ""],
    members: int,
    rounds: int,
    interval: int,
    quantile: float = 0.2,
    factors: tuple[float, float] = (0.8, 1.2),
    resample: float = 0.25,
    rows: Rows | None = None,
    points: Points | None = None,
    metric: str | None = None,
    mode: Mode = "min",
    mesh: Mesh | None = None,
    resume: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> PopulationResult:
    """Train members side by side; after each round replace the worst by variants of the best.

    A copy has its parent's key too, and so its order of the data. The lineage of every member is
    therefore one training with a schedule, which ``training`` repeats bit for bit. A member that
    diverges ranks last and is replaced, as long as one member is left. The study is saved after
    each round.

    An optimizer whose state holds its hyperparameters, such as ``inject_hyperparams``, is refused:
    new ones would have no effect.

    Args:
        training: as for :func:`successive_halving`.
        space: as for :func:`successive_halving`.
        key: PRNG key of the trainings, the design and all draws.
        members: number of members, in [1, inf).
        rounds: number of rounds, in [1, inf).
        interval: number of steps in a round, in [1, inf).
        quantile: share of the worst members that become copies, and of the best that are copied, in
            [0, 0.5]; rounded up to whole members. 0 replaces nobody.
        factors: each hyperparameter of a copy is multiplied by one of these two, each in (0, inf),
            and kept in its range.
        resample: probability that it is drawn from the whole range instead, in [0, 1].
        rows: as for :func:`successive_halving`.
        points: where the members begin, in the unit cube, f[members, ranges]. None: a Sobol
            sequence.
        metric: as for :func:`successive_halving`.
        mode: as for :func:`search`.
        mesh: as for :func:`search`.
        resume: as for :func:`search`.
        progress: as for :func:`search`.

    Warns:
        ScheduleWarning: if the optimizer's steps shrink between the first round and the last, so
            that rounds select hyperparameters for steps that do not recur.

    Examples:
        >>> import jaxopt_course as jc
        >>> init = lambda key: {"w": jax.numpy.zeros((1, 1))}
        >>> regression = jc.problems.problem("regression")
        >>> task = jc.function_task(init, lambda p, x: x @ p["w"], regression)
        >>> x = jax.numpy.arange(1.0, 4.0)[:, None]
        >>> build = lambda h: (task, jc.sgd(h["rate"]))
        >>> training = jc.training.make_training(build, (x, 2 * x), batch_size=3)
        >>> space = {"rate": jc.studies.Float(1e-3, 1.0, log=True)}
        >>> result = population_based_training(
        ...     training, space, key=jax.random.key(0), members=8, rounds=5, interval=2
        ... )
        >>> result.points.shape, 0.03 < result.schedule[-1]["rate"] < 0.3
        ((5, 8, 1), True)
    """
    owner = "population_based_training"
    for name, number in {"members": members, "rounds": rounds, "interval": interval}.items():
        checks.integer(owner, name, number, "[1, inf)")
    how = _turn_of(owner, quantile, factors, resample)
    ranking = Ranking(metric, mode)
    study = Study(
        owner, training, space, key, rows, ranking, mesh=mesh, resume=resume, progress=progress
    )
    begin = check_rounds(study, points, members)
    return _population(study, how, begin, interval * np.arange(1, rounds + 1, dtype=np.int32))


class Turn(NamedTuple):
    """How members are replaced; the fields are arguments of :func:`population_based_training`."""

    quantile: float
    factors: tuple[float, float]
    resample: float


def _population(study: Study, how: Turn, begin: Points, steps: np.ndarray) -> PopulationResult:
    """Train from the points ``begin``; replace members after each of ``steps`` but the last."""
    warn_of_decay(study, study.apart.configuration(begin[0]), steps.tolist())
    ranges: Any = study.apart.ranges  # without choices
    check_state_has_no_numbers(study, [(r.at(0.25), r.at(0.75)) for r in ranges])
    begun = time.perf_counter()
    members, rounds, mode = len(begin), len(steps), study.ranking.mode
    seed = host_seed(jax.random.fold_in(study.key, TURNS))
    own = np.arange(members, dtype=np.int32)
    keys = jax.vmap(lambda m: jax.random.fold_in(study.key, m))(own.astype(np.uint32))
    cohort = Cohort(study, begin, keys)
    record = {
        "points": np.repeat(begin[None], rounds, axis=0),
        "scores": np.full((rounds, members), np.nan),
        "parents": np.tile(own, (rounds, 1)),
    }

    def one_round(r: int) -> None:
        points, scores, parents = record.values()
        scores[r] = cohort.advance(points[r], int(steps[r]))
        if r + 1 < rounds:
            after = turn(how, ranges, points[r], scores[r], mode, (seed, r))
            parents[r + 1], points[r + 1] = after
            cohort.take(parents[r + 1])

    remaining = [members] * (rounds - 1) + [0]
    about = {"rounds": rounds, "interval": int(steps[0]), "turn": list(how)}
    cohort.run(record, one_round, remaining, "round", **about, points=digest(begin))
    stayed = record["parents"] == own
    found = [
        correlations(np.where(stayed[r + 1], record["scores"][r : r + 2], np.nan))
        for r in range(rounds - 1)
    ]
    return PopulationResult(
        space=study.space,
        **record,
        steps=steps,
        mode=mode,
        correlations=np.concatenate([np.empty(0), *found]),
        key=study.key,
        seconds=time.perf_counter() - begun,
    )


def turn(
    how: Turn,
    ranges: Sequence[Float | Int],
    points: Points,
    scores: np.ndarray,
    mode: str,
    seed: tuple[int, int],
) -> tuple[np.ndarray, Points]:
    """The parent of each member, which is itself unless it is replaced, and the next points.

    ``points`` and ``scores`` are those of this round; ``seed`` is that of the study, and the number
    of the round.
    """
    order = ranked(scores, mode)
    share = math.ceil(how.quantile * len(order))
    best = [member for member in order[:share] if np.isfinite(scores[member])]
    parents, points = np.arange(len(order)), points.copy()
    if not best:  # nothing to copy
        return parents, points
    failed = np.flatnonzero(~np.isfinite(scores))
    lost = {*order[len(order) - share :].tolist(), *failed.tolist()}
    for member in sorted(lost - set(best)):
        rng = np.random.default_rng([*seed, member])
        parents[member] = best[math.floor(rng.random() * len(best))]
        points[member] = _explored(how, ranges, points[parents[member]], rng)
    return parents, points


def multiplied(kind: Float | Int, u: float, factor: float) -> float:
    """The place in [0, 1] of ``factor`` times the value at ``u``, clipped to the range.

    Of whole numbers, the position between neighbors is multiplied, so that small factors add up.
    """
    room = 0.5 if isinstance(kind, Int) else 0.0
    low, high = kind.low - room, kind.high + room
    if kind.log:
        return float(np.clip(u + math.log(factor) / math.log(high / low), 0, 1))
    value = factor * (low + u * (high - low))
    return float(np.clip((value - low) / (high - low), 0, 1))


def _explored(
    how: Turn, ranges: Sequence[Float | Int], point: np.ndarray, rng: np.random.Generator
) -> list[float]:
    drawn = rng.random((len(ranges), 3)).tolist()
    return [
        new if resampled < how.resample else multiplied(kind, u, how.factors[int(which >= 0.5)])
        for kind, u, (resampled, new, which) in zip(ranges, point.tolist(), drawn, strict=True)
    ]


def _turn_of(owner: str, quantile: float, factors: tuple[float, float], resample: float) -> Turn:
    checks.number(owner, "quantile", quantile, "[0, 0.5]")
    checks.number(owner, "resample", resample, "[0, 1]")
    if len(factors) != 2:
        raise ValueError(f"{owner}: `factors` must be two numbers, got {factors}.")
    for factor in factors:
        checks.number(owner, "factors", factor, "(0, inf)")
    return Turn(float(quantile), (float(factors[0]), float(factors[1])), float(resample))
