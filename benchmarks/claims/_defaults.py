"""Claim 4: how far an optimizer with its default rate is from the same one with a tuned rate.

Adam with 0.001 and gradient descent with 0.01, the defaults of Keras, on three small problems. The
excess is the final validation loss at the default over that at the rate which is best for the other
seeds, as a geometric mean over the problems. Working well is an excess below a quarter.
"""

from typing import Any

import numpy as np

from jaxopt_course.nn import MLP
from jaxopt_course.optimizers import adam, sgd
from jaxopt_course.problems import problem
from jaxopt_course.tasks import linen_task
from jaxopt_course.training import make_train

from ._claim import Claim, Evidence
from ._claimed import LARGER_LOSS, Claimed
from ._effects import ratio_effect
from ._experiment import by_seed, scaled_data, validated
from ._pictures import Curves
from ._selection import finite_or_worst, pick_by_others, picked


STEPS, BATCH = 600, 32
WELL = Claimed(
    -np.inf, 1.25, "defaults work well if tuning improves the loss by less than a quarter"
)
OPTIMIZERS = {"Adam": (adam, 1e-4), "gradient descent": (sgd, 1e-3)}  # and the lowest rate
FACTORS = 10 ** np.arange(0.0, 3.5, 0.5)  # of the lowest rate; 10 gives the default
DEFAULT = 2
PROBLEMS = {
    "digits": (MLP(10, (32, 32)), "multiclass", 1280),
    "breast_cancer": (MLP(1, ()), "binary", 400),
    "diabetes": (MLP(1, (16,), activation="tanh"), "regression", 320),
}


def _measure(key: Any, seeds: int, quick: bool) -> Evidence:
    factors = FACTORS[::2] if quick else FACTORS
    default = int(np.flatnonzero(factors == FACTORS[DEFAULT])[0])
    excesses, capped, lines = {}, {}, {}
    for name, (make, lowest) in OPTIMIZERS.items():
        own = []
        diverged = np.zeros(seeds, bool)
        for place in list(PROBLEMS)[: 1 if quick else None]:
            found = final_losses(place, make, key, seeds, factors * lowest)
            losses, diverged = finite_or_worst(found), diverged | ~np.isfinite(found[default])
            best = picked(losses, pick_by_others(losses))
            own.append(np.log(losses[:, None] / best))  # of factors, resamples, seeds
        excess = np.exp(np.mean(own, 0))
        excesses[name], capped[name], lines[name] = excess[default], diverged, excess[:, 0].T
    return Evidence(
        (
            ratio_effect(
                "Adam: loss with the default rate, divided by the loss with a tuned rate.",
                excesses["Adam"],
                np.ones(seeds),
                WELL,
                above_capped=capped["Adam"],
            ),
            ratio_effect(
                "The same ratio for gradient descent, divided by that for Adam.",
                excesses["gradient descent"],
                excesses["Adam"],
                LARGER_LOSS,
                above_capped=capped["gradient descent"],
                below_capped=capped["Adam"],
            ),
        ),
        f"{', '.join(PROBLEMS)}: small models, {STEPS} steps of {BATCH} examples, scaled features; "
        "with another number of steps the best rate is another, and so is the excess.",
        Curves(
            factors / FACTORS[DEFAULT],
            lines,
            "learning rate over the default",
            "validation loss over that of the best rate",
            log_x=True,
            log_y=True,
        ),
    )


def final_losses(place: str, make: Any, key: Any, seeds: int, rates: np.ndarray) -> np.ndarray:
    """Final validation losses of the optimizers ``make(rate)`` on a problem, f[rates, seeds]."""
    model, kind, train_rows = PROBLEMS[place]
    data = scaled_data(place)
    task, n = linen_task(model, data[0][:1], problem(kind)), len(data[0])
    build = lambda rate: (task, make(rate))
    train = make_train(build, data, steps=STEPS, batch_size=BATCH, evaluate_every=STEPS)
    losses = validated(train, n, train_rows, n - train_rows)
    return np.asarray(by_seed(losses, key, seeds, rates.astype(np.float32))[..., -1])


DEFAULTS = Claim(
    "defaults",
    "Adam's defaults work well untuned, those of gradient descent less so.",
    "T N K",
    _measure,
)
