"""Claim 7: what batch normalization does to the rates that work, and to the start that is needed.

Three hidden layers on digits, with and without it, by plain gradient descent.

    rate     the highest one, with Xavier weights, whose final training loss is below a half
    spread   of the logarithm of the final training loss over weights scaled by 1/4, ..., 4:
             its range, at the rate that is best for the other seeds

Without it or with it, the reach of a rate ends at the grid: the gain is then at least what is said.
"""

from typing import Any

import jax
import numpy as np

from jaxopt_course.nn import MLP
from jaxopt_course.optimizers import sgd
from jaxopt_course.problems import problem
from jaxopt_course.tasks import linen_task
from jaxopt_course.training import make_train

from ._claim import Claim, Evidence
from ._effects import mean_effect, ratio_effect
from ._experiment import by_seed, combinations, pick_by_others, scaled_data
from ._pictures import Curves


__all__ = ["BATCH_NORMALIZATION"]

STEPS, QUICK_STEPS, BATCH, GOOD = 200, 100, 64, 0.5
RATES = 10 ** np.arange(-2.0, 2.0, 0.5)
SCALES = (0.25, 1.0, 4.0)
ACTIVATIONS = {"sigmoid": "sigmoid", "tanh": "tanh", "ReLU": "relu"}
WORST = 1e3  # instead of a loss that is not finite


def _measure(key: Any, seeds: int, quick: bool) -> Evidence:
    names = ("sigmoid",) if quick else tuple(ACTIVATIONS)
    steps, rates = (QUICK_STEPS, RATES[::2]) if quick else (STEPS, RATES)
    gains, spreads = {}, {}
    lines: dict[str, np.ndarray] = {}
    for name in names:
        losses = {
            norm: _losses(ACTIVATIONS[name], norm, key, seeds, rates, steps)
            for norm in (None, "batch")
        }
        plain, normal = (_highest(losses[norm][:, 1], rates) for norm in (None, "batch"))
        gains[name] = normal / plain
        spreads[name] = _spread(losses[None]) - _spread(losses["batch"])
        lines |= {name: losses[None][:, 1].T, f"{name}, normalized": losses["batch"][:, 1].T}
    rate = np.exp(np.mean(np.log(list(gains.values())), 0))
    effects = [
        ratio_effect(
            "How many times the highest working rate batch normalization allows.",
            rate,
            np.ones(seeds),
            (1.0, np.inf),
        ),
        mean_effect(
            "By how much it narrows the range of log losses over scales of the weights.",
            np.mean(list(spreads.values()), 0),
            (0.0, np.inf),
        ),
    ]
    if not quick:
        saturating = np.sqrt(gains["sigmoid"] * gains["tanh"])
        effects += [
            ratio_effect(
                "The gain in rate with sigmoid and tanh over that with ReLU.",
                saturating,
                gains["ReLU"],
                (1.0, np.inf),
            ),
            mean_effect(
                "How much more it narrows that range with sigmoid and tanh than with ReLU.",
                (spreads["sigmoid"] + spreads["tanh"]) / 2 - spreads["ReLU"],
                (0.0, np.inf),
            ),
        ]
    return Evidence(
        tuple(effects),
        f"Digits, three hidden layers of 32, {steps} steps of {BATCH} examples, training loss; "
        f"working is a loss below {GOOD}.",
        Curves(
            rates,
            {name: np.minimum(each, WORST) for name, each in lines.items()},
            "learning rate",
            f"final training loss ({WORST:g}: above, or not finite)",
            log_x=True,
            log_y=True,
        ),
    )


def _highest(losses: np.ndarray, rates: np.ndarray) -> np.ndarray:
    """The highest rate that works, f[seeds]; where none does, the lowest that was tried."""
    working = losses < GOOD
    return np.where(working.any(0), rates[len(rates) - 1 - working[::-1].argmax(0)], rates[0])


def _spread(losses: np.ndarray) -> np.ndarray:
    """The range over scales, f[seeds], of losses [rates, scales, seeds], at the best rate."""
    logs = np.log(losses)
    picks = pick_by_others(np.exp(logs.mean(1)))
    return np.ptp(logs[picks, :, np.arange(logs.shape[2])], axis=1)


def _losses(
    activation: str, norm: str | None, key: Any, seeds: int, rates: Any, steps: int
) -> np.ndarray:
    """Final training losses, f[rates, scales, seeds]."""
    data = scaled_data("digits")
    model = MLP(10, (32,) * 3, activation=activation, normalization=norm)
    task = linen_task(model, data[0][:1], problem("multiclass"))

    def build(numbers: Any) -> Any:
        def init(key: Any) -> Any:
            params, state = task.init(key)
            larger = lambda path, x: x * numbers["scale"] if "kernel" in str(path) else x
            return jax.tree.map_with_path(larger, params), state

        return task._replace(init=init), sgd(numbers["rate"])

    train = make_train(build, data, steps=steps, batch_size=BATCH, evaluate_every=steps // 20)
    final = lambda key, numbers, rows: train(key, numbers).history["loss"][-1]
    grid = combinations(rate=rates, scale=SCALES)
    losses = by_seed(final, key, seeds, grid, strategy="chunk").reshape(
        len(rates), len(SCALES), seeds
    )
    return np.where(np.isfinite(losses), np.clip(losses, 1e-8, WORST), WORST)


BATCH_NORMALIZATION = Claim(
    "batch_normalization",
    "Batch normalization allows larger rates, and lessens the dependence on initialization; "
    "strongest with sigmoid, tanh.",
    "N A K",
    _measure,
)
