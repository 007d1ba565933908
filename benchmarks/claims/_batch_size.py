"""Claim 2: the wall-clock time to a validation loss, by the size of the batches.

A perceptron on digits by plain gradient descent. For each size the rate that is best for the
other seeds, and among 64, ..., 512 the size likewise. Time is steps times the seconds of a step,
evaluations included. Each seed's trainings are timed for themselves, the sizes in turn: a seed is
a repetition of the timing too, so that the noise of the clock is in the interval. A training that
does not arrive counts with all of its time, and the ratio as a bound.
"""

import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxopt_course.nn import MLP
from jaxopt_course.optimizers import sgd
from jaxopt_course.problems import problem
from jaxopt_course.tasks import linen_task
from jaxopt_course.training import make_population, make_train

from ._claim import Claim, Evidence
from ._claimed import LARGER_COST
from ._effects import ratio_effect
from ._experiment import Cost, first_at_most, scaled_data, validated
from ._pictures import Curves
from ._selection import pick_by_others, picked


TRAIN, VALIDATION, EVALUATIONS, TARGET = 1280, 256, 40, 0.3
RATES = (0.01, 0.03, 0.1, 0.3, 1.0)  # single examples have the lower three, batches the higher
MINI = (64, 512)
STEPS = {1: 5120, 16: 1600, 64: 800, 256: 480, 512: 400, TRAIN: 400}
QUICK_SIZES = (1, 64, TRAIN)


def _measure(key: Any, seeds: int, quick: bool) -> Evidence:
    sizes = QUICK_SIZES if quick else tuple(STEPS)
    times = _times(jax.random.split(key, seeds), sizes, quick)
    best = {size: _picked(times[size]) for size in sizes}
    mini = [times[size] for size in sizes if MINI[0] <= size <= MINI[1]]
    fastest = _picked(Cost(*(np.concatenate(parts) for parts in zip(*mini, strict=True))))
    effects = tuple(
        ratio_effect(
            f"Time to the target with {name}, divided by that with mini-batches.",
            best[size].values,
            fastest.values,
            LARGER_COST,
            above_capped=best[size].capped,
            below_capped=fastest.capped,
        )
        for name, size in (("one example a step", 1), ("the full batch", TRAIN))
    )
    return Evidence(
        effects,
        f"Digits, a perceptron with a hidden layer of 32, {TRAIN} examples, to a validation loss "
        f"of {TARGET}, on {jax.devices()[0].device_kind}, one training at a time: what a step "
        "costs, and with it the best size, depends on the machine.",
        Curves(
            np.array(sizes, float),
            {"best rate": np.stack([best[size].values[0] for size in sizes], 1)},
            "batch size",
            "seconds to the target",
            log_x=True,
            log_y=True,
        ),
    )


def _picked(cost: Cost) -> Cost:
    """Of each seed, with resamples in front."""
    picks = pick_by_others(cost.values)
    return Cost(picked(cost.values, picks), picked(cost.capped, picks))


def _times(keys: Any, sizes: tuple[int, ...], quick: bool) -> dict[int, Cost]:
    """Seconds to the target of each size, [rates, seeds]."""
    runs = {size: _compiled(keys[0], size, quick) for size in sizes}
    found: dict[int, list[Cost]] = {size: [] for size in sizes}
    for own in keys:
        for size, run in runs.items():
            begin = time.perf_counter()
            losses = np.asarray(run(own))
            each = (time.perf_counter() - begin) / len(losses)
            spent = each * np.arange(1, EVALUATIONS + 1) / EVALUATIONS
            found[size].append(first_at_most(losses, TARGET, spent))
    stacked = lambda parts: np.stack(parts, 1)
    return {size: Cost(*map(stacked, zip(*own, strict=True))) for size, own in found.items()}


def _compiled(key: Any, size: int, quick: bool) -> Callable[[Any], Any]:
    """A function from a key to validation losses f[rates, evaluations], which has run once."""
    rates = np.asarray(RATES[:3] if size == 1 else RATES[2:], np.float32)
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
    run = jax.jit(make_population(losses, ["hyperparameters"])).lower(key, rates).compile()
    jax.block_until_ready(run(key, rates))
    return lambda own: run(own, rates)


BATCH_SIZE = Claim(
    "batch_size",
    "Mini-batches of 2^6 to 2^9 beat both extremes in wall-clock time to a target.",
    "A",
    _measure,
)
