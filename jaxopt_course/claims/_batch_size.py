"""Claim 2: the wall-clock time to a validation loss, by the size of the batches.

A perceptron on digits by plain gradient descent. For each size the rate that is best for the
other seeds, and among 64, ..., 512 the size likewise. Time is steps times the seconds of a step,
measured over all trainings of that size, evaluations included. A training that does not arrive
counts with all of its time: the ratio is then at least what is said.
"""

import time
from typing import Any

import jax
import numpy as np

from jaxopt_course.nn import MLP
from jaxopt_course.optimizers import sgd
from jaxopt_course.problems import problem
from jaxopt_course.tasks import linen_task
from jaxopt_course.training import make_population, make_train

from ._claim import Claim, Evidence
from ._effects import ratio_effect
from ._experiment import first_at_most, pick_by_others, picked, scaled_data, validated
from ._pictures import Curves


__all__ = ["BATCH_SIZE"]

TRAIN, VALIDATION, EVALUATIONS, TARGET = 1280, 256, 40, 0.3
RATES = (0.01, 0.03, 0.1, 0.3, 1.0)  # single examples have the lower three, batches the higher
MINI = (64, 512)
STEPS = {1: 5120, 16: 1600, 64: 800, 256: 480, 512: 400, TRAIN: 400}
QUICK_SIZES = (1, 64, TRAIN)


def _measure(key: Any, seeds: int, quick: bool) -> Evidence:
    sizes = QUICK_SIZES if quick else tuple(STEPS)
    times = np.stack([_times(key, seeds, size, quick) for size in sizes])
    best = np.stack([picked(of_size, pick_by_others(of_size)) for of_size in times])
    mini = np.concatenate(
        [of for of, size in zip(times, sizes, strict=True) if MINI[0] <= size <= MINI[1]]
    )
    fastest = picked(mini, pick_by_others(mini))
    effects = tuple(
        ratio_effect(
            f"How many times the time of mini-batches {name} takes.",
            best[at],
            fastest,
            accepted=(1.0, np.inf),
        )
        for name, at in (("one example a step", 0), ("the full batch", -1))
    )
    return Evidence(
        effects,
        f"Digits, a perceptron with a hidden layer of 32, {TRAIN} examples, to a validation loss "
        f"of {TARGET}, on {jax.devices()[0].device_kind}, one training at a time: what a step "
        "costs, and with it the best size, is the machine's.",
        Curves(
            np.array(sizes, float),
            {"best rate": best.T},
            "batch size",
            "seconds to the target",
            log_x=True,
            log_y=True,
        ),
    )


def _times(key: Any, seeds: int, size: int, quick: bool) -> np.ndarray:
    """Seconds to the target, f[rates, seeds]."""
    rates = RATES[:3] if size == 1 else RATES[2:]
    steps = STEPS[size] // (2 if quick else 1)
    inputs, targets = scaled_data("digits")
    task = linen_task(MLP(10, (32,)), inputs[:1], problem("multiclass"))
    train = make_train(
        lambda rate: (task, sgd(rate)),
        (inputs, targets),
        steps=steps,
        batch_size=size,
        evaluate_every=steps // EVALUATIONS,
    )
    losses = validated(train, len(inputs), TRAIN, VALIDATION)
    arguments = (jax.random.split(key, seeds), np.asarray(rates, np.float32))
    run = jax.jit(make_population(losses, ["hyperparameters", "key"])).lower(*arguments).compile()
    begin = time.perf_counter()
    found = np.asarray(run(*arguments))
    each = (time.perf_counter() - begin) / found[..., 0].size
    return first_at_most(found, TARGET, each * np.arange(1, EVALUATIONS + 1) / EVALUATIONS)


BATCH_SIZE = Claim(
    "batch_size",
    "Mini-batches of 2^6 to 2^9 beat both extremes in wall-clock time to a target.",
    "A",
    _measure,
)
