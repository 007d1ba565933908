"""Claim 8: what becomes of the variance of activations on their way through a deep network.

Standard normal inputs go through layers of 128 units without biases. Counted is the variance of the
last layer over that of the first, in orders of magnitude: kept is within one order, and failure is
to lose one in each layer.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxopt_course.activations import activation
from jaxopt_course.initializers import initializer

from ._claim import Claim, Evidence
from ._claimed import Claimed
from ._effects import Effect, mean_effect
from ._experiment import by_seed
from ._pictures import Curves


DEPTH, WIDTH, ROWS = 10, 128, 128
KEPT = Claimed(-1.0, 1.0, "the variance counts as kept within an order of magnitude")
FAILED = Claimed(
    -np.inf, 1.0 - DEPTH, "initialization fails if each layer loses an order of magnitude"
)
SATURATED, MANY = 0.99, Claimed(0.5, np.inf, "a layer saturates if more than half of its units do")
CASES = {
    "Xavier, tanh": ("glorot_normal", "tanh"),
    "N(0, 1), tanh": ("standard_normal", "tanh"),
    "N(0, 0.01), tanh": ("small_normal", "tanh"),
    "He, ReLU": ("he_normal", "relu"),
    "Xavier, ReLU": ("glorot_normal", "relu"),
}


def _measure(key: Any, seeds: int, quick: bool) -> Evidence:
    def layers(key: Any, numbers: Any, rows: Any) -> Any:
        return {name: _variances(key, *case) for name, case in CASES.items()}

    found = by_seed(layers, key, seeds, strategy="vmap")
    variances = {name: variance for name, (variance, _) in found.items()}

    def orders(name: str, claimed: Claimed) -> Effect:
        return mean_effect(
            f"{name}: log10 of the variance in layer {DEPTH} divided by that in layer 1.",
            np.log10(variances[name][:, -1] / variances[name][:, 1]),
            claimed,
        )

    saturated = mean_effect(
        f"N(0, 1), tanh: share of the units of the last layer beyond {SATURATED}.",
        found["N(0, 1), tanh"][1][:, -1],
        MANY,
    )
    effects = (
        orders("Xavier, tanh", KEPT),
        saturated,
        orders("N(0, 0.01), tanh", FAILED),
        orders("He, ReLU", KEPT),
    )
    return Evidence(
        effects,
        f"{DEPTH} layers of {WIDTH} units before any training; Xavier with ReLU, which halves the "
        f"variance in each layer, gains {orders('Xavier, ReLU', KEPT).value:.1f} orders.",
        Curves(
            np.arange(DEPTH + 1.0),
            variances,
            "layer",
            "variance of the activations",
            log_y=True,
        ),
    )


def _variances(key: Any, init: str, act: str) -> Any:
    """Variances f[DEPTH + 1], and shares of saturated units f[DEPTH + 1]."""
    key_inputs, key_weights = jax.random.split(key)
    inputs = jax.random.normal(key_inputs, (ROWS, WIDTH))

    def layer(h: Any, key: Any) -> Any:
        h = activation(act)(h @ initializer(init)(key, (WIDTH, WIDTH), h.dtype))
        return h, (jnp.var(h), jnp.mean(jnp.abs(h) > SATURATED))

    _, (variances, shares) = jax.lax.scan(layer, inputs, jax.random.split(key_weights, DEPTH))
    start = jnp.var(inputs), jnp.mean(jnp.abs(inputs) > SATURATED)
    return jnp.append(start[0], variances), jnp.append(start[1], shares)


INITIAL_VARIANCE = Claim(
    "initial_variance",
    "Xavier keeps the variance through depth, N(0, 1) saturates, N(0, 0.01) fails in deep nets; "
    "He for ReLU.",
    "K R",
    _measure,
)
