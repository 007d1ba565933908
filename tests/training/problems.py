"""Small trainings for the tests."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxopt_course.nn import MLP
from jaxopt_course.optimizers import adamw
from jaxopt_course.problems import problem
from jaxopt_course.tasks import Task, function_task, linen_task
from jaxopt_course.training import Checkpointing


N, CLASSES = 50, 3


class Data(NamedTuple):
    inputs: jax.Array
    targets: jax.Array


def blobs(n: int = N) -> Data:
    """Three clouds of points, ragged in batches of 8."""
    targets = jnp.arange(n) % CLASSES
    noise = jax.random.normal(jax.random.key(7), (n, 4))
    return Data(noise + 2 * jax.nn.one_hot(targets, 4), targets)


HYPERPARAMETERS = {
    "learning_rate": 0.02,
    "weight_decay": 1e-2,
    "dropout": 0.2,
    "momentum": 0.8,
    "smoothing": 0.1,
}


def build(hyperparameters):
    """A network with everything that has a number: dropout, BatchNorm, AdamW, smoothed labels."""
    hp = HYPERPARAMETERS if hyperparameters is None else hyperparameters
    model = MLP(
        CLASSES,
        (8,),
        normalization="batch",
        batch_momentum=hp["momentum"],
        dropout=hp["dropout"],
        param_dtype=jnp.float64,
    )
    multiclass = problem("multiclass")

    def smoothed(outputs, targets):
        share = jnp.asarray(hp["smoothing"], outputs.dtype)
        rows = (1 - share) * jax.nn.one_hot(targets, CLASSES, dtype=outputs.dtype) + share / CLASSES
        return multiclass.loss(outputs, rows)

    task = linen_task(model, jnp.zeros((1, 4)), dataclasses.replace(multiclass, loss=smoothed))
    return task, adamw(hp["learning_rate"], weight_decay=hp["weight_decay"])


def line_task() -> Task:
    """Linear regression from fixed starting values."""
    init = lambda key: {"w": jnp.zeros((2, 1)), "b": jnp.zeros(1)}
    apply = lambda params, x: x @ params["w"] + jnp.broadcast_to(params["b"], (x.shape[0], 1))
    return function_task(init, apply, problem("regression"))


def line(n: int = 12) -> Data:
    inputs = jax.random.normal(jax.random.key(5), (n, 2))
    return Data(inputs, inputs @ jnp.array([[2.0], [-1.0]]) + 0.5)


def counting_task(n: int) -> Task:
    """Its state counts how often each row came, and keeps three draws; inputs are row numbers."""

    def init(key):
        return {"w": jnp.zeros(())}, {"seen": jnp.zeros(n), "draws": jnp.zeros(3, jnp.uint32)}

    def loss(params, model_state, batch, *, key, train):
        weights = jnp.ones(batch.inputs.shape[0]) if batch.weights is None else batch.weights
        seen = model_state["seen"].at[batch.inputs].add(weights)
        draws = jnp.roll(model_state["draws"], 1).at[0].set(jax.random.bits(key, dtype=jnp.uint32))
        return params["w"] * weights, ({"seen": seen, "draws": draws}, {})

    return Task(init, loss, lambda params, model_state, inputs: inputs)


def planted_task(curve) -> Task:
    """Its validation loss after k steps is ``curve[k]``; the parameter counts steps."""

    def init(key):
        return {"steps": jnp.zeros(())}, {}

    def loss(params, model_state, batch, *, key, train):
        size = batch.inputs.shape[0]
        values = jnp.asarray(curve)[params["steps"].astype(jnp.int32)]
        counted = jnp.full(size, -1.0) * params["steps"]  # its gradient is -1: sgd(1) counts
        return (counted if train else jnp.full(size, values)), (model_state, {})

    return Task(init, loss, lambda params, model_state, inputs: inputs)


def keeping(options):
    """Options of `fit`, with ``resume``, ``accept`` and ``config`` moved into the checkpoints'."""
    own = {name: options[name] for name in ("resume", "accept", "config") if name in options}
    others = {name: value for name, value in options.items() if name not in own}
    kept = others.get("checkpoint")
    if own and kept is not None:
        kept = kept if isinstance(kept, Checkpointing) else Checkpointing(kept)
        others["checkpoint"] = kept._replace(**own)
    return others
