"""Claim 15: bias, variance and test error of regressions of rising capacity.

Least squares on p random tanh features, of the smallest norm where there are many solutions, fits n
noisy examples of a random network of variance 1. Within a seed trainings differ in examples and
noise; over them and over test points

    error  =  bias^2 + variance        without the noise of the test points, which no model explains

Capacity rises from p = n / 20 to n / 4, passes p = n and ends at 10 n, where p is above n d too.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ._claim import Claim, Evidence
from ._claimed import Claimed
from ._effects import mean_effect, ratio_effect
from ._experiment import by_seed
from ._pictures import Curves


N, D, TEST, NOISE, TRAININGS, QUICK_TRAININGS = 40, 5, 200, 0.2, 30, 10
FEATURES = (2, 5, 10, 20, 30, 40, 60, 100, 200, 400)
QUICK_FEATURES = (2, 10, 40, 400)
FALLS = Claimed(0.05, np.inf, "less than 5 % of the variance of the truth, 1, counts as no change")
_FIFTH = "an error that differs by less than a fifth counts as the same"
LARGER_ERROR, SMALLER_ERROR = Claimed(1.2, np.inf, _FIFTH), Claimed(-np.inf, 1 / 1.2, _FIFTH)


def _measure(key: Any, seeds: int, quick: bool) -> Evidence:
    sizes = QUICK_FEATURES if quick else FEATURES
    trainings = QUICK_TRAININGS if quick else TRAININGS

    def parts(key: Any, numbers: Any, rows: Any) -> Any:
        key_truth, key_test, key_trainings = jax.random.split(key, 3)
        first, second = _weights(key_truth, 4), jax.random.normal(jax.random.fold_in(key, 1), (4,))
        network = lambda x: jnp.tanh(x @ first) @ second
        points = jax.random.normal(key_test, (TEST, D))
        truth = lambda x: network(x) / jnp.std(network(points))
        keys = jax.random.split(key_trainings, trainings)

        def of_size(p: int) -> Any:
            predictions = jax.lax.map(lambda k: _predictions(k, _lift(key, p), truth, points), keys)
            variance = jnp.mean(predictions.var(0, ddof=1))
            apart = jnp.mean(jnp.square(predictions.mean(0) - truth(points)))
            return jnp.stack([apart - variance / trainings, variance])  # without bias, both

        return jnp.stack([of_size(p) for p in sizes])

    found = by_seed(parts, key, seeds)
    bias, variance = found[..., 0], found[..., 1]
    few, many, critical, most = (sizes.index(p) for p in (2, N // 4, N, 10 * N))
    error = bias + variance
    return Evidence(
        (
            mean_effect(
                f"Decrease of the squared bias from 2 to {N // 4} features.",
                bias[:, few] - bias[:, many],
                FALLS,
            ),
            ratio_effect(
                f"Variance with {N // 4} features, divided by the variance with 2.",
                variance[:, many],
                variance[:, few],
                LARGER_ERROR,
            ),
            ratio_effect(
                f"Error with {10 * N} features, divided by the error with {N}, one per example.",
                error[:, most],
                error[:, critical],
                SMALLER_ERROR,
            ),
        ),
        f"{N} examples of {D} inputs with noise {NOISE:g}, least squares on random features; with "
        "a penalty, or stopped early, the peak at p = n is lower or not there.",
        Curves(
            np.array(sizes, float),
            {"error": error, "squared bias, or 1e-4": np.maximum(bias, 1e-4), "variance": variance},
            "features p",
            "squared error",
            log_x=True,
            log_y=True,
        ),
    )


def _weights(key: Any, p: int) -> Any:
    return jax.random.normal(key, (D, p)) / np.sqrt(D)


def _lift(key: Any, p: int) -> Any:
    """A function from inputs to their ``p`` features."""
    key_weights, key_bias = jax.random.split(jax.random.fold_in(key, p))
    weights, bias = _weights(key_weights, p), jax.random.normal(key_bias, (p,))
    return lambda x: jnp.tanh(x @ weights + bias) / np.sqrt(p)


def _predictions(key: Any, lift: Any, truth: Any, points: Any) -> Any:
    """Of the test points, by one training."""
    key_x, key_noise = jax.random.split(key)
    x = jax.random.normal(key_x, (N, D))
    y, lifted = truth(x) + NOISE * jax.random.normal(key_noise, (N,)), lift(x)
    if lifted.shape[1] > N:  # the same solution, by a smaller system
        return lift(points) @ (lifted.T @ jnp.linalg.solve(lifted @ lifted.T, y))
    return lift(points) @ jnp.linalg.lstsq(lifted, y)[0]


DOUBLE_DESCENT = Claim(
    "double_descent",
    "Bias falls and variance rises with capacity; beyond p ~ n the test error falls again.",
    "T N",
    _measure,
)
