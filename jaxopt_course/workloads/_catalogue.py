"""The workloads of this library, by name; those that are models of data rows are defined here."""

from collections.abc import Mapping
from types import MappingProxyType

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxopt_course.core import checks
from jaxopt_course.data import (
    breast_cancer,
    diabetes,
    digit_images,
    digits,
    fit_scaler,
    scale_features,
    spirals,
)
from jaxopt_course.nn import CNN, MLP, Autoencoder
from jaxopt_course.problems import problem
from jaxopt_course.tasks import function_task, linen_task

from ._surfaces import SURFACES
from ._text import TEXTS
from ._workload import Parts, Workload, make_workload, numbers_of, parts, shuffled


DIGITS_TRAIN = 1280  # 40 whole batches; 256 more rows validate


def logistic_parts(seed: int, noise: float) -> Parts:
    """Classify tumours as malignant or benign by a linear model of scaled measurements.

    Args:
        seed: seed of the split and of the noise.
        noise: standard deviation of the normal noise added to the scaled measurements.
    """
    order, data = shuffled(seed, 569), breast_cancer()
    inputs = _scaled(data.inputs[order], 448)
    inputs += noise * np.random.default_rng(seed).standard_normal(inputs.shape).astype(np.float32)
    # Convex problems usually start from 0; the training seed then only orders the data.
    task = linen_task(MLP(1, (), kernel_init="zeros"), inputs[:1], problem("binary"))
    return parts(task, (inputs, data.targets[order]), 448)


def diabetes_parts(seed: int, hidden: tuple[int, ...]) -> Parts:
    """Predict the scaled progress of diabetes from collinear measurements."""
    order, data = shuffled(seed, 442), diabetes()
    inputs, targets = _scaled(data.inputs[order], 320), _scaled(data.targets[order], 320)
    task = linen_task(MLP(1, hidden, activation="tanh"), inputs[:1], problem("regression"))
    return parts(task, (inputs, targets), 320)


def factorization_parts(seed: int, rank: int, noise: float) -> Parts:
    """Complete a 40 x 30 matrix of the given rank by two factors, from 60 % of its entries.

    The entries of the matrix without noise have variance 1.
    """
    rng = np.random.default_rng(seed)
    left, right = rng.standard_normal((40, rank)), rng.standard_normal((30, rank))
    matrix = left @ right.T / np.sqrt(rank) + noise * rng.standard_normal((40, 30))
    places = np.argwhere(np.ones_like(matrix)).astype(np.int32)[rng.permutation(1200)]

    def init(key):
        rows, columns = jax.random.split(key)
        normal = lambda key, n: 0.3 * jax.random.normal(key, (n, rank), jnp.float32)
        return {"rows": normal(rows, 40), "columns": normal(columns, 30)}

    def apply(params: dict[str, Array], at: Int[Array, "b 2"]) -> Float[Array, "b"]:
        return jnp.sum(params["rows"][at[:, 0]] * params["columns"][at[:, 1]], -1)

    task = function_task(init, apply, problem("regression"))
    values = matrix[tuple(places.T)].astype(np.float32)
    return parts(task, (places, values), 720)


def spirals_parts(seed: int, hidden: tuple[int, ...], turns: float, noise: float) -> Parts:
    """Tell which of two spiral arms a point of the plane lies on."""
    draw = lambda key: spirals(key, 768, turns, noise)
    inputs, targets = numbers_of(draw, jax.random.key(seed))
    task = linen_task(MLP(1, hidden, activation="tanh"), inputs[:1], problem("binary"))
    return parts(task, (2 * inputs, targets), 512)


def digits_parts(seed: int, model: nn.Module, *, images: bool = False, noise: float = 0.0) -> Parts:
    """Classify handwritten digits.

    Args:
        seed: seed of the split and of the noise.
        model: a model with ten outputs.
        images: whether the model takes images f[8, 8, 1] instead of vectors f[64].
        noise: standard deviation of the normal noise added to pixels, which lie in [0, 1].
    """
    inputs, targets = _pixels(seed, noise)
    shown = digit_images(inputs) if images else inputs
    task = linen_task(model, shown[:1], problem("multiclass"))
    return parts(task, (shown, targets), DIGITS_TRAIN)


