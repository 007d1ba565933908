"""What the experiments share: many seeds in one program, rows by the key, costs to a target."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree, Real

from jaxopt_course.data import breast_cancer, diabetes, digits, fit_scaler, scale_features
from jaxopt_course.tasks import Batch, Task, losses_of
from jaxopt_course.training import Rows, make_population


def by_seed(
    train: Callable[..., Any],
    key: Any,
    seeds: int,
    hyperparameters: PyTree = None,
    *,
    strategy: Any = "map",
) -> Any:
    """What ``train(key, hyperparameters, rows)`` gives for each seed, in one program, as NumPy.

    Args:
        train: as :func:`~jaxopt_course.training.make_population` takes it.
        key: all configurations see the same keys, made of it.
        seeds: how many.
        hyperparameters: arrays with an axis of configurations in front. None: there is one.
        strategy: of the population.

    Returns:
        Arrays [configurations, seeds, ...], or [seeds, ...] without configurations.
    """
    axes = ["key"] if hyperparameters is None else ["hyperparameters", "key"]
    run = jax.jit(make_population(train, axes, strategy=strategy))
    return jax.tree.map(np.asarray, run(jax.random.split(key, seeds), hyperparameters))


def combinations(**values: Any) -> dict[str, Float[np.ndarray, "configurations"]]:
    """Each value of each name with each of the others, the last name fastest."""
    grid = np.meshgrid(*(np.asarray(x, np.float32) for x in values.values()), indexing="ij")
    return {name: table.ravel() for name, table in zip(values, grid, strict=True)}


def cross_entropy(
    probabilities: Float[np.ndarray, "*batch rows classes"], labels: Int[np.ndarray, "*batch rows"]
) -> Float[np.ndarray, "*batch"]:
    """The mean over rows of minus the logarithm of what the true class was given."""
    given = np.take_along_axis(probabilities, labels[..., None], -1)[..., 0]
    return -np.log(np.maximum(given, 1e-7)).mean(-1)


def drawn_rows(key: Any, n: int, train: int, validation: int) -> Rows:
    """Rows that train and others that validate, drawn from ``n``; to be traced."""
    order = jax.random.permutation(key, jnp.arange(n, dtype=jnp.int32))
    return Rows(order[:train], None, order[train : train + validation])


def validated(train: Callable[..., Any], n: int, training: int, validation: int) -> Any:
    """The validation losses of ``train`` on rows that its key draws, as a function.

    Args:
        train: of :func:`~jaxopt_course.training.make_train`.
        n: rows in all.
        training: how many train.
        validation: how many validate.

    Returns:
        ``losses(key, hyperparameters, rows)``: the validation losses f[evaluations].
    """

    def losses(key: Any, hyperparameters: Any, rows: Any) -> Any:
        drawn = drawn_rows(key, n, training, validation)
        return train(key, hyperparameters, drawn).history["validation_loss"]

    return losses


def mean_loss(
    task: Task,
    params: PyTree,
    model_state: PyTree,
    data: tuple[Any, Any],
    rows: Int[Array, "n"] | None = None,
) -> Float[Array, ""]:
    """The mean loss over some rows of the data, in evaluation; to be traced."""
    taken = lambda x: jnp.asarray(x) if rows is None else jnp.asarray(x)[rows]
    batch = Batch(*map(taken, data))
    losses, _ = losses_of(task, params, model_state, batch, key=None, train=False)
    return jnp.mean(losses)


def scaled_data(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Digits as they are; tumours with scaled features; diabetes with its targets scaled too.

    Scaled by the statistics of all rows: what is trained on and what is validated on are drawn
    again for each seed, and no experiment is about that leak.
    """
    if name == "digits":
        return digits().inputs, digits().targets
    data = {"breast_cancer": breast_cancer, "diabetes": diabetes}[name]()
    scaled = lambda x: np.asarray(scale_features(fit_scaler(x), x), np.float32)
    return scaled(data.inputs), scaled(data.targets) if name == "diabetes" else data.targets


def bytes_at_once(step: Callable[..., Any], state: Any, batch: Any) -> float:
    """The bytes that the compiled ``step(state, batch)`` needs at once, by XLA's analysis.

    Arguments, results and what is in between; the new state overwrites the old one.
    """
    memory: Any = jax.jit(step, donate_argnums=0).lower(state, batch).compile().memory_analysis()
    returned = memory.output_size_in_bytes - memory.alias_size_in_bytes
    return float(memory.argument_size_in_bytes + returned + memory.temp_size_in_bytes)


class Cost(NamedTuple):
    """What it took to reach a target.

    values: f[...]; of those that never reach it, the cost of the whole.
    capped: bool[...]: which never reach it, so that the value is only a lower bound.
    """

    values: Float[np.ndarray, "*batch"]
    capped: Bool[np.ndarray, "*batch"]


def first_at_most(
    values: Real[np.ndarray, "*batch evaluations"],
    target: float | Real[np.ndarray, "*batch"],
    costs: Real[np.ndarray, "..."],
) -> Cost:
    """The cost at which ``values`` first reach ``target``."""
    reached = values <= np.asarray(target)[..., None]
    at = np.where(reached.any(-1), reached.argmax(-1), reached.shape[-1] - 1)
    spent = np.broadcast_to(np.asarray(costs, float), reached.shape)
    return Cost(np.take_along_axis(spent, at[..., None], -1)[..., 0], np.asarray(~reached.any(-1)))
