"""Population-based training: trainings side by side whose numbers change while they train.

All members train for some steps and are scored. Then the worst give up their place to copies of
the best, parameters, optimizer state and numbers alike, and each copy goes on with numbers of its
own, drawn near those of its parent. What comes out is one training with a schedule of every number.

As in halving, one program, about as large as one training, serves all rounds and all settings.

Reference: Jaderberg et al., "Population Based Training of Neural Networks", 2017,
https://arxiv.org/abs/1711.09846.
"""

import os
import time
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float64, Int32, Key, PyTree

from jaxopt_course.core import checks, under_automatic_mesh
from jaxopt_course.training import Rows, Stages

from ._designs import Points, host_seed, sobol_design
from ._exploit import Turn, turn
from ._optimizer_checks import check_state_has_no_numbers, warn_of_decay
from ._rounds import Setting, correlation_text, correlations
from ._saves import digest
from ._score import ranked
from ._space import configuration_at, dimensions_of


TURNS = 2**32 - 1  # the use of the key that is no member's


class PopulationResult(NamedTuple):
    """What population-based training has found; ``print`` it.

    space: that was searched.
    points: of each round, in the unit cube, f64[rounds, members, ranges].
    scores: at the end of each round, f64[rounds, members]; NaN where a member has diverged.
    parents: whose place in the round before a member goes on from, i32[rounds, members]; its own
        place unless it is a copy, and in the first round.
    steps: of all training at the end of each round, i32[rounds].
    mode: ``"min"`` or ``"max"``: which scores are best.
    correlations: Spearman's, of the scores of a round with those of the next, among the members
        that went on as they were, f64[rounds - 1].
    key: of the study; the training that began in place m has the key ``fold_in(key, m)``, and so
        have its copies.
    seconds: of all trainings, compilation included if it was compiled for this.
    """

    space: PyTree
    points: Float64[np.ndarray, "r m d"]
    scores: Float64[np.ndarray, "r m"]
    parents: Int32[np.ndarray, "r m"]
    steps: Int32[np.ndarray, "r"]
    mode: Literal["min", "max"]
    correlations: Float64[np.ndarray, "r-1"]
    key: Key[Array, ""]
    seconds: float

    @property
    def values(self) -> Float64[np.ndarray, "r m d"]:
        """The numbers of every member in every round."""
        ranges = dimensions_of(self.space).ranges
        found = np.empty_like(self.points)
        for i, kind in enumerate(ranges):
            found[..., i] = np.vectorize(lambda u, at=kind.at: float(at(u)))(self.points[..., i])
        return found

    @property
    def best(self) -> int:
        """The best member of the last round."""
        return int(ranked(self.scores[-1], self.mode)[0])

    @property
    def schedule(self) -> tuple[PyTree, ...]:
        """What the best member was trained with, round by round."""
        places = self.lineage(self.best)
        rows = zip(self.points, places, strict=True)
        return tuple(configuration_at(self.space, points[place]) for points, place in rows)

    def lineage(self, member: int) -> tuple[int, ...]:
        """In which place what ``member`` has become was in each round."""
        checks.integer("lineage", "member", member, f"[0, {self.scores.shape[1]})")
        places = [member]
        for parents in self.parents[:0:-1]:
            places.append(int(parents[places[-1]]))
        return tuple(places[::-1])

    def __str__(self) -> str:
        """A line a round, with the best member's numbers."""
        names = dimensions_of(self.space).names
        pick = np.fmin if self.mode == "min" else np.fmax
        lineage, own = self.lineage(self.best), np.arange(self.scores.shape[1])
        lines = [
            "round   steps  replaced  best score  correlation with the next  the best's numbers"
        ]
        for r, place in enumerate(lineage):
            after = correlation_text(self.correlations, r)
            replaced = int((self.parents[r] != own).sum())
            numbers = zip(names, self.values[r, place], strict=True)
            said = ", ".join(f"{name} {value:.4g}" for name, value in numbers)
            lines.append(
                f"{r:5}  {self.steps[r]:6}  {replaced:8}  {pick.reduce(self.scores[r]):10.4g}  "
                f"{after:>25}  {said}"
            )
        return "\n".join([*lines, f"best: member {self.best}, {self.scores[-1, self.best]:.4g}"])


