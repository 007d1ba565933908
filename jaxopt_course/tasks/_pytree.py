"""The adapter for models that are callable pytrees, as Equinox writes them."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from jaxopt_course.core import Params
from jaxopt_course.problems import Problem

from ._task import Batch, Task, arguments_taken, check_problem, score


def pytree_task(make_model: Callable[..., Any], problem: Problem) -> Task:
    """The task of a callable pytree that maps *one* example to its outputs.

    Its float arrays are the parameters, its other arrays the model state, which stays as it is;
    all else is static. It is called with one example and, where its ``__call__`` names them,
    ``train`` and ``key``: a key of the example's own in training, None in evaluation.

    Args:
        make_model: ``make_model(key) -> model``, pure. A traced number belongs into the functions
            that the model calls, not among its fields: there it would count as a parameter.
        problem: where loss, metrics and activation come from.

    Returns:
        A task whose parameters are the list of the model's float arrays, in the order of its
        leaves.

    Raises:
        TypeError: if ``problem`` is no problem.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> from jaxopt_course.problems import problem
        >>> model = jax.tree_util.Partial(lambda w, x: w * x, jnp.array([2.0]))
        >>> task = pytree_task(lambda key: model, problem("regression"))
        >>> params, model_state = task.init(jax.random.key(0))
        >>> task.predict(params, model_state, jnp.array([[1.0], [3.0]])).tolist()
        [[2.0], [6.0]]
    """
    check_problem("pytree_task", problem)
    static: dict[str, Any] = {}

    def arrays(key: Any) -> Any:
        leaves, structure = jax.tree.flatten(make_model(key))
        kinds = [_kind(leaf) for leaf in leaves]
        static["structure"], static["kinds"] = structure, kinds
        static["rest"] = [x for x, kind in zip(leaves, kinds, strict=True) if kind == "static"]
        params = [x for x, kind in zip(leaves, kinds, strict=True) if kind == "parameter"]
        return params, [x for x, kind in zip(leaves, kinds, strict=True) if kind == "state"]

    jax.eval_shape(arrays, jax.random.key(0))  # fills ``static``, and computes nothing

    def rebuilt(params: Params, model_state: PyTree) -> Any:
        source = {
            "parameter": iter(params),
            "state": iter(model_state),
            "static": iter(static["rest"]),
        }
        return jax.tree.unflatten(
            static["structure"], [next(source[kind]) for kind in static["kinds"]]
        )

    def outputs_of(params: Params, model_state: PyTree, inputs: PyTree, keys: Any) -> Any:
        model = rebuilt(params, model_state)

        def one(example: Any, key: Any) -> Any:
            taken = arguments_taken(model.__call__, train=keys is not None, key=key)
            return model(example, **taken)

        return jax.vmap(one)(inputs, keys)

    def loss(params: Params, model_state: PyTree, batch: Batch, *, key: Any, train: bool) -> Any:
        rows = jax.tree.leaves(batch.inputs)[0].shape[0]
        keys = jax.random.split(key, rows) if train else None
        outputs = outputs_of(params, model_state, batch.inputs, keys)
        losses, metrics = score(problem, outputs, batch.targets)
        return losses, (model_state, metrics)

    def predict(params: Params, model_state: PyTree, inputs: PyTree) -> Any:
        return problem.activation(outputs_of(params, model_state, inputs, None))

    return Task(arrays, loss, predict, problem=problem)


def _kind(leaf: Any) -> str:
    if not isinstance(leaf, jax.Array | np.ndarray):
        return "static"
    return "parameter" if jnp.issubdtype(leaf.dtype, jnp.inexact) else "state"
