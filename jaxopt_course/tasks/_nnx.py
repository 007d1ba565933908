"""The adapter for Flax NNX models, which are split once and merged in each call."""

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

    ``nnx.Param`` variables are the parameters. Random states are set from the key of each call, and
    all other variables (such as ``nnx.BatchStat``) are the model state. Parameters and model state
    are plain dicts. The methods ``train`` and ``eval`` of the model switch its mode. Its
    ``__call__`` takes the inputs and, if it names it, ``mask``: bool[batch], False for padding
    rows, or None if there are none.

    Args:
        make_model: ``make_model(rngs) -> model``, pure. Its numbers may be traced.
        problem: the problem that defines loss, metrics and activation.

    Returns:
        The task. In training its ``loss`` refuses batches with row weights if the model has batch
        statistics and no ``mask``.

    Examples:
        >>> from jaxopt_course.problems import problem
        >>> task = nnx_task(lambda rngs: nnx.Linear(2, 1, rngs=rngs), problem("regression"))
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
        variables = _filled(abstract_params, params), _filled(abstract_rest, model_state)
        return nnx.merge(graph, variables[0], _seeded(abstract_random, key), variables[1])

    def evaluated(params: Params, model_state: PyTree, inputs: PyTree) -> Any:
        model = merged(params, model_state, jax.random.key(0))  # evaluation draws no numbers
        model.eval()
        return model(inputs, **arguments_taken(model.__call__, mask=None))

    def loss(params: Params, model_state: PyTree, batch: Batch, *, key: Any, train: bool) -> Any:
        if not train:
            outputs = evaluated(params, model_state, batch.inputs)
            return score(problem, outputs, batch.targets, model_state)
        model = merged(params, model_state, key)
        taken = arguments_taken(model.__call__, mask=rows_that_count(batch))
        if has_statistics and not taken:
            refuse_padding("nnx_task", type(model).__name__, batch)
        model.train()
        outputs = model(batch.inputs, **taken)
        return score(problem, outputs, batch.targets, nnx.to_pure_dict(_split(model)[-1]))

    def predict(params: Params, model_state: PyTree, inputs: PyTree) -> Any:
        return problem.activation(evaluated(params, model_state, inputs))

    return Task(init, loss, predict, problem=problem)


def _split(model: nnx.Module) -> Any:
    return nnx.split(model, nnx.Param, nnx.RngState, ...)


def _filled(abstract: Any, values: PyTree) -> Any:
    """A state with the structure of ``abstract`` and the arrays of the plain dict ``values``."""
    return jax.tree.unflatten(jax.tree.structure(abstract), jax.tree.leaves(values))


def _seeded(abstract: Any, key: Any) -> Any:
    """The random states derived from ``key``: one key for each stream, and counts of 0."""
    leaves, structure = jax.tree.flatten(abstract)

    def fresh(number: int, leaf: Any) -> Any:
        if not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jnp.zeros(leaf.shape, leaf.dtype)
        stream = jax.random.fold_in(key, number)
        return jax.random.split(stream, leaf.shape) if leaf.shape else stream

    return jax.tree.unflatten(structure, [fresh(i, leaf) for i, leaf in enumerate(leaves)])
