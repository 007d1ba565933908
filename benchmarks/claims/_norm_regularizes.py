"""Claim 18: what dropout and L2 still gain where there is batch normalization.

The gain is the logarithm of the loss without either over that with the strength that is best for
the other seeds; without batch normalization, less that with it.
"""

from typing import Any

import numpy as np

from jaxopt_course.nn import MLP
from jaxopt_course.optimizers import adam
from jaxopt_course.problems import problem
from jaxopt_course.regularizers import weights_only
from jaxopt_course.tasks import linen_task
from jaxopt_course.training import make_train
from jaxopt_course.transforms import add_decayed_weights, chain

from ._claim import Claim, Evidence
from ._claimed import LARGER_LOSS_GAIN
from ._effects import mean_effect
from ._experiment import by_seed, scaled_data, validated
from ._pictures import Groups
from ._selection import pick_by_others, picked


TRAIN, TEST, BATCH, STEPS, QUICK_STEPS = 300, 1000, 30, 600, 200
NONE = (0.0, 0.0)
DROPOUTS = [(rate, 0.0) for rate in (0.2, 0.4, 0.6)]
DECAYS = [(0.0, decay) for decay in (0.003, 0.01, 0.03)]


def _measure(key: Any, seeds: int, quick: bool) -> Evidence:
    steps = QUICK_STEPS if quick else STEPS
    losses = {
        name: _losses(norm, key, seeds, steps)
        for name, norm in (("plain", None), ("normalized", "batch"))
    }
    choices = {"dropout": [0, 1, 2, 3], "L2": [0, 4, 5, 6]}  # none is a choice too
    best = {
        (name, what): picked(x[at], pick_by_others(x[at]))
        for name, x in losses.items()
        for what, at in choices.items()
    }
    gain = {place: np.log(losses[place[0]][0] / loss) for place, loss in best.items()}
    effects = tuple(
        mean_effect(
            f"Gain of {what} without batch normalization, minus the gain with it.",
            gain["plain", what] - gain["normalized", what],
            LARGER_LOSS_GAIN,
        )
        for what in choices
    )
    shown = {
        f"{name}, {what or 'none'}": best[name, what][0] if what else losses[name][0]
        for name in losses
        for what in (None, *choices)
    }
    return Evidence(
        effects,
        f"{TRAIN} digits, two hidden layers of 64, {steps} steps of Adam in batches of {BATCH}; "
        "gains are differences of log test losses.",
        Groups(shown, "test loss", log_y=True),
    )


def _losses(norm: str | None, key: Any, seeds: int, steps: int) -> np.ndarray:
    """Without either, by dropout, by L2: f[7, seeds]."""
    data = scaled_data("digits")

    def build(numbers: Any) -> Any:
        model = MLP(10, (64, 64), normalization=norm, batch_momentum=0.9, dropout=numbers[0])
        task = linen_task(model, data[0][:1], problem("multiclass"))
        return task, chain(add_decayed_weights(numbers[1], weights_only), adam(2e-3))

    train = make_train(build, data, steps=steps, batch_size=BATCH, evaluate_every=steps)
    numbers = np.array([NONE, *DROPOUTS, *DECAYS], np.float32)
    losses = by_seed(validated(train, len(data[0]), TRAIN, TEST), key, seeds, numbers)
    return np.asarray(losses[..., -1])


NORM_REGULARIZES = Claim(
    "norm_regularizes",
    "Batch normalization lessens the need of other regularization.",
    "A K",
    _measure,
)
