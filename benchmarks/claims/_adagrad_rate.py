"""Claim 26: how much tuning the rate of AdaGrad gains, and how wide the range of good rates is.

AdaGrad and gradient descent on the problems of claim 4, at eleven rates over five decades. The
excess of a rate is its final validation loss over that of the rate which is best for the other
seeds, as a geometric mean over the problems.

    untuned     the excess of AdaGrad at its default rate of 0.01, good below a quarter
    good rates  the number of rates with an excess below a quarter, in decades
"""

from typing import Any

import numpy as np

from jaxopt_course.optimizers import adagrad, sgd

from ._claim import Claim, Evidence
from ._claimed import Claimed
from ._defaults import PROBLEMS, WELL, final_losses
from ._effects import mean_effect, ratio_effect
from ._pictures import Curves
from ._selection import finite_or_worst, pick_by_others, picked


DECADES, DEFAULT = 0.5, 0.01
RATES = 10 ** np.arange(-4.0, 1.25, DECADES)
OPTIMIZERS = {"AdaGrad": lambda rate: adagrad(rate, 0.0, 1e-8), "gradient descent": sgd}
WIDER = Claimed(
    DECADES, np.inf, "rates are half a decade apart, so smaller differences are not resolved"
)


def _measure(key: Any, seeds: int, quick: bool) -> Evidence:
    rates = RATES[::2] if quick else RATES
    default = int(np.argmin(abs(rates - DEFAULT)))
    spacing = DECADES * (2 if quick else 1)
    places = list(PROBLEMS)[1:] if quick else list(PROBLEMS)
    excesses, widths, capped = {}, {}, {}
    for name, make in OPTIMIZERS.items():
        found = [final_losses(place, make, key, seeds, rates) for place in places]
        excesses[name] = np.exp(np.mean([_log_excess(own) for own in found], 0))
        widths[name] = _good_decades(excesses[name], spacing)
        capped[name] = ~np.isfinite(np.stack(found)[:, default]).all(0)
    return Evidence(
        (
            ratio_effect(
                "AdaGrad: loss with the default rate, divided by the loss with a tuned rate.",
                excesses["AdaGrad"][default],
                np.ones(seeds),
                WELL,
                above_capped=capped["AdaGrad"],
            ),
            mean_effect(
                "Width in decades of the range of good rates: AdaGrad minus gradient descent.",
                widths["AdaGrad"] - widths["gradient descent"],
                WIDER,
            ),
        ),
        f"{', '.join(places)}: small models, 600 steps of 32 examples, scaled features. Of five "
        f"decades {widths['AdaGrad'][0].mean():.2g} are good with AdaGrad and "
        f"{widths['gradient descent'][0].mean():.2g} with gradient descent.",
        Curves(
            rates,
            {name: own[:, 0].T for name, own in excesses.items()},
            "learning rate",
            "validation loss / that of the best rate",
            log_x=True,
            log_y=True,
        ),
    )


def _log_excess(found: np.ndarray) -> np.ndarray:
    """Of final losses f[rates, seeds], those over the tuned ones: f[rates, resamples, seeds]."""
    losses = finite_or_worst(found)
    return np.asarray(np.log(losses[:, None] / picked(losses, pick_by_others(losses))))


def _good_decades(excess: np.ndarray, spacing: float) -> np.ndarray:
    """The width of the range of good rates, of f[rates, ...] that lie ``spacing`` decades apart."""
    return np.asarray(spacing * (excess < WELL.most).sum(0))


ADAGRAD_RATE = Claim("adagrad_rate", "AdaGrad needs no tuning of the rate.", "K", _measure)
