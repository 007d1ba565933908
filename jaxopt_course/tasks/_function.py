"""The adapter for models that are plain functions."""

from collections.abc import Callable
from typing import Any

from jaxtyping import PyTree

from jaxopt_course.core import Params
from jaxopt_course.problems import Problem

from ._task import Batch, Task, check_problem, score


def function_task(init: Callable[..., Params], apply: Callable[..., Any], problem: Problem) -> Task:
    """The task of a model ``apply(params, inputs)`` without state and without randomness.

    Args:
        init: ``init(key) -> params``, a pytree of float arrays.
        apply: ``apply(params, inputs) -> outputs``, of a whole batch, before the activation.
        problem: where loss, metrics and activation come from.

    Returns:
        A task whose model state is empty.

    Raises:
        TypeError: if ``problem`` is no problem.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> from jaxopt_course.problems import problem
        >>> init = lambda key: {"slope": jnp.ones((1, 1))}
        >>> apply = lambda params, inputs: inputs @ params["slope"]
        >>> task = function_task(init, apply, problem("regression"))
        >>> batch = Batch(jnp.array([[1.0], [2.0]]), jnp.array([[1.0], [4.0]]))
        >>> params, model_state = task.init(jax.random.key(0))
        >>> losses, _ = task.loss(params, model_state, batch, key=None, train=False)
        >>> [float(loss) for loss in losses]
        [0.0, 4.0]
    """
    check_problem("function_task", problem)

    def task_init(key: Any) -> tuple[Params, PyTree]:
        return init(key), {}

    def loss(params: Params, model_state: PyTree, batch: Batch, *, key: Any, train: bool) -> Any:
        del key, train
        losses, metrics = score(problem, apply(params, batch.inputs), batch.targets)
        return losses, (model_state, metrics)

    def predict(params: Params, model_state: PyTree, inputs: PyTree) -> Any:
        del model_state
        return problem.activation(apply(params, inputs))

    return Task(task_init, loss, predict, problem=problem)
