"""What halving and population-based training share: where and how they train, round by round."""

import itertools
import os
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Key, PyTree

from jaxopt_course.training import Rows, Stages, fingerprint

from ._cohort import Cohort, programs_of
from ._designs import Points, is_design
from ._devices import checked_mesh
from ._progress import show_trials
from ._saves import describe, digest, open_saves
from ._score import check_mode
from ._space import Choice, dimensions_of, values_at


class Setting(NamedTuple):
    """The arguments that both have, checked by :meth:`check`.

    owner: who speaks in errors.
    stages, space, key, rows, metric, mode, mesh, resume, progress: as of
        :func:`successive_halving`.
    """

    owner: str
    stages: Stages
    space: PyTree
    key: Key[Array, ""]
    rows: Rows | None
    metric: str | None
    mode: Literal["min", "max"]
    mesh: Mesh | None
    resume: str | os.PathLike[str] | None
    progress: bool

    def checked(self) -> "Setting":
        """Raise unless mode, mesh and space are as they must be; explicit axes become automatic."""
        check_mode(self.owner, self.metric, self.mode)
        if any(isinstance(kind, Choice) for kind in dimensions_of(self.space).ranges):
            raise ValueError(
                f"{self.owner}: `space` must hold numbers only, for a choice is a program of its "
                "own; search each option, or use `search`."
            )
        return self._replace(mesh=checked_mesh(self.owner, self.mesh))

    def first(self, points: Points, n: int) -> Points:
        """The first ``n`` of the ``points`` that were given."""
        d = len(dimensions_of(self.space).ranges)
        if not is_design(points, d, n):
            raise ValueError(
                f"{self.owner}: `points` must be at least {n}, of {d} numbers in [0, 1], got shape "
                f"{np.shape(points)}."
            )
        return np.asarray(points, np.float64)[:n]

    def cohort(self, points: Points, keys: Array, size: int = 0) -> Cohort:
        """Trainings at ``points``, not yet begun."""
        dimensions = dimensions_of(self.space)
        programs = programs_of(self.stages, self.metric, dimensions, self.mesh)
        return Cohort(
            programs, dimensions, self.rows, self.mesh, points=points, keys=keys, size=size
        )

    def about(self, **more: Any) -> dict[str, Any]:
        """What tells this study from others."""
        dimensions = dimensions_of(self.space)
        numbers = values_at(dimensions, np.zeros((1, len(dimensions.ranges))))

        def training(key: Any, numbers: Any, rows: Any, end: Any) -> Any:
            hp = dimensions.fill([column[0] for column in numbers])
            begun = self.stages.start(key, hp, rows)
            return self.stages.evaluate(self.stages.advance(begun, hp, rows, end), hp, rows)

        return {
            **describe(self.space, self.key, self.metric, self.mode),
            **more,
            "rows": digest(self.rows),
            "stages": fingerprint(training, self.key, numbers, self.rows, np.int32(1)),
        }

    def run(
        self,
        cohort: Cohort,
        record: dict[str, np.ndarray],
        one_round: Callable[[int], None],
        going: Sequence[int],
        *,
        unit: str,
        about: dict[str, Any],
    ) -> None:
        """Do all rounds that are not saved yet; after each, save and show what there is.

        Args:
            cohort: trains.
            record: arrays that ``one_round`` fills in, row by row, ``"scores"`` among them.
            one_round: what is done in round i, up to what begins the next.
            going: how many members of the cohort go on after each round.
            unit: what a round is called.
            about: what else tells the study from others.
        """
        rounds = len(going)
        with open_saves(self.owner, self.resume, lambda: self.about(**about)) as saves:
            saved = saves.latest(
                lambda info: {**record, "trainings": cohort.state_like(going[info.step - 1])}
            )
            done = 0 if saved is None else saved.step
            if saved is not None:
                for name, values in record.items():
                    values[...] = saved.tree[name]
            if done == rounds:
                return
            if saved is None:
                cohort.start()
            else:
                cohort.set_state(saved.tree["trainings"])
            with show_trials(rounds, done, mode=self.mode, shown=self.progress, unit=unit) as show:
                for number in range(done, rounds):
                    one_round(number)
                    if self.resume is not None:
                        trainings = cohort.state(going[number])
                        saves.save(number + 1, {**record, "trainings": trainings})
                    show(number + 1, record["scores"][number])


def correlations(scores: np.ndarray) -> np.ndarray:
    """Spearman's rank correlation of each row with the next, where both are numbers."""
    from scipy.stats import spearmanr

    found = []
    for row, after in itertools.pairwise(scores):
        pair = [x[np.isfinite(row) & np.isfinite(after)] for x in (row, after)]
        varies = all(len(np.unique(x)) > 1 for x in pair)
        found.append(spearmanr(*pair)[0] if varies else np.nan)
    return np.asarray(found, np.float64)


def correlation_text(correlations: np.ndarray, row: int) -> str:
    """That of ``row`` with the next, for a table: "-" where it is none; nothing after the last."""
    if row == len(correlations):
        return ""
    return "-" if np.isnan(correlations[row]) else f"{correlations[row]:.2f}"