@under_automatic_mesh
def population_based_training(
    stages: Stages,
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
    mode: Literal["min", "max"] = "min",
    mesh: Mesh | None = None,
    resume: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> PopulationResult:
    """Train members side by side; after each round the worst go on as variants of the best.

    Numbers are handed to the training anew in each round, and nothing is compiled for it. A copy
    has its parent's key too, and so its order of the data: the way to any member is one training
    with a schedule, which ``stages`` alone repeat bit for bit. A member that diverges counts as
    worst and is replaced, as long as one is left.

    The optimizer's state must not keep the numbers, as ``inject_hyperparams`` does: new ones would
    not arrive. Such a state is refused.

    Args:
        stages: of the training, by :func:`~jaxopt_course.training.make_stages`.
        space: of numbers; choices are programs of their own and are refused.
        key: of the trainings, of the design and of all draws.
        members: how many, in [1, inf).
        rounds: how often they are scored, in [1, inf).
        interval: steps of a round, in [1, inf).
        quantile: the share of the worst that become copies, and of the best that are copied, in
            [0, 0.5]; rounded up to members. 0: all go on as they are.
        factors: each number of a copy is multiplied by one of these two, each in (0, inf), and
            kept in its range.
        resample: the probability, in [0, 1], that it is drawn from the whole range instead.
        rows: which rows train and which validate. None: all train.
        points: to begin with, in the unit cube, f[members, ranges]. None: a Sobol sequence.
        metric: a name of the rows of the history. None: the validation loss, if there is one.
        mode: whether the lowest or the highest is best; of an accuracy it must be "max".
        mesh: members are dealt out over its axis "pop", which gives the same result, to the bit.
        resume: a directory, in which each round is saved. A study that was killed goes on from
            there, and ends as it would have ended. It is not extended: more ``rounds`` are another
            study, which needs a directory of its own.
        progress: show it on stderr.

    Raises:
        ValueError: if an argument is not as said, or the optimizer's state keeps the numbers.
        CheckpointMismatchError: if ``resume`` holds another study.

    Warns:
        ScheduleWarning: if the optimizer's steps shrink between the first round and the last: then
            rounds choose numbers for steps that come no more.

    Examples:
        >>> import jax.numpy as jnp
        >>> import optax
        >>> from jaxopt_course.problems import problem
        >>> from jaxopt_course.studies import Float
        >>> from jaxopt_course.tasks import function_task
        >>> from jaxopt_course.training import make_stages
        >>> init = lambda key: {"w": jnp.zeros((1, 1))}
        >>> task = function_task(init, lambda p, x: x @ p["w"], problem("regression"))
        >>> x = jnp.array([[1.0], [2.0], [3.0]])
        >>> build = lambda h: (task, optax.sgd(h["rate"]))
        >>> stages = make_stages(build, (x, 2 * x), batch_size=3)
        >>> space = {"rate": Float(1e-3, 1.0, log=True)}
        >>> result = population_based_training(
        ...     stages, space, key=jax.random.key(0), members=8, rounds=5, interval=2
        ... )
        >>> result.points.shape, 0.03 < result.schedule[-1]["rate"] < 0.3
        ((5, 8, 1), True)
    """
    owner = "population_based_training"
    how = _checked(owner, members, rounds, interval, quantile, factors, resample)
    setting = Setting(owner, stages, space, key, rows, metric, mode, mesh, resume, progress)
    setting = setting.checked()
    begin = setting.first(sobol_design(key, space, members) if points is None else points, members)
    ranges: Any = dimensions_of(space).ranges  # of numbers: a choice was refused
    steps = interval * np.arange(1, rounds + 1, dtype=np.int32)
    warn_of_decay(owner, stages, configuration_at(space, begin[0]), steps.tolist(), stacklevel=2)
    check_state_has_no_numbers(
        owner, stages, dimensions_of(space), [(r.at(0.25), r.at(0.75)) for r in ranges]
    )
    begun = time.perf_counter()
    seed = host_seed(jax.random.fold_in(key, TURNS))
    keys = jax.vmap(lambda m: jax.random.fold_in(key, m))(np.arange(members, dtype=np.uint32))
    cohort = setting.cohort(begin, keys)
    record = {
        "points": np.repeat(begin[None], rounds, axis=0),
        "scores": np.full((rounds, members), np.nan),
        "parents": np.tile(np.arange(members, dtype=np.int32), (rounds, 1)),
    }

    def one_round(r: int) -> None:
        record["scores"][r] = cohort.advance(record["points"][r], int(steps[r]))
        if r + 1 < rounds:
            now = (record["points"][r], record["scores"][r])
            parents, record["points"][r + 1] = turn(how, ranges, *now, mode, (seed, r))
            record["parents"][r + 1] = parents
            cohort.take(parents)

    about = {"rounds": rounds, "interval": interval, "turn": list(how), "points": digest(begin)}
    going = [members] * (rounds - 1) + [0]
    setting.run(cohort, record, one_round, going, unit="round", about=about)
    stayed = record["parents"] == np.arange(members)
    pairs = [
        correlations(np.where(stayed[r + 1], record["scores"][r : r + 2], np.nan))
        for r in range(rounds - 1)
    ]
    return PopulationResult(
        space=space,
        **record,
        steps=steps,
        mode=mode,
        correlations=np.concatenate([np.empty(0), *pairs]),
        key=key,
        seconds=time.perf_counter() - begun,
    )


def _checked(
    owner: str,
    members: int,
    rounds: int,
    interval: int,
    quantile: float,
    factors: tuple[float, float],
    resample: float,
) -> Turn:
    for name, number in (("members", members), ("rounds", rounds), ("interval", interval)):
        checks.integer(owner, name, number, "[1, inf)")
    checks.number(owner, "quantile", quantile, "[0, 0.5]")
    checks.number(owner, "resample", resample, "[0, 1]")
    if len(factors) != 2:
        raise ValueError(f"{owner}: `factors` must be two numbers, got {factors}.")
    for factor in factors:
        checks.number(owner, "factors", factor, "(0, inf)")
    return Turn(float(quantile), (float(factors[0]), float(factors[1])), float(resample))
