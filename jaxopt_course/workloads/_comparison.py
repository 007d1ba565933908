"""What a comparison has stored: every training of every contender, and what it cost."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64, Int


class Trials(NamedTuple):
    """The trainings of one contender on one variant of one workload.

    values: the validation loss at each evaluation, f[trials, seeds, evaluations]; NaN once a
        training has failed. The first trial has the defaults, the others were tuned.
    costs: of each evaluation: examples seen by then, in batches of the workload, f[evaluations].
    seconds_per_step: how long such a batch took, one training at a time, without compilation.
    """

    values: Float[np.ndarray, "trials seeds evaluations"]
    costs: Float[np.ndarray, "evaluations"]
    seconds_per_step: float


class Comparison(NamedTuple):
    """Every training of every contender on every workload; ``print`` it.

    contenders: their names.
    workloads: their names.
    steps: {workload: length of a training}.
    targets: {(workload, variant): the validation loss to reach}.
    numbers: {contender: {name of a range: its values, one a trial}}; the first are the defaults.
    points: {contender: the same in the unit cube, f64[trials, ranges]}.
    trials: {(contender, workload, variant): :class:`Trials`}.
    """

    contenders: tuple[str, ...]
    workloads: tuple[str, ...]
    steps: Mapping[str, int]
    targets: Mapping[tuple[str, str], float]
    numbers: Mapping[str, Mapping[str, np.ndarray]]
    points: Mapping[str, Float64[np.ndarray, "trials d"]]
    trials: Mapping[tuple[str, str, str], Trials]

    def __str__(self) -> str:
        from ._summary import summarize

        return str(summarize(self))


class Costs(NamedTuple):
    """What trainings cost until their target, and how good they got.

    steps: f64[trials, seeds]; infinite where the target was never reached.
    best: lowest value, f64[trials, seeds]; infinite where every one is NaN.
    """

    steps: Float64[np.ndarray, "trials seeds"]
    best: Float64[np.ndarray, "trials seeds"]

    @property
    def ranks(self) -> Int[np.ndarray, "trials seeds"]:
        """Of the trials by each seed, i[trials, seeds], the best 0: by steps, then by best."""
        order = np.lexsort((self.best, self.steps), axis=0)
        ranks = np.empty_like(order)
        np.put_along_axis(ranks, order, np.arange(len(order))[:, None], axis=0)
        return ranks


def costs_of(trials: Trials, target: float) -> Costs:
    """The cost of the first evaluation at or below ``target``."""
    values = np.asarray(trials.values, float)
    reached = values <= target  # False of NaN
    first = np.asarray(trials.costs, float)[reached.argmax(-1)]
    best = np.where(np.isfinite(values), values, np.inf).min(-1)
    return Costs(np.where(reached.any(-1), first, np.inf), best)
