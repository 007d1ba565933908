"""Models linear in their inputs or in each of their factors: the classics."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxopt_course.data import breast_cancer, diabetes, fit_scaler, scale_features
from jaxopt_course.nn import MLP
from jaxopt_course.problems import problem
from jaxopt_course.tasks import function_task, linen_task

from ._workload import Parts, Workload, frozen_targets, parts, shuffled


def logistic_parts(seed: int, noise: float) -> Parts:
    """A tumour, malignant or benign, by a linear model of scaled measurements.

    Args:
        seed: of the split and the noise.
        noise: standard deviation of what is added to the scaled measurements.
    """
    order, data = shuffled(seed, 569), breast_cancer()
    inputs = _scaled(data.inputs[order], 448)
    inputs += noise * np.random.default_rng(seed).standard_normal(inputs.shape).astype(np.float32)
    # From 0, as is usual for convex problems: the seed is the order of the data alone.
    task = linen_task(MLP(1, (), kernel_init="zeros"), inputs[:1], problem("binary"))
    return parts(task, (inputs, data.targets[order]), 448)


def diabetes_parts(seed: int, hidden: tuple[int, ...]) -> Parts:
    """The progress of the disease in standard deviations, by measurements that are collinear."""
    order, data = shuffled(seed, 442), diabetes()
    inputs, targets = _scaled(data.inputs[order], 320), _scaled(data.targets[order], 320)
    task = linen_task(MLP(1, hidden, activation="tanh"), inputs[:1], problem("regression"))
    return parts(task, (inputs, targets), 320)


def factorization_parts(seed: int, rank: int, noise: float) -> Parts:
    """The entries of a 40 x 30 matrix of that rank, by as many factors, from 60 % of them.

    An entry of the true matrix has a variance of 1.
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


def _scaled(values: np.ndarray, train: int) -> np.ndarray:
    return np.asarray(scale_features(fit_scaler(values[:train]), values), np.float32)


LOGISTIC = Workload(
    name="logistic",
    summary="Logistic regression of tumours, malignant or benign, on 30 scaled measurements.",
    variants={"base": lambda: logistic_parts(0, 0.0), "held_out": lambda: logistic_parts(1, 0.5)},
    steps=280,
    batch_size=32,
    evaluate_every=7,
    targets=frozen_targets("logistic"),
)
DIABETES = Workload(
    name="diabetes",
    summary="Linear regression of the progress of diabetes on 10 collinear measurements.",
    variants={
        "base": lambda: diabetes_parts(0, ()),
        "held_out": lambda: diabetes_parts(1, (8,)),
    },
    steps=300,
    batch_size=32,
    evaluate_every=10,
    targets=frozen_targets("diabetes"),
)
FACTORIZATION = Workload(
    name="factorization",
    summary="A matrix of 40 x 30 and rank 3 from 60 % of its entries, by two factors.",
    variants={
        "base": lambda: factorization_parts(0, 3, 0.1),
        "held_out": lambda: factorization_parts(1, 4, 0.3),
    },
    steps=450,
    batch_size=48,
    evaluate_every=15,
    targets=frozen_targets("factorization"),
    floors={"base": 0.1**2, "held_out": 0.3**2},
)
