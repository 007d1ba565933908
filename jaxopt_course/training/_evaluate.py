"""Losses, metrics and predictions of a model, computed in batches."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from jaxopt_course.core import (
    Params,
    canonical_convolutions,
    checks,
    compiled_for,
    numerics,
    on_auto_axes,
)
from jaxopt_course.tasks import Batch, Task, targets_check

from ._data import as_arrays, as_examples, count_rows, take_rows
from ._state import Rows
from ._step import RESERVED, batch_means, batch_weight, check_names


# Without a gradient, four batches take no more memory than one with a gradient.
BATCHES_AT_ONCE = 4


def evaluate(
    task: Task,
    params: Params,
    model_state: PyTree,
    inputs: PyTree,
    targets: PyTree = None,
    batch_size: int = 512,
) -> dict[str, float]:
    """The mean loss and the mean metrics over some examples.

    Args:
        task: the task.
        params: the parameters.
        model_state: the model state.
        inputs: an array, or a pytree of arrays, with one row per example.
        targets: likewise, or None for a loss that needs no targets.
        batch_size: number of examples that are computed at once, in [1, inf). It changes the result
            by rounding only.

    Returns:
        ``"loss"`` and the metrics of the task, also those of
        :func:`~jaxopt_course.tasks.with_metrics`. One program is compiled per task and shape.

    Raises:
        ValueError: if there is no example, the numbers of inputs and targets differ, or the task's
            problem does not allow a target.

    Examples:
        >>> from jaxopt_course.problems import problem
        >>> from jaxopt_course.tasks import function_task
        >>> apply = lambda params, x: x @ params["w"]
        >>> task = function_task(lambda key: {"w": jnp.zeros((1, 1))}, apply, problem("regression"))
        >>> x = jnp.array([[1.0], [2.0]])
        >>> evaluate(task, {"w": jnp.ones((1, 1))}, {}, x, 2 * x)
        {'loss': 2.5, 'mean_absolute_error': 1.5}
    """
    checks.integer("evaluate", "batch_size", batch_size, "[1, inf)")
    examples = as_examples("evaluate", (inputs, targets))
    targets_check(task, examples[0], (params, model_state))("evaluate", examples[1])
    of_all = lambda *arrays: _evaluate(*arrays, task=task, batch_size=batch_size)
    means = on_auto_axes(of_all, params, model_state, examples)
    return {name: float(value) for name, value in means.items()}


def predict(
    task: Task, params: Params, model_state: PyTree, inputs: PyTree, batch_size: int = 512
) -> Any:
    """The predictions of a task for some examples, one row each.

    The arguments are those of :func:`evaluate`.

    Raises:
        ValueError: if there is no example.

    Examples:
        >>> from jaxopt_course.problems import problem
        >>> from jaxopt_course.tasks import function_task
        >>> task = function_task(lambda key: {}, lambda params, x: 2 * x, problem("regression"))
        >>> predict(task, {}, {}, jnp.array([[1.0], [2.0]])).tolist()
        [[2.0], [4.0]]
    """
    checks.integer("predict", "batch_size", batch_size, "[1, inf)")
    inputs = as_arrays("predict", "inputs", inputs)
    count_rows("predict", inputs)
    of_all = lambda *arrays: _predict(*arrays, task=task, batch_size=batch_size)
    return on_auto_axes(of_all, params, model_state, inputs)


def mean_over_rows(
    task: Task,
    params: Params,
    model_state: PyTree,
    examples: tuple[PyTree, PyTree],
    indices: Int[Array, "n"],
    counted: Float[Array, "n"] | None,
    batch_size: int,
) -> dict[str, Float[Array, ""]]:
    """The weighted means of loss and metrics over the rows ``indices``, and the whole metrics.

    ``counted`` are the weights of the rows, and the whole metrics are those of
    ``task.whole_metrics``.
    """
    table, weights = _padded(indices, counted, batch_size)

    def sums(batch_rows: tuple[Array, Array]) -> tuple[dict[str, Array], Any]:
        rows, weights = batch_rows
        inputs, targets = take_rows(examples, rows)
        return batch_sums(task, params, model_state, Batch(inputs, targets, weights))

    of_all = canonical_convolutions(lambda batches: jax.lax.map(sums, batches))
    totals, predictions = of_all((table, weights))
    whole = jnp.sum(weights)
    means = {
        name: numerics.safe_divide(jnp.sum(x), whole.astype(x.dtype)) for name, x in totals.items()
    }
    if task.whole_metrics is None:
        return means
    predictions = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), predictions)
    targets = take_rows(examples[1], table.reshape(-1))
    return means | numbers_of(task.whole_metrics(predictions, targets, weights.reshape(-1)), means)


def batch_sums(
    task: Task, params: Params, model_state: PyTree, batch: Batch
) -> tuple[dict[str, Float[Array, ""]], Any]:
    """Weighted sums of loss and metrics over a batch, and the predictions.

    The predictions are None if no metric of a whole data set needs them.
    """
    means, _ = batch_means(task, params, model_state, batch, key=None, train=False)
    weight = batch_weight(batch)
    sums = {name: mean * weight.astype(mean.dtype) for name, mean in means.items()}
    is_needed = task.whole_metrics is not None
    return sums, task.predict(params, model_state, batch.inputs) if is_needed else None


def validate(
    task: Task, params: Params, model_state: PyTree, examples: Any, rows: Rows, batch_size: int
) -> dict[str, Float[Array, ""]]:
    """The means of loss and metrics over ``rows.validation``."""
    chosen: Any = rows.validation
    # Two iterations at least: XLA inlines a loop of one iteration, and the surrounding program then
    # changes the last bits.
    at_once = min(BATCHES_AT_ONCE * batch_size, -(-chosen.shape[0] // 2))
    weights = rows.validation_weights
    return mean_over_rows(task, params, model_state, examples, chosen, weights, at_once)


def numbers_of(found: dict[str, Any], means: dict[str, Array]) -> dict[str, Array]:
    """The metrics of a whole data set, after a check of their names and shapes."""
    check_names(found, {*means, *RESERVED})
    for name, value in found.items():
        if jnp.shape(value) != ():
            raise ValueError(
                f"Task: the metric {name!r} of a whole data set must be one number, got the shape "
                f"{jnp.shape(value)}."
            )
    return {name: numerics.as_float(value) for name, value in found.items()}


@compiled_for("task", static_argnames="batch_size")
def _evaluate(
    params: Params, model_state: PyTree, examples: Any, *, task: Task, batch_size: int
) -> Any:
    everything = jnp.arange(count_rows("evaluate", examples), dtype=jnp.int32)
    return mean_over_rows(task, params, model_state, examples, everything, None, batch_size)


@compiled_for("task", static_argnames="batch_size")
def _predict(
    params: Params, model_state: PyTree, inputs: PyTree, *, task: Task, batch_size: int
) -> Any:
    n = count_rows("predict", inputs)
    table, _ = _padded(jnp.arange(n, dtype=jnp.int32), None, batch_size)
    of_some = lambda rows: task.predict(params, model_state, take_rows(inputs, rows))
    batches = canonical_convolutions(lambda table: jax.lax.map(of_some, table))(table)
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:n], batches)


def _padded(
    indices: Int[Array, "n"], counted: Float[Array, "n"] | None, batch_size: int
) -> tuple[Array, Array]:
    """Batches of ``indices`` as rows, and weights; the last one is padded with weight 0."""
    n = indices.shape[0]
    size = -(-n // -(-n // batch_size))  # batches of even size, so that few rows are repeated
    positions = jnp.arange(-(-n // size) * size).reshape(-1, size)
    chosen = jnp.minimum(positions, n - 1)
    there = (positions < n).astype(jnp.result_type(float))
    return indices[chosen], there if counted is None else there * counted[chosen].astype(
        there.dtype
    )
