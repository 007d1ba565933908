"""Functions to minimize, with or without noise on the gradient."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxopt_course.data import ill_conditioned_quadratic
from jaxopt_course.surfaces import rosenbrock
from jaxopt_course.tasks import Batch, Task

from ._workload import Parts, make_workload, numbers_of, parts


def quadratic_parts(
    seed: int, dimension: int, condition_number: float, noise: float, examples: int = 512
) -> Parts:
    """Minimize ``(x - m) . A (x - m) / 2 + e . x``, where each example is a normal draw of e.

    The mean of the draws is 0, so that the gradient of the full batch is exact. The validation row
    is e = 0: the function itself, which is 0 at the minimum.
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
    """Minimize Rosenbrock's function, rotated by ``angle``, from a random point near ``start``.

    The only row is a dummy, which is used for training and for validation.
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


SURFACES = (
    make_workload(
        "quadratic",
        "A turned quadratic of condition number 100 in 20 dimensions, with noisy gradients.",
        lambda: quadratic_parts(0, 20, 100.0, 1.0),
        lambda: quadratic_parts(1, 30, 200.0, 2.0),
        steps=400,
        batch_size=16,
    ),
    make_workload(
        "rosenbrock",
        "Rosenbrock's curved valley in two dimensions, without noise.",
        lambda: rosenbrock_parts((-1.2, 1.0), 0.0),
        lambda: rosenbrock_parts((0.0, -0.5), 0.5),
        steps=400,
        batch_size=1,
    ),
)
