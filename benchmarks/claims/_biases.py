"""Claim 19: an L2 penalty on weights and biases, over one on the weights alone.

A little difference is less than 5 % of the test loss, at the strength that is best
for the other seeds when weights alone are penalized.
"""

from typing import Any

import numpy as np

from jaxopt_course.nn import MLP
from jaxopt_course.optimizers import sgd
from jaxopt_course.problems import problem
from jaxopt_course.regularizers import by_path, l2_penalty
from jaxopt_course.tasks import linen_task
from jaxopt_course.training import make_train
from jaxopt_course.transforms import add_penalty, chain

from ._claim import Claim, Evidence
from ._claimed import SAME_LOSS
from ._effects import ratio_effect
from ._experiment import by_seed, combinations, scaled_data, validated
from ._pictures import Curves
from ._selection import pick_by_others, picked


TRAIN, TEST, BATCH, STEPS, QUICK_STEPS = 300, 1000, 30, 1000, 200
STRENGTHS = np.array([0.001, 0.003, 0.01, 0.03])


def _measure(key: Any, seeds: int, quick: bool) -> Evidence:
    steps, data = QUICK_STEPS if quick else STEPS, scaled_data("digits")
    task = linen_task(MLP(10, (64, 64)), data[0][:1], problem("multiclass"))

    def build(numbers: Any) -> Any:
        on_biases = numbers["strength"] * numbers["biases"]
        strengths = by_path({"bias": on_biases}, otherwise=numbers["strength"])
        return task, chain(add_penalty(l2_penalty, strengths), sgd(0.05, momentum=0.9))

    train = make_train(build, data, steps=steps, batch_size=BATCH, evaluate_every=steps)
    grid = combinations(biases=(0, 1), strength=STRENGTHS)
    losses = by_seed(validated(train, len(data[0]), TRAIN, TEST), key, seeds, grid)
    losses = losses.reshape(2, len(STRENGTHS), seeds)
    best = pick_by_others(losses[0])
    effect = ratio_effect(
        "Loss with penalized biases, divided by the loss with unpenalized ones.",
        picked(losses[1], best),
        picked(losses[0], best),
        SAME_LOSS,
    )
    return Evidence(
        (effect,),
        f"{TRAIN} digits, two hidden layers of 64, {steps} steps with momentum; a change "
        "of less than 5 % counts as little.",
        Curves(
            STRENGTHS,
            {"weights alone": losses[0].T, "weights and biases": losses[1].T},
            "strength of L2",
            "test loss",
            log_x=True,
        ),
    )


BIASES = Claim(
    "biases",
    "Penalising biases or not makes little difference.",
    "R",
    _measure,
)
