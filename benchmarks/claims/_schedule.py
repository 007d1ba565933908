"""Claim 5: a rate that starts high and decays, against the best constant one.

Plain gradient descent in small batches, with the rate r d^(t / T) at step t of T; d = 1 is the
constant one. Both start from the rate that is best for the other seeds, and are judged by the
validation loss at the end.
"""

from typing import Any

import numpy as np

from jaxopt_course.nn import MLP
from jaxopt_course.optimizers import sgd
from jaxopt_course.problems import problem
from jaxopt_course.schedules import exponential_decay
from jaxopt_course.tasks import linen_task
from jaxopt_course.training import make_train

from ._claim import Claim, Evidence
from ._claimed import LARGER_LOSS
from ._effects import ratio_effect
from ._experiment import by_seed, combinations, scaled_data, validated
from ._pictures import Curves
from ._selection import finite_or_worst, pick_by_others, picked


DECAYS = {"constant": 1.0, "decaying to a hundredth": 0.01}
RATES = np.geomspace(0.02, 2.0, 9)
STEPS, QUICK_STEPS, BATCH, TRAIN, VALIDATION = 800, 200, 8, 1280, 512


def _measure(key: Any, seeds: int, quick: bool) -> Evidence:
    steps, rates = (QUICK_STEPS, RATES[::2]) if quick else (STEPS, RATES)
    inputs, targets = scaled_data("digits")
    task = linen_task(MLP(10, (24, 24)), inputs[:1], problem("multiclass"))
    build = lambda n: (task, sgd(exponential_decay(n["rate"], steps, n["decay"])))
    train = make_train(
        build, (inputs, targets), steps=steps, batch_size=BATCH, evaluate_every=steps
    )
    grid = combinations(decay=list(DECAYS.values()), rate=rates)
    losses = by_seed(validated(train, len(inputs), TRAIN, VALIDATION), key, seeds, grid)
    diverged = ~np.isfinite(losses).reshape(2, len(rates), seeds)
    losses = finite_or_worst(losses).reshape(2, len(rates), seeds)
    picks = [pick_by_others(each) for each in losses]
    constant, decaying = map(picked, losses, picks)
    constant_capped, decaying_capped = map(picked, diverged, picks)
    effect = ratio_effect(
        "Final validation loss of the best constant rate, divided by that of the best decaying "
        "rate.",
        constant,
        decaying,
        LARGER_LOSS,
        above_capped=constant_capped,
        below_capped=decaying_capped,
    )
    return Evidence(
        (effect,),
        f"Digits, a perceptron with two hidden layers of 24, {steps} steps of {BATCH} examples; "
        "with large batches there is less noise that the decay could average out.",
        Curves(
            rates,
            {name: each.T for name, each in zip(DECAYS, losses, strict=True)},
            "learning rate at the start",
            "final validation loss",
            log_x=True,
            log_y=True,
        ),
    )


SCHEDULE = Claim(
    "schedule",
    "A rate that starts high and decays beats the best constant one.",
    "T A",
    _measure,
)
