"""Decompose the error of a regression into bias, variance and noise.

With predictions p_b(x) of trainings on bootstrap samples b, their mean p(x), and y = f(x) + noise,

    E (p_b - y)^2  =  E (p - f)^2  +  E (p_b - p)^2  +  E (y - f)^2  -  2 E (p - f)(y - f)
      error            bias^2          variance          noise          chance

The last part is 0 in expectation over the noise of the test points. Without f, y takes its place,
and the noise counts as bias.

Reference: Geman, Bienenstock & Doursat, "Neural Networks and the Bias/Variance Dilemma", Neural
Computation 1992; bootstrap samples as in Efron & Tibshirani, 1993, chapter 6.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from jaxopt_course.core import checks
from jaxopt_course.data import bootstrap_weights
from jaxopt_course.training import Rows, make_population


class BiasVarianceReport(NamedTuple):
    """The mean squared error over test points and trainings, and its parts; ``print`` it.

    error, bias_squared, variance, noise: means in the squared unit of the target.
    standard_errors: standard errors of these four and of ``chance``, over the test points.
    trainings: number of bootstrap trainings.
    """

    error: float
    bias_squared: float
    variance: float
    noise: float
    standard_errors: dict[str, float]
    trainings: int

    @property
    def chance(self) -> float:
        """The error minus bias, variance and noise: the effect of the draw of the noise."""
        return self.error - self.bias_squared - self.variance - self.noise

    def __str__(self) -> str:
        names = ("error", "bias_squared", "variance", "noise", "chance")
        said = {n: f"{getattr(self, n):.4g} +- {self.standard_errors[n]:.2g}" for n in names}
        return (
            f"error {said['error']} = bias^2 {said['bias_squared']} + variance {said['variance']} "
            f"+ noise {said['noise']} + chance {said['chance']}, over {self.trainings} bootstrap "
            "trainings"
        )


def bias_variance(
    predict: Callable[..., Array],
    rows: Int[Array | np.ndarray, "n"],
    targets: Float[Array | np.ndarray, "points"],
    *,
    key: Key[Array, ""],
    truth: Float[Array | np.ndarray, "points"] | None = None,
    trainings: int = 100,
    hyperparameters: Any = None,
    strategy: Literal["map", "chunk", "vmap"] = "map",
) -> BiasVarianceReport:
    """Train on bootstrap samples, in one program, and decompose the error on test points.

    Args:
        predict: ``predict(key, hyperparameters, rows)`` trains and returns one number for each
            test point.
        rows: numbers of the training rows to draw from, with replacement.
        targets: y at the test points.
        key: PRNG key of the samples and the trainings.
        truth: f at the test points. None: it is unknown.
        trainings: number of bootstrap samples, in [2, inf).
        hyperparameters: those of ``predict``.
        strategy: as for :func:`~jaxopt_course.training.make_population`.

    Examples:
        >>> y = jnp.array([1.0, 2.0, 3.0, 6.0])
        >>> def train_and_predict(key, hyperparameters, rows):
        ...     return jnp.full(4, jnp.average(y, None, rows.weights))
        >>> report = bias_variance(train_and_predict, jnp.arange(4), y, key=jax.random.key(0))
        >>> bool(report.bias_squared > 3 * report.variance)
        True
    """
    checks.integer("bias_variance", "trainings", trainings, "[2, inf)")
    y = np.asarray(targets, float)
    f = y if truth is None else np.asarray(truth, float)
    if f.shape != y.shape:
        raise ValueError(
            f"bias_variance: `truth` must have the shape of the targets, {y.shape}, got {f.shape}."
        )
    sample_key, train_key = jax.random.split(key)
    rows = jnp.asarray(rows, jnp.int32)
    draw = jax.vmap(lambda key: bootstrap_weights(key, rows.shape[0]))
    weights = draw(jax.random.split(sample_key, trainings))
    member = lambda key, hyperparameters, weights: predict(
        key, hyperparameters, Rows(rows, weights)
    )
    run = jax.jit(make_population(member, [("key", "rows")], strategy=strategy))
    keys = jax.random.split(train_key, trainings)
    predictions = np.asarray(run(keys, hyperparameters, weights), float)
    if predictions.shape != (trainings, *y.shape) or y.ndim != 1:
        raise ValueError(
            f"bias_variance: `predict` must return one number for each target, of shape "
            f"{y.shape}, got shape {predictions.shape[1:]}."
        )
    return _decompose(predictions, y, f)


def _decompose(predictions: np.ndarray, y: np.ndarray, f: np.ndarray) -> BiasVarianceReport:
    mean = predictions.mean(0)
    parts = {
        "error": ((predictions - y) ** 2).mean(0),
        "bias_squared": (mean - f) ** 2,
        "variance": predictions.var(0),
        "noise": (y - f) ** 2,
        "chance": -2 * (mean - f) * (y - f),
    }
    error_of = lambda x: float(x.std(ddof=1) / np.sqrt(len(x))) if len(x) > 1 else 0.0
    errors = {name: error_of(values) for name, values in parts.items()}
    del parts["chance"]  # the report derives it from the others
    means = {name: float(values.mean()) for name, values in parts.items()}
    return BiasVarianceReport(**means, standard_errors=errors, trainings=len(predictions))
