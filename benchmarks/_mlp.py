"""What the benchmarks of studies train: a small perceptron on the digits, by AdamW."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from jaxopt_course.nn import MLP
from jaxopt_course.optimizers import adamw
from jaxopt_course.problems import problem
from jaxopt_course.studies import Float
from jaxopt_course.tasks import Task, linen_task
from jaxopt_course.training import Rows


WIDTH, BATCH_SIZE = 40, 64
SPACE = {"learning_rate": Float(1e-4, 1e-1, log=True), "weight_decay": Float(1e-5, 1.0, log=True)}


def task_of(width: int) -> Task:
    """An MLP with one hidden layer."""
    return linen_task(MLP(10, (width,)), jnp.zeros((1, 64)), problem("multiclass"))


def build_of(task: Task) -> Callable[[Any], Any]:
    """``build(hyperparameters)``: the task, and AdamW with these numbers."""
    return lambda hyperparameters: (task, adamw(**hyperparameters))


def split() -> Rows:
    """The last 360 rows validate."""
    return Rows(jnp.arange(1437), None, jnp.arange(1437, 1797))
