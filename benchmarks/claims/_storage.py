"""Claim 22: how many numbers an optimizer keeps for each parameter.

Counted exactly, of the state for a network with matrices and biases; counters are left out.
"""

from typing import Any

import jax
import numpy as np

from jaxopt_course.nn import MLP
from jaxopt_course.optimizers import adafactor, adagrad, adam, rmsprop, sgd

from ._claim import Claim, Evidence
from ._claimed import Claimed
from ._effects import exact_effect
from ._pictures import Groups


LESS = Claimed(-np.inf, 0.0, "the numbers are exact, so any difference counts")
OPTIMIZERS = {
    "gradient descent": lambda: sgd(0.1),
    "momentum": lambda: sgd(0.1, momentum=0.9),
    "Adagrad": lambda: adagrad(0.1),
    "RMSProp": lambda: rmsprop(0.1),
    "Adam": lambda: adam(0.1),
    "Adafactor": lambda: adafactor(0.1),
}


def _measure(key: Any, seeds: int, quick: bool) -> Evidence:
    model, inputs = MLP(10, (256, 256)), np.zeros((1, 64), np.float32)
    params = jax.eval_shape(lambda key: model.init(key, inputs, train=False)["params"], key)
    size = lambda tree: sum(x.size for x in jax.tree.leaves(tree) if x.ndim > 0)
    kept = {
        name: size(jax.eval_shape(make().init, params)) / size(params)
        for name, make in OPTIMIZERS.items()
    }
    effects = tuple(
        exact_effect(
            f"Numbers kept per parameter: Adam minus {other}.",
            kept["Adam"] - kept[other],
            LESS,
        )
        for other in ("gradient descent", "momentum", "RMSProp")
    )
    return Evidence(
        effects,
        f"A network of {size(params)} parameters; Adam keeps {kept['Adam']:g} numbers for each, "
        f"gradient descent {kept['gradient descent']:g}, momentum {kept['momentum']:g}; exact and "
        "independent of the seed.",
        Groups({name: np.array([x]) for name, x in kept.items()}, "numbers per parameter"),
    )


STORAGE = Claim("storage", "Adam requires less storage.", "K", _measure)
