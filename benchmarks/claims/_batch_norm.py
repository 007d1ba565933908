"""Claim 7: what batch normalization does to the rates that work, and to the start that is needed.

Three hidden layers on digits, with and without it, by plain gradient descent.

    rate     the highest one, with Xavier weights, whose final training loss is below a half
    spread   of the logarithm of the final training loss over weights scaled by 1/4, ..., 4:
             its range, at the rate that is best for the other seeds

Where no rate works, or the highest one of the grid does, the highest working rate is only known up
to a bound, and so is a gain that it is a part of. Rates lie sqrt(10) apart.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxopt_course.nn import MLP
from jaxopt_course.optimizers import sgd
from jaxopt_course.problems import problem
from jaxopt_course.tasks import linen_task
from jaxopt_course.training import make_train

from ._claim import Claim, Evidence
from ._claimed import LARGER_LOSS_GAIN, Claimed
from ._effects import Effect, mean_effect, ratio_effect
from ._experiment import Cost, by_seed, combinations, scaled_data
from ._pictures import Curves
from ._selection import finite_or_worst, pick_by_others, picked


STEPS, QUICK_STEPS, BATCH, GOOD = 200, 100, 64, 0.5
RATES = 10 ** np.arange(-2.0, 2.0, 0.5)
SCALES = (0.25, 1.0, 4.0)
ACTIVATIONS = {"sigmoid": "sigmoid", "tanh": "tanh", "ReLU": "relu"}
TWICE = Claimed(2.0, np.inf, "rates are a factor of about 3 apart, so less than 2 is not resolved")
SHOWN = 1e3  # the highest loss in the picture


class Gain(NamedTuple):
    """What batch normalization gains, for each seed.

    values: f[seeds], or f[resamples, seeds].
    at_least: of the same shape: where the number is only a lower bound.
    at_most: of the same shape: where it is only an upper bound.
    """

    values: np.ndarray
    at_least: np.ndarray
    at_most: np.ndarray


def _measure(key: Any, seeds: int, quick: bool) -> Evidence:
    names = ("sigmoid",) if quick else tuple(ACTIVATIONS)
    steps, rates = (QUICK_STEPS, RATES[::2]) if quick else (STEPS, RATES)
    losses = {
        (name, norm): _losses(ACTIVATIONS[name], norm, key, seeds, rates, steps)
        for name in names
        for norm in (None, "batch")
    }
    gains = {
        name: _gain(losses[name, None][:, 1], losses[name, "batch"][:, 1], rates) for name in names
    }
    narrowed = {name: _narrowed(losses[name, None], losses[name, "batch"]) for name in names}
    effects = [_rate_effect(name, gain) for name, gain in gains.items()]
    effects.append(_mean_narrowed(narrowed.values()))
    if not quick:
        effects += [_over_relu(name, gains[name], gains["ReLU"]) for name in ("sigmoid", "tanh")]
        effects.append(_narrowed_over_relu(*narrowed.values()))
    none = ", ".join(
        f"{int((~(losses[name, None][:, 1] < GOOD).any(0)).sum())} with {name}" for name in names
    )
    lines = {
        name if norm is None else f"{name}, normalized": found[:, 1].T
        for (name, norm), found in losses.items()
    }
    return Evidence(
        tuple(effects),
        f"Digits, three hidden layers of 32, {steps} steps of {BATCH} examples, training loss; "
        f"working is a loss below {GOOD}. Without batch normalization no rate from {rates[0]:g} to "
        f"{rates[-1]:.3g} works in {none} of {seeds} seeds.",
        Curves(
            rates,
            {name: np.fmin(each, SHOWN) for name, each in lines.items()},
            "learning rate",
            f"final training loss ({SHOWN:g}: above, or not finite)",
            log_x=True,
            log_y=True,
        ),
    )


def _gain(plain: np.ndarray, normal: np.ndarray, rates: np.ndarray) -> Gain:
    """How many times the highest working rate is; of final losses f[rates, seeds]."""
    (low, low_none, low_all), (high, high_none, high_all) = (
        _highest(losses, rates) for losses in (plain, normal)
    )
    return Gain(high / low, low_none | high_all, high_none | low_all)


def _highest(losses: np.ndarray, rates: np.ndarray) -> tuple[np.ndarray, ...]:
    """The highest rate that works, f[seeds]; where none does, and where the last one does.

    In these two cases the lowest and the last rate are bounds, from above and from below.
    """
    working = losses < GOOD
    none = np.asarray(~working.any(0))
    highest = np.where(none, rates[0], rates[len(rates) - 1 - working[::-1].argmax(0)])
    return highest, none, working[-1]


def _rate_effect(name: str, gain: Gain) -> Effect:
    return ratio_effect(
        f"{name}: highest working rate with batch normalization, divided by that without.",
        gain.values,
        np.ones_like(gain.values),
        TWICE,
        above_capped=gain.at_least,
        below_capped=gain.at_most,
    )


def _over_relu(name: str, gain: Gain, relu: Gain) -> Effect:
    return ratio_effect(
        f"That ratio of rates with {name}, divided by that with ReLU.",
        gain.values,
        relu.values,
        TWICE,
        above_capped=gain.at_least | relu.at_most,
        below_capped=gain.at_most | relu.at_least,
    )


def _spread(losses: np.ndarray) -> Cost:
    """The range over scales at the best rate, [resamples, seeds]; of losses [rates, scales, seeds].

    Where a loss is not finite the range is only known to be at least that of the others.
    """
    logs = np.log(finite_or_worst(losses))
    picks = pick_by_others(np.exp(logs.mean(1)))
    capped = ~np.isfinite(losses).all(1)
    return Cost(picked(np.ptp(logs, axis=1), picks), picked(capped, picks))


def _narrowed(plain: np.ndarray, normal: np.ndarray) -> Gain:
    """By how much the range over scales is smaller with batch normalization."""
    wide, narrow = _spread(plain), _spread(normal)
    return Gain(wide.values - narrow.values, wide.capped, narrow.capped)


def _mean_narrowed(narrowed: Iterable[Gain]) -> Effect:
    values, at_least, at_most = zip(*narrowed, strict=True)
    return mean_effect(
        "Range of log losses over scales of the weights: without minus with normalization.",
        np.mean(values, 0),
        LARGER_LOSS_GAIN,
        at_least=np.any(at_least, 0),
        at_most=np.any(at_most, 0),
    )


def _narrowed_over_relu(sigmoid: Gain, tanh: Gain, relu: Gain) -> Effect:
    return mean_effect(
        "That difference of ranges with sigmoid and tanh, minus that with ReLU.",
        (sigmoid.values + tanh.values) / 2 - relu.values,
        LARGER_LOSS_GAIN,
        at_least=sigmoid.at_least | tanh.at_least | relu.at_most,
        at_most=sigmoid.at_most | tanh.at_most | relu.at_least,
    )


def _losses(
    activation: str, norm: str | None, key: Any, seeds: int, rates: Any, steps: int
) -> np.ndarray:
    """Final training losses, f[rates, scales, seeds]."""
    data = scaled_data("digits")
    model = MLP(10, (32,) * 3, activation=activation, normalization=norm)
    task = linen_task(model, data[0][:1], problem("multiclass"))

    def build(numbers: Any) -> Any:
        def init(key):
            params, state = task.init(key)
            larger = lambda path, x: x * numbers["scale"] if "kernel" in str(path) else x
            return jax.tree.map_with_path(larger, params), state

        return task._replace(init=init), sgd(numbers["rate"])

    train = make_train(build, data, steps=steps, batch_size=BATCH, evaluate_every=steps // 20)
    final = lambda key, numbers, rows: train(key, numbers).history["loss"][-1]
    grid = combinations(rate=rates, scale=SCALES)
    losses = by_seed(final, key, seeds, grid, strategy="chunk")
    return np.asarray(losses).reshape(len(rates), len(SCALES), seeds)


BATCH_NORMALIZATION = Claim(
    "batch_normalization",
    "Batch normalization allows larger rates, and lessens the dependence on initialization; "
    "strongest with sigmoid, tanh.",
    "N A K",
    _measure,
)
