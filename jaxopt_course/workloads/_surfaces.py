"""Functions to minimize: an example is a draw of the noise on the gradient, or nothing at all."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxopt_course.data import ill_conditioned_quadratic
from jaxopt_course.surfaces import rosenbrock
from jaxopt_course.tasks import Batch, Task

from ._workload import Parts, Workload, frozen_targets, numbers_of, parts


def quadratic_parts(
    seed: int, dimension: int, condition_number: float, noise: float, examples: int = 512
) -> Parts:
    """``(x - m) . A (x - m) / 2 + e . x``, where an example is a draw of e, normal.

    The draws have the mean 0, so that the full batch knows the slope exactly. The row that
    validates is e = 0: the function itself, which is 0 at the minimum.
    """
    matrix, _, minimum = numbers_of(
        ill_conditioned_quadratic, jax.random.key(seed), dimension, condition_number
    )
    draws = noise * np.random.default_rng(seed).standard_normal((examples, dimension))
    draws = np.concatenate([draws - draws.mean(0), np.zeros((1, dimension))]).astype(np.float32)

    def value(x: Float[Array, "d"], draw: Float[Array, "d"]) -> Float[Array, ""]:
        z = x - minimum
        return z @ (jnp.asarray(matrix) @ z) / 2 + draw @ x

    start = lambda key: jax.random.normal(key, (dimension,), jnp.float32)
    return parts(_function_task(start, value), (draws, np.zeros(examples + 1)), examples)


def rosenbrock_parts(start: tuple[float, float], angle: float) -> Parts:
    """Rosenbrock's valley turned by ``angle``, from near ``start``; there is nothing random in it.

    The only example is a number that nobody looks at; it trains, and validates.
    """
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.array([[cos, -sin], [sin, cos]], np.float32)

    def value(point: Float[Array, "2"], _: Any) -> Float[Array, ""]:
        return rosenbrock(jnp.asarray(turn) @ point)

    def init(key):
        near = jnp.asarray(start, jnp.float32) + 0.1 * jax.random.normal(key, (2,), jnp.float32)
        return jnp.asarray(turn.T) @ near

    nothing = np.zeros(1, np.float32)
    own = parts(_function_task(init, value), (nothing, nothing), 1)
    return own._replace(rows=own.rows._replace(validation=own.rows.train))


def _function_task(init: Callable[..., Any], value: Callable[..., Any]) -> Task:
    """The task to minimize ``value(params, input)``, averaged over inputs."""

    def loss(params: Any, model_state: Any, batch: Batch, *, key: Any, train: bool) -> Any:
        del key, train
        return jax.vmap(lambda x: value(params, x))(batch.inputs), (model_state, {})

    def predict(params: Any, model_state: Any, inputs: Any) -> Any:
        del model_state
        return jax.vmap(lambda x: value(params, x))(inputs)

    return Task(lambda key: (init(key), {}), loss, predict)


QUADRATIC = Workload(
    name="quadratic",
    summary="A turned quadratic of condition number 100 in 20 dimensions, with noisy gradients.",
    variants={
        "base": lambda: quadratic_parts(0, 20, 100.0, 1.0),
        "held_out": lambda: quadratic_parts(1, 30, 200.0, 2.0),
    },
    steps=400,
    batch_size=16,
    evaluate_every=10,
    targets=frozen_targets("quadratic"),
)
ROSENBROCK = Workload(
    name="rosenbrock",
    summary="Rosenbrock's curved valley in two dimensions, without noise.",
    variants={
        "base": lambda: rosenbrock_parts((-1.2, 1.0), 0.0),
        "held_out": lambda: rosenbrock_parts((0.0, -0.5), 0.5),
    },
    steps=400,
    batch_size=1,
    evaluate_every=10,
    targets=frozen_targets("rosenbrock"),
)
