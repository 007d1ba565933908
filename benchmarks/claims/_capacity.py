"""Claim 13: trainings of equal eta tau, with other rates eta and other lengths tau.

Gradient descent on digits from the same start with rates that differ up to eightfold.
Curves of the validation loss are compared at equal eta tau.

    distance   the mean over eta tau of the spread of log losses over rates, by that of log losses
               over the same rates at equal numbers of steps

Alike is a distance below a tenth.
"""

from typing import Any

import numpy as np

from jaxopt_course.nn import MLP
from jaxopt_course.optimizers import sgd
from jaxopt_course.problems import problem
from jaxopt_course.tasks import linen_task
from jaxopt_course.training import make_train

from ._claim import Claim, Evidence
from ._claimed import Claimed
from ._effects import mean_effect
from ._experiment import by_seed, scaled_data, validated
from ._pictures import Curves


RATES = np.array([0.025, 0.05, 0.1, 0.2])
STEPS, QUICK_STEPS, BATCH, TRAIN, VALIDATION, POINTS = 3200, 800, 64, 320, 512, 80
ALIKE = Claimed(-np.inf, 0.1, "a tenth of the spread at equal tau counts as alike")


def _measure(key: Any, seeds: int, quick: bool) -> Evidence:
    steps = QUICK_STEPS if quick else STEPS
    data = scaled_data("digits")
    task = linen_task(MLP(10, (32,)), data[0][:1], problem("multiclass"))
    train = make_train(
        lambda rate: (task, sgd(rate)),
        data,
        steps=steps,
        batch_size=BATCH,
        evaluate_every=steps // POINTS,
    )
    losses = validated(train, len(data[0]), TRAIN, VALIDATION)
    logs = np.log(by_seed(losses, key, seeds, RATES.astype(np.float32)))
    counts = steps / POINTS * np.arange(1, POINTS + 1)
    products = np.linspace(0.1, 1.0, 10) * RATES[0] * steps  # that all rates come to
    at = lambda points, log: np.stack(
        [
            [np.interp(points(rate), counts, curve) for curve in of]
            for rate, of in zip(RATES, log, strict=True)
        ]
    )
    same_product = at(lambda rate: products / rate, logs)
    same_steps = at(lambda rate: products / RATES[0], logs)
    spread = lambda values: values.std(0).mean(-1)  # over rates, then over points: f[seeds]
    effect = mean_effect(
        "Spread of the losses over rates at equal eta tau, divided by that at equal tau.",
        spread(same_product) / spread(same_steps),
        ALIKE,
    )
    return Evidence(
        (effect,),
        f"{TRAIN} digits, a perceptron with a hidden layer of 32, plain gradient descent in "
        f"batches of {BATCH}, rates of {RATES[0]:g} to {RATES[-1]:g}; with momentum, or Adam, or "
        "rates near divergence it need not be so.",
        Curves(
            products,
            {f"eta {rate:g}": np.exp(x) for rate, x in zip(RATES, same_product, strict=True)},
            "eta tau",
            "validation loss",
            log_y=True,
        ),
    )


CAPACITY = Claim(
    "capacity",
    "eta tau acts as capacity: trainings of equal eta tau look alike.",
    "T",
    _measure,
)
