"""The interface between a model and its training: three pure functions, and the batch they take.

A training minimizes the weighted mean of the losses of a batch, sum_i w_i l_i / sum_i w_i.
"""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree

from jaxopt_course.core import numerics
from jaxopt_course.problems import Problem


class Batch(NamedTuple):
    """Some examples.

    inputs: an array, or a pytree of arrays, whose first axis counts examples.
    targets: likewise.
    weights: how much each example counts, f[batch]; 0 marks a row that only fills the shape.
        None says that every row counts once.
    """

    inputs: PyTree
    targets: PyTree
    weights: Float[Array, "batch"] | None = None


class Task(NamedTuple):
    """What is trained, as pure functions that know nothing of optimizers or loops.

    init: ``init(key) -> (params, model_state)``.
    loss: ``loss(params, model_state, batch, *, key, train) ->
        (losses f[batch], (model_state, metrics {name: f[batch]}))``. ``key`` is for dropout and
        its like; None where ``train`` is False.
    predict: ``predict(params, model_state, inputs) -> predictions``: probabilities, or numbers in
        the targets' unit, as the problem's activation gives them.
    activations: ``activations(params, model_state, inputs) -> {layer: array}``, or None.
    problem: where loss, metrics and predictions come from. Its allowed targets are what concrete
        targets are checked against; None: they are not checked.
    """

    init: Callable[..., Any]
    loss: Callable[..., Any]
    predict: Callable[..., Any]
    activations: Callable[..., Any] | None = None
    problem: Problem | None = None


def check_problem(owner: str, problem: Any) -> None:
    """Raise unless ``problem`` is one."""
    if not isinstance(problem, Problem):
        raise TypeError(
            f'{owner}: `problem` must be a Problem, such as problem("multiclass"), got {problem!r}.'
        )


def score(
    problem: Problem, outputs: Any, targets: Any
) -> tuple[Float[Array, "batch"], dict[str, Float[Array, "batch"]]]:
    """The losses and the metrics of each example, in float32 or wider."""
    # A model in half precision is right to round its outputs, but not the sums over classes and
    # the differences that come now; and a loss of one's own need not think of dtypes.
    outputs = wide_floats(outputs)
    metrics = {name: metric(outputs, targets) for name, metric in problem.metrics.items()}
    return problem.loss(outputs, targets), metrics


def wide_floats(tree: PyTree) -> PyTree:
    """``tree`` with its floating leaves in float32 or wider."""

    def wide(x: Any) -> Any:
        dtype = jnp.result_type(x)
        return (
            jnp.asarray(x, numerics.wide_dtype(dtype)) if jnp.issubdtype(dtype, jnp.floating) else x
        )

    return jax.tree.map(wide, tree)


def rows_that_count(batch: Batch) -> Bool[Array, "batch"] | None:
    """The mask that keeps padding out of batch statistics. None: all rows count."""
    return None if batch.weights is None else batch.weights > 0


def refuse_padding(owner: str, model: str, batch: Batch) -> None:
    """Raise if ``batch`` may hold padding, for a model that would take it into its statistics."""
    if batch.weights is not None:
        raise ValueError(
            f"{owner}: {model} keeps batch statistics but its `__call__` takes no `mask`, so rows "
            "of weight 0 would enter them. Give it a `mask` argument (bool[batch], or None) and "
            "hand that to its batch normalizations, or train without row weights and with a "
            "`batch_size` that divides the number of training rows."
        )


def arguments_taken(function: Callable[..., Any], **offered: Any) -> dict[str, Any]:
    """Those of the ``offered`` arguments that ``function`` names in its signature."""
    names = inspect.signature(function).parameters
    return {name: value for name, value in offered.items() if name in names}
