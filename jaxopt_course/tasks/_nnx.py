"""The adapter for Flax NNX models: the object is taken apart, and put together in each call."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import PyTree

from jaxopt_course.core import Params
from jaxopt_course.problems import Problem

from ._task import (
    Batch,
    Task,
    arguments_taken,
    check_problem,
    refuse_padding,
    rows_that_count,
    score,
)


def nnx_task(make_model: Callable[..., nnx.Module], problem: Problem) -> Task:
    """The task of an NNX model.

    ``nnx.Param`` variables are the parameters; random states are set anew in each call, from its
    key; all other variables (``nnx.BatchStat``) are the model state. Both are plain dicts. The
    model is switched by its own methods ``train`` and ``eval``. Its ``__call__`` takes the inputs
    and, where it names it, ``mask``: bool[batch], False for padding rows; None where there are
    none.

    Args:
        make_model: ``make_model(rngs) -> model``, pure; any number in it may be traced.
        problem: where loss, metrics and activation come from.

    Returns:
        The task. Its ``loss`` refuses batches with row weights in training where the model has
        batch statistics and no ``mask``.

    Raises:
        TypeError: if ``make_model`` is a model, or ``problem`` no problem.

    Examples:
        >>> import jax
        >>> from flax import nnx
        >>> from jaxopt_course.problems import problem
        >>> task = nnx_task(lambda rngs: nnx.Linear(2, 1, rngs=rngs), problem("regression"))
        >>> params, model_state = task.init(jax.random.key(0))
        >>> sorted(params)
        ['bias', 'kernel']
    """
    check_problem("nnx_task", problem)
    if isinstance(make_model, nnx.Module):
        raise TypeError(
            "nnx_task: `make_model` must be a function of rngs that makes the model, got the "
            f"model itself, a {type(make_model).__name__}."
        )
    abstract = nnx.eval_shape(lambda: make_model(nnx.Rngs(0)))
    graph, abstract_params, abstract_random, abstract_rest = _split(abstract)
    has_statistics = bool(jax.tree.leaves(nnx.state(abstract, nnx.BatchStat)))

    def init(key):
        _, params, _, rest = _split(make_model(nnx.Rngs(key)))
        return nnx.to_pure_dict(params), nnx.to_pure_dict(rest)

    def merged(params: Params, model_state: PyTree, key: Any) -> Any:
        return nnx.merge(
            graph,
            _filled(abstract_params, params),
            _seeded(abstract_random, key),
            _filled(abstract_rest, model_state),
        )

    def outputs_in_evaluation(params: Params, model_state: PyTree, inputs: PyTree) -> Any:
        model = merged(params, model_state, jax.random.key(0))  # evaluation draws nothing
        model.eval()
        return model(inputs, **arguments_taken(model.__call__, mask=None))

    def loss(params: Params, model_state: PyTree, batch: Batch, *, key: Any, train: bool) -> Any:
        if train:
            model = merged(params, model_state, key)
            taken = arguments_taken(model.__call__, mask=rows_that_count(batch))
            if has_statistics and not taken:
                refuse_padding("nnx_task", type(model).__name__, batch)
            model.train()
            outputs = model(batch.inputs, **taken)
            model_state = nnx.to_pure_dict(_split(model)[-1])
        else:
            outputs = outputs_in_evaluation(params, model_state, batch.inputs)
        losses, metrics = score(problem, outputs, batch.targets)
        return losses, (model_state, metrics)

    def predict(params: Params, model_state: PyTree, inputs: PyTree) -> Any:
        return problem.activation(outputs_in_evaluation(params, model_state, inputs))

    return Task(init, loss, predict, problem=problem)


def _split(model: nnx.Module) -> Any:
    return nnx.split(model, nnx.Param, nnx.RngState, ...)


def _filled(abstract: Any, values: PyTree) -> Any:
    """The state of the form of ``abstract`` that holds the arrays of the plain dict ``values``."""
    return jax.tree.unflatten(jax.tree.structure(abstract), jax.tree.leaves(values))


def _seeded(abstract: Any, key: Any) -> Any:
    """The random states that ``key`` stands for: each stream its own key, counts at 0."""
    leaves, structure = jax.tree.flatten(abstract)

    def fresh(number: int, leaf: Any) -> Any:
        if not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jnp.zeros(leaf.shape, leaf.dtype)
        stream = jax.random.fold_in(key, number)
        return jax.random.split(stream, leaf.shape) if leaf.shape else stream

    return jax.tree.unflatten(structure, [fresh(i, leaf) for i, leaf in enumerate(leaves)])
