"""Claim 14: trials that random, grid and Bayesian search need, where few of the numbers matter.

A logistic regression of tumours by gradient descent: four numbers are searched, of which rate and
momentum matter much, weight decay and the noise on the inputs little. A seed moves the ranges, and
fixes split, order and noise, so that it is one function to minimize. The Bayesian method is TPE.
Of two methods it is counted after how many trials each has found as much as both find in the end:
the worse of their two best values. A grid is gone through in a random order.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxopt_course.data import gaussian_noise
from jaxopt_course.nn import MLP
from jaxopt_course.optimizers import sgd
from jaxopt_course.problems import problem
from jaxopt_course.studies import Float, grid_design, search
from jaxopt_course.tasks import augmented, linen_task
from jaxopt_course.training import make_train
from jaxopt_course.transforms import add_decayed_weights, chain

from ._claim import Claim, Evidence
from ._claimed import LARGER_COST
from ._effects import ratio_effect
from ._experiment import first_at_most, scaled_data, validated
from ._pictures import Curves


TRIALS, QUICK_TRIALS, ROUNDS = 81, 16, 16
TRAIN, VALIDATION, BATCH, STEPS = 300, 269, 30, 60
WORST = 10.0  # the loss of a trial that diverged, or is worse
SPACE = {
    "rate": Float(1e-3, 10.0, log=True),
    "momentum": Float(0.0, 0.95),
    "decay": Float(1e-6, 1e-2, log=True),
    "noise": Float(0.0, 0.1),
}
METHODS = {"grid": "grid", "random": "random", "Bayesian": "tpe"}


def _measure(key: Any, seeds: int, quick: bool) -> Evidence:
    trials = QUICK_TRIALS if quick else TRIALS
    train, score = _train_function(), lambda loss: loss
    points = grid_design(SPACE, trials)

    def losses(own: Any, name: str) -> np.ndarray:
        method: Any = METHODS[name]
        if name == "grid":
            shuffled = np.asarray(jax.random.permutation(jax.random.fold_in(own, 1), len(points)))
            method = points[shuffled]
        result = search(
            train,
            SPACE,
            key=own,
            trials=None if name == "grid" else trials,
            method=method,
            rounds=min(ROUNDS, trials) if name == "Bayesian" else None,
            metric=score,
            strategy="chunk",
            progress=False,
        )
        values = np.full(trials, result.values.max())
        values[: len(result.values)] = result.values
        return np.minimum.accumulate(values)

    keys = jax.random.split(key, seeds)
    found = {name: np.stack([losses(own, name) for own in keys]) for name in METHODS}
    counts = np.arange(1.0, trials + 1)

    def needed(one: str, other: str) -> np.ndarray:
        both = np.maximum(found[one][:, -1], found[other][:, -1])
        return first_at_most(found[one], both, counts).values

    effects = tuple(
        ratio_effect(
            f"Trials of {worse} search until both have found the same value, divided by "
            f"those of {better} search.",
            needed(worse, better),
            needed(better, worse),
            LARGER_COST,
        )
        for better, worse in (("random", "grid"), ("Bayesian", "random"), ("Bayesian", "grid"))
    )
    return Evidence(
        effects,
        f"Four numbers, two of which matter, at most {trials} trials ({len(points)} of the grid), "
        f"in {ROUNDS} rounds for the Bayesian method, which learns less in fewer rounds.",
        Curves(counts, found, "trials", "lowest validation loss so far", log_x=True, log_y=True),
    )


def _train_function() -> Any:
    """``train(key, numbers, rows)``, which gives the validation loss at the end."""
    data = scaled_data("breast_cancer")
    task = linen_task(MLP(1, ()), data[0][:1], problem("binary"))

    def build(numbers: Any) -> Any:
        optimizer = sgd(numbers["rate"], momentum=numbers["momentum"])
        changed = augmented(task, gaussian_noise(numbers["noise"]))
        return changed, chain(add_decayed_weights(numbers["decay"]), optimizer)

    train = make_train(build, data, steps=STEPS, batch_size=BATCH, evaluate_every=STEPS)

    losses = validated(train, len(data[0]), TRAIN, VALIDATION)

    def loss(key: Any, numbers: Any, rows: Any) -> Any:
        moves = jax.random.uniform(jax.random.fold_in(key, 2), (2,), minval=-1.0, maxval=1.0)
        moved = {
            **numbers,
            "rate": numbers["rate"] * jnp.exp(moves[0]),
            "decay": numbers["decay"] * jnp.exp(moves[1]),
        }
        value = losses(key, moved, rows)[-1]
        return jnp.where(jnp.isfinite(value), jnp.minimum(value, WORST), WORST)

    return loss


SEARCH_METHODS = Claim(
    "search_methods",
    "Random search beats grid search when few of the dimensions matter; Bayesian search needs "
    "fewer trials than both.",
    "A",
    _measure,
)
