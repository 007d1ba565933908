"""Claim 33: what fewer units and fewer layers gain where a large network overfits.

A hundred digits, a large perceptron of three hidden layers of 128, and smaller ones. A number is
the test loss at the end of a long training, and of the smaller ones that size counts
which is best for the other seeds.
"""

from typing import Any

import numpy as np

from jaxopt_course.nn import MLP
from jaxopt_course.optimizers import adam
from jaxopt_course.problems import problem
from jaxopt_course.tasks import linen_task
from jaxopt_course.training import make_train

from ._claim import Claim, Evidence
from ._claimed import BETTER_LOSS
from ._effects import ratio_effect
from ._experiment import by_seed, scaled_data, validated
from ._pictures import Groups
from ._selection import pick_by_others, picked


TRAIN, TEST, BATCH, STEPS, QUICK_STEPS = 100, 1000, 25, 800, 100
LARGE = (128, 128, 128)
SMALLER: dict[str, list[tuple[int, ...]]] = {
    "fewer units": [(width,) * 3 for width in (8, 16, 32, 64)],
    "fewer layers": [(128,) * depth for depth in (0, 1, 2)],
}


def _measure(key: Any, seeds: int, quick: bool) -> Evidence:
    steps = QUICK_STEPS if quick else STEPS
    smaller = {name: own[1:2] if quick else own for name, own in SMALLER.items()}
    large = _losses(LARGE, key, seeds, steps)
    tried = {
        name: np.stack([_losses(hidden, key, seeds, steps) for hidden in own])
        for name, own in smaller.items()
    }
    effects = tuple(
        ratio_effect(
            f"Loss with {name}, divided by the loss of the large network.",
            picked(own, pick_by_others(own)),
            large,
            BETTER_LOSS,
        )
        for name, own in tried.items()
    )
    shown = {"3 x 128": large}
    for name, own in tried.items():
        for hidden, losses in zip(smaller[name], own, strict=True):
            shown[f"{len(hidden)} x {hidden[0]}" if hidden else "linear"] = losses
    return Evidence(
        effects,
        f"{TRAIN} digits, {steps} steps of Adam in batches of {BATCH} without other regularizers, "
        f"tested on {TEST} others.",
        Groups(shown, "test loss", log_y=True),
    )


def _losses(hidden: tuple[int, ...], key: Any, seeds: int, steps: int) -> np.ndarray:
    """The test loss at the end, f[seeds]."""
    data = scaled_data("digits")
    task = linen_task(MLP(10, hidden), data[0][:1], problem("multiclass"))
    build = lambda nothing: (task, adam(2e-3))
    train = make_train(build, data, steps=steps, batch_size=BATCH, evaluate_every=steps)
    losses = validated(train, len(data[0]), TRAIN, TEST)
    return np.asarray(by_seed(losses, key, seeds)[..., -1])


SMALLER_MODELS = Claim(
    "smaller_models",
    "A smaller model, with fewer layers or fewer units, cures overfitting.",
    "K",
    _measure,
)
