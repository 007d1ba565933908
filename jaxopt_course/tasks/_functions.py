"""Adapters for models that are plain functions, or callable pytrees as Equinox writes them."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from jaxopt_course.core import Params
from jaxopt_course.problems import Problem

from ._task import Batch, Task, activation_of, arguments_taken, scorer


def function_task(
    init: Callable[..., Params],
    apply: Callable[..., Any],
    problem: Problem | None = None,
    *,
    loss: Callable[..., Any] | None = None,
) -> Task:
    """The task of a model ``apply(params, inputs)`` without state and without randomness.

    Args:
        init: ``init(key) -> params``, a pytree of float arrays.
        apply: ``apply(params, inputs) -> outputs`` for a batch, before the activation.
        problem: as in :func:`linen_task`.
        loss: as in :func:`linen_task`.

    Examples:
        >>> from jaxopt_course.problems import problem
        >>> init, apply = lambda key: {"w": jnp.ones(2)}, lambda params, x: x @ params["w"]
        >>> task = function_task(init, apply, problem("regression"))
    """
    score, activation = scorer("function_task", problem, loss), activation_of(problem)

    def task_init(key: Any) -> tuple[Params, PyTree]:
        return init(key), {}

    def losses(params: Params, model_state: PyTree, batch: Batch, *, key: Any, train: bool) -> Any:
        del key, train
        return score(apply(params, batch.inputs), batch, model_state)

    def predict(params: Params, model_state: PyTree, inputs: PyTree) -> Any:
        del model_state
        return activation(apply(params, inputs))

    return Task(task_init, losses, predict, problem=problem)


def pytree_task(
    make_model: Callable[..., Any],
    problem: Problem | None = None,
    *,
    loss: Callable[..., Any] | None = None,
) -> Task:
    """The task of a callable pytree, such as an Equinox model, that maps *one* example to outputs.

    The float arrays of the model are the parameters, as a list in the order of the leaves. Its
    other arrays are the model state, which does not change, and the rest is static. The model is
    called with one example and, if its ``__call__`` names them, ``train`` and ``key``, which is the
    key of this example in training and None in evaluation.

    Args:
        make_model: ``make_model(key) -> model``, pure. Traced numbers must not be fields of the
            model, where they would be parameters; use them in the functions that it calls.
        problem: as in :func:`linen_task`.
        loss: as in :func:`linen_task`.

    Examples:
        >>> from jaxopt_course.problems import problem
        >>> model = jax.tree_util.Partial(lambda w, x: w * x, jnp.array([2.0]))
        >>> task = pytree_task(lambda key: model, problem("regression"))
    """
    score, activation = scorer("pytree_task", problem, loss), activation_of(problem)
    static: dict[str, Any] = {}

    def arrays(key: Any) -> Any:
        leaves, static["structure"] = jax.tree.flatten(make_model(key))
        static["kinds"] = [_kind(leaf) for leaf in leaves]
        of_kind = lambda k: [
            x for x, kind in zip(leaves, static["kinds"], strict=True) if kind == k
        ]
        static["rest"] = of_kind("static")
        return of_kind("parameter"), of_kind("state")

    jax.eval_shape(arrays, jax.random.key(0))  # fills ``static`` without computing

    def rebuilt(params: Params, model_state: PyTree) -> Any:
        parts = {"parameter": params, "state": model_state, "static": static["rest"]}
        source = {kind: iter(part) for kind, part in parts.items()}
        leaves = [next(source[kind]) for kind in static["kinds"]]
        return jax.tree.unflatten(static["structure"], leaves)

    def outputs_of(params: Params, model_state: PyTree, inputs: PyTree, keys: Any) -> Any:
        model = rebuilt(params, model_state)

        def one(example: Any, key: Any) -> Any:
            taken = arguments_taken(model.__call__, train=keys is not None, key=key)
            return model(example, **taken)

        return jax.vmap(one)(inputs, keys)

    def losses(params: Params, model_state: PyTree, batch: Batch, *, key: Any, train: bool) -> Any:
        rows = jax.tree.leaves(batch.inputs)[0].shape[0]
        keys = jax.random.split(key, rows) if train else None
        outputs = outputs_of(params, model_state, batch.inputs, keys)
        return score(outputs, batch, model_state)

    def predict(params: Params, model_state: PyTree, inputs: PyTree) -> Any:
        return activation(outputs_of(params, model_state, inputs, None))

    return Task(arrays, losses, predict, problem=problem)


def _kind(leaf: Any) -> str:
    if not isinstance(leaf, jax.Array | np.ndarray):
        return "static"
    return "parameter" if jnp.issubdtype(leaf.dtype, jnp.inexact) else "state"
