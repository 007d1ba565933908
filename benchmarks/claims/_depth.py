"""Claim 25: the training loss of deeper networks, and of deeper ones with the cures.

Two, four and eight hidden layers on digits by plain gradient descent: sigmoids alone, ReLUs with
He's weights, sigmoids with batch normalization, and sigmoids with residual sums. Each depth has the
rate that is best for the other seeds. Not better is a loss that is at most 5 % lower.
"""

from typing import Any

import numpy as np

from jaxopt_course.nn import MLP, ResidualMLP
from jaxopt_course.optimizers import sgd
from jaxopt_course.problems import problem
from jaxopt_course.tasks import linen_task
from jaxopt_course.training import make_train

from ._claim import Claim, Evidence
from ._claimed import NOT_BETTER_LOSS
from ._effects import ratio_effect
from ._experiment import by_seed, scaled_data
from ._pictures import Curves
from ._selection import pick_by_others, picked


DEPTHS, WIDTH, STEPS, QUICK_STEPS, BATCH = (2, 4, 8), 32, 400, 100, 64
RATES = 10 ** np.arange(-1.5, 0.75, 0.5)
MODELS = {
    "sigmoid": lambda depth: MLP(10, (WIDTH,) * depth, activation="sigmoid"),
    "ReLU": lambda depth: MLP(10, (WIDTH,) * depth, kernel_init="he_normal"),
    "batch normalization": lambda depth: MLP(
        10, (WIDTH,) * depth, activation="sigmoid", normalization="batch"
    ),
    # The map to the width of the blocks is no layer: it has no activation.
    "residual sums": lambda depth: ResidualMLP(10, WIDTH, depth // 2, activation="sigmoid"),
}


def _measure(key: Any, seeds: int, quick: bool) -> Evidence:
    steps, rates = (QUICK_STEPS, RATES[1::2]) if quick else (STEPS, RATES)
    depths = DEPTHS[:: len(DEPTHS) - 1] if quick else DEPTHS
    losses = {
        name: [_best(_losses(make(depth), key, seeds, rates, steps)) for depth in depths]
        for name, make in MODELS.items()
    }
    effects = tuple(
        ratio_effect(
            f"{name}: training loss with {depths[-1]} hidden layers, divided by that with "
            f"{depths[0]}.",
            found[-1],
            found[0],
            NOT_BETTER_LOSS,
        )
        for name, found in losses.items()
    )
    medians = ", ".join(
        f"{np.median(found[0][0]):.2g} and {np.median(found[-1][0]):.2g} with {name}"
        for name, found in losses.items()
    )
    return Evidence(
        effects,
        f"Digits, hidden layers of {WIDTH}, {steps} steps of {BATCH} examples by plain gradient "
        f"descent. The median losses with {depths[0]} and {depths[-1]} layers are {medians}.",
        Curves(
            np.array(depths, float),
            {name: np.stack([own[0] for own in found], 1) for name, found in losses.items()},
            "hidden layers",
            "training loss",
            log_y=True,
        ),
    )


def _best(losses: np.ndarray) -> np.ndarray:
    return np.asarray(picked(losses, pick_by_others(losses)))


def _losses(model: Any, key: Any, seeds: int, rates: np.ndarray, steps: int) -> np.ndarray:
    """Training losses of the last twentieth of the steps, f[rates, seeds]."""
    data = scaled_data("digits")
    task = linen_task(model, data[0][:1], problem("multiclass"))
    train = make_train(
        lambda rate: (task, sgd(rate)),
        data,
        steps=steps,
        batch_size=BATCH,
        evaluate_every=steps // 20,
    )
    final = lambda key, rate, rows: train(key, rate).history["loss"][-1]
    return np.asarray(by_seed(final, key, seeds, rates.astype(np.float32)))


DEPTH = Claim("depth", "Deeper networks are usually not better.", "A", _measure)
