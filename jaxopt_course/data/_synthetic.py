"""Synthetic data sets and quadratics, as pure functions of a key.

Sizes are static; noise, turns and condition numbers may be traced. Labels are balanced: row i
belongs to class i modulo the number of classes.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int32, Key, ScalarLike

from jaxopt_course.core import checks, numerics


def two_moons(
    key: Key[Array, ""], n: int, noise: ScalarLike = 0.1
) -> tuple[Float[Array, "n 2"], Int32[Array, " n"]]:
    """Two interleaved half circles of radius 1, around (0, 0) and (1, 0.5).

    Labels are 0 for the upper moon and 1 for the lower one.

    Args:
        key: PRNG key.
        n: number of points; static.
        noise: standard deviation of the noise on both coordinates, in [0, inf).
    """
    checks.integer("two_moons", "n", n, "[1, inf)")
    checks.number("two_moons", "noise", noise, "[0, inf)")
    angle_key, noise_key = jax.random.split(key)
    labels = jnp.arange(n, dtype=jnp.int32) % 2
    angle = math.pi * jax.random.uniform(angle_key, (n,))
    upper = jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=-1)
    lower = jnp.stack([1 - jnp.cos(angle), 0.5 - jnp.sin(angle)], axis=-1)
    points = jnp.where(labels[:, None] == 0, upper, lower)
    return points + numerics.as_float(noise) * jax.random.normal(noise_key, (n, 2)), labels


def spirals(
    key: Key[Array, ""],
    n: int,
    turns: ScalarLike = 1.0,
    noise: ScalarLike = 0.02,
    *,
    classes: int = 2,
) -> tuple[Float[Array, "n 2"], Int32[Array, " n"]]:
    """Spiral arms ``r (cos a, sin a)``, one per class.

    With r uniform in [0, 1] and ``a = 2 pi (turns r + label / classes)``. The sign of ``turns`` is
    the direction, and ``classes`` is a static integer in [2, n]. The other arguments are those of
    :func:`two_moons`.
    """
    checks.integer("spirals", "n", n, "[2, inf)")
    checks.number("spirals", "turns", turns)
    checks.number("spirals", "noise", noise, "[0, inf)")
    checks.integer("spirals", "classes", classes, f"[2, {n}]")
    radius_key, noise_key = jax.random.split(key)
    labels = jnp.arange(n, dtype=jnp.int32) % classes
    radius = jax.random.uniform(radius_key, (n,))
    turned = numerics.as_float(turns) * radius + labels.astype(radius.dtype) / classes
    angle = 2 * math.pi * turned
    points = radius[:, None] * jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=-1)
    return points + numerics.as_float(noise) * jax.random.normal(noise_key, (n, 2)), labels


def teacher(
    key: Key[Array, ""], n: int, features: int = 8, width: int = 4, noise: ScalarLike = 0.1
) -> tuple[Float[Array, "n features"], Float[Array, "n 1"]]:
    """Regression onto a random network of two layers, ``v . tanh(W x)``, plus noise.

    Inputs are standard normal, and ``W`` and ``v`` are normal with variance 1 / (number of inputs).
    The key determines the network too: draw once and split to get several parts of one problem.

    Args:
        key: PRNG key.
        n: number of examples; static.
        features: number of features; static.
        width: number of hidden units; static.
        noise: standard deviation of the noise on the targets, in [0, inf).
    """
    for name, size in (("n", n), ("features", features), ("width", width)):
        checks.integer("teacher", name, size, "[1, inf)")
    checks.number("teacher", "noise", noise, "[0, inf)")
    hidden_key, output_key, input_key, noise_key = jax.random.split(key, 4)
    hidden = jax.random.normal(hidden_key, (features, width)) / math.sqrt(features)
    output = jax.random.normal(output_key, (width, 1)) / math.sqrt(width)
    inputs = jax.random.normal(input_key, (n, features))
    clean = jnp.tanh(inputs @ hidden) @ output
    return inputs, clean + numerics.as_float(noise) * jax.random.normal(noise_key, (n, 1))


def linear_regression(
    key: Key[Array, ""],
    n: int,
    features: int = 8,
    condition_number: ScalarLike = 100.0,
    noise: ScalarLike = 0.1,
) -> tuple[Float[Array, "n features"], Float[Array, "n 1"]]:
    """Linear regression with features of different scales.

    The sample means are 0, and the sample covariance is diagonal with variances in geometric
    progression from 1 to ``condition_number``. Standardizing the features makes the condition
    number 1. The coefficients of the standardized features are standard normal. The other arguments
    are those of :func:`teacher`, with ``features`` in [2, n) and ``condition_number`` in [1, inf).
    """
    checks.integer("linear_regression", "n", n, "[3, inf)")
    checks.integer("linear_regression", "features", features, f"[2, {n})")
    checks.number("linear_regression", "condition_number", condition_number, "[1, inf)")
    checks.number("linear_regression", "noise", noise, "[0, inf)")
    input_key, coefficient_key, noise_key = jax.random.split(key, 3)
    raw = jax.random.normal(input_key, (n, features))
    centred = raw - jnp.broadcast_to(jnp.mean(raw, axis=0), raw.shape)
    standard = math.sqrt(n) * jnp.linalg.qr(centred)[0]  # its covariance is the identity
    deviations = jnp.sqrt(_spectrum(features, condition_number))
    targets = standard @ jax.random.normal(coefficient_key, (features, 1))
    return (
        standard * jnp.broadcast_to(deviations, standard.shape),
        targets + numerics.as_float(noise) * jax.random.normal(noise_key, (n, 1)),
    )


class Quadratic(NamedTuple):
    """The function ``x . matrix x / 2 - vector . x``.

    matrix: the Hessian, symmetric and positive definite.
    vector: the negative gradient at 0.
    minimum: the minimizer, ``matrix minimum = vector``.
    """

    matrix: Float[Array, "dimension dimension"]
    vector: Float[Array, " dimension"]
    minimum: Float[Array, " dimension"]


def ill_conditioned_quadratic(
    key: Key[Array, ""], dimension: int, condition_number: ScalarLike = 100.0
) -> Quadratic:
    """A quadratic with eigenvalues in geometric progression from 1 to ``condition_number``.

    Its axes are rotated at random, so that a learning rate per coordinate cannot undo the
    conditioning. The minimizer is standard normal.

    Args:
        key: PRNG key.
        dimension: number of coordinates, in [2, inf); static.
        condition_number: largest eigenvalue divided by the smallest, in [1, inf).

    Examples:
        >>> matrix, vector, minimum = ill_conditioned_quadratic(jax.random.key(0), 5, 10.0)
        >>> bool(jnp.allclose(matrix @ minimum, vector))
        True
    """
    owner = "ill_conditioned_quadratic"
    checks.integer(owner, "dimension", dimension, "[2, inf)")
    checks.number(owner, "condition_number", condition_number, "[1, inf)")
    axes_key, minimum_key = jax.random.split(key)
    axes = jnp.linalg.qr(jax.random.normal(axes_key, (dimension, dimension)))[0]
    eigenvalues = jnp.broadcast_to(_spectrum(dimension, condition_number), axes.shape)
    matrix = (axes * eigenvalues) @ axes.T
    matrix = (matrix + matrix.T) / 2
    minimum = jax.random.normal(minimum_key, (dimension,))
    return Quadratic(matrix=matrix, vector=matrix @ minimum, minimum=minimum)


def _spectrum(size: int, condition_number: ScalarLike) -> Float[Array, " size"]:
    """A geometric progression from 1 to ``condition_number``."""
    return jnp.exp(jnp.linspace(0.0, 1.0, size) * jnp.log(numerics.as_float(condition_number)))