def autoencoder_parts(seed: int, code: int, hidden: tuple[int, ...]) -> Parts:
    """Reproduce digits through a bottleneck of ``code`` numbers, by cross-entropy of each pixel."""
    inputs, _ = _pixels(seed, 0.0)
    own = problem("unit_regression_cross_entropy")
    task = linen_task(Autoencoder(code, hidden), inputs[:1], own)
    return parts(task, (inputs, inputs), DIGITS_TRAIN)


def _normalized(hidden: tuple[int, ...]) -> MLP:
    return MLP(10, hidden, normalization="batch", batch_momentum=0.9)


def _scaled(values: np.ndarray, train: int) -> np.ndarray:
    return np.asarray(scale_features(fit_scaler(values[:train]), values), np.float32)


def _pixels(seed: int, noise: float) -> tuple[np.ndarray, np.ndarray]:
    order, data = shuffled(seed, 1797)[: DIGITS_TRAIN + 256], digits()
    rng = np.random.default_rng(seed)
    inputs = data.inputs[order] + noise * rng.standard_normal((len(order), 64))
    return inputs.astype(np.float32), data.targets[order]


MODELS = (
    make_workload(
        "logistic",
        "Logistic regression of tumours, malignant or benign, on 30 scaled measurements.",
        lambda: logistic_parts(0, 0.0),
        lambda: logistic_parts(1, 0.5),
        steps=280,
        evaluate_every=7,
    ),
    make_workload(
        "diabetes",
        "Linear regression of the progress of diabetes on 10 collinear measurements.",
        lambda: diabetes_parts(0, ()),
        lambda: diabetes_parts(1, (8,)),
        steps=300,
    ),
    make_workload(
        "factorization",
        "A matrix of 40 x 30 and rank 3 from 60 % of its entries, by two factors.",
        lambda: factorization_parts(0, 3, 0.1),
        lambda: factorization_parts(1, 4, 0.3),
        steps=450,
        batch_size=48,
        evaluate_every=15,
        floors=(0.1**2, 0.3**2),
    ),
    make_workload(
        "spirals",
        "Two spirals of one turn in the plane, by a perceptron.",
        lambda: spirals_parts(0, (24, 24), 1.0, 0.02),
        lambda: spirals_parts(1, (16, 16, 16), -1.1, 0.03),
        steps=480,
        evaluate_every=16,
    ),
    make_workload(
        "mlp",
        "A perceptron with two hidden layers on digits.",
        lambda: digits_parts(0, MLP(10, (24, 24))),
        lambda: digits_parts(1, MLP(10, (32,), activation="tanh"), noise=0.2),
        steps=300,
    ),
    make_workload(
        "batch_norm",
        "A perceptron with batch normalization on digits.",
        lambda: digits_parts(0, _normalized((24, 24))),
        lambda: digits_parts(1, _normalized((16,) * 3), noise=0.2),
        steps=300,
    ),
    make_workload(
        "cnn",
        "A convolution and a dense layer on digits.",
        lambda: digits_parts(0, CNN(10, (6,), (16,)), images=True),
        lambda: digits_parts(1, CNN(10, (8,), (), activation="tanh"), images=True, noise=0.2),
        steps=160,
    ),
    make_workload(
        "autoencoder",
        "An autoencoder of digits with a code of six numbers.",
        lambda: autoencoder_parts(0, 6, (24,)),
        lambda: autoencoder_parts(1, 4, (32,)),
        steps=300,
    ),
    make_workload(
        "deep_sigmoid",
        "Four hidden layers of sigmoids on digits, whose gradients vanish.",
        lambda: digits_parts(0, MLP(10, (24,) * 4, activation="sigmoid")),
        lambda: digits_parts(1, MLP(10, (16,) * 5, activation="sigmoid")),
        steps=400,
    ),
)
WORKLOADS: Mapping[str, Workload] = MappingProxyType(
    {own.name: own for own in (*SURFACES, *MODELS, *TEXTS)}
)


def workload(name: str) -> Workload:
    """The workload called ``name``, one of ``WORKLOADS``.

    Examples:
        >>> workload("spirals").steps
        480
    """
    checks.choice("workload", "name", name, WORKLOADS)
    return WORKLOADS[name]
