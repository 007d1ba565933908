"""A small problem, and single trainings with which those of a comparison are compared."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxopt_course.tasks import Task
from jaxopt_course.training import Rows, make_train
from jaxopt_course.workloads import Parts


def bowl_parts(curvature, noise=0.0, examples=1):
    """Minimize ``sum(curvature (x - 1)^2) / 2 + e . x``; the last row, without noise, validates."""
    curvature = jnp.asarray(curvature, jnp.float32)
    draws = noise * np.random.default_rng(0).standard_normal((examples, len(curvature)))
    draws = np.concatenate([draws - draws.mean(0), np.zeros((1, len(curvature)))])

    def loss(params, model_state, batch, *, key, train):
        value = jnp.sum(curvature * (params - 1) ** 2) / 2
        return value + batch.inputs @ params, (model_state, {})

    start = lambda key: (jax.random.normal(key, curvature.shape, jnp.float32), {})
    task = Task(start, loss, lambda params, model_state, inputs: inputs @ params)
    rows = Rows(jnp.arange(examples), None, jnp.arange(examples, examples + 1))
    return Parts(task, (draws.astype(np.float32), np.zeros(examples + 1)), rows)


def validation_losses(own, on, variant):
    """The function of a key and numbers that trains an optimizer on a workload once."""
    task, data, rows = on.variants[variant]()
    train = make_train(
        lambda numbers: (task, own.build(numbers)),
        data,
        steps=on.steps,
        batch_size=on.batch_size,
        evaluate_every=on.evaluate_every,
    )
    return jax.jit(lambda key, numbers: train(key, numbers, rows).history["validation_loss"])
