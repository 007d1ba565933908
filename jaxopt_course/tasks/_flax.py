"""The adapters for Flax models: Linen modules, and NNX models, which are split once."""

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import nnx, traverse_util
from jaxtyping import Array, PyTree

from jaxopt_course.core import Params, checks
from jaxopt_course.nnx import Hyperparameter
from jaxopt_course.problems import Problem

from ._task import (
    Batch,
    Task,
    activation_of,
    arguments_taken,
    refuse_padding,
    rows_that_count,
    scorer,
)


# What other libraries call the argument that distinguishes training.
OTHER_MODES = ("deterministic", "training", "is_training")
# Modules of Flax that compare a number with 0, which a traced one cannot be, and what takes it.
FIXED_NUMBERS: dict[Any, tuple[str, str]] = {
    nn.Dropout: ("rate", "jaxopt_course.nn.Dropout"),
    nn.MultiHeadDotProductAttention: ("dropout_rate", "jaxopt_course.nn.Dropout after it"),
    nnx.Dropout: ("rate", "jaxopt_course.nnx.Dropout"),
}


def linen_task(
    module: nn.Module,
    example_inputs: PyTree,
    problem: Problem | None = None,
    *,
    loss: Callable[..., Any] | None = None,
    rngs: Sequence[str] = ("dropout",),
) -> Task:
    """The task of a Linen module.

    The module is called with the inputs and, if its ``__call__`` names them, ``train`` and
    ``mask``: bool[batch], False for padding rows, or None if there are none. (``BatchNorm`` of this
    library takes this mask; that of Flax needs it in the shape of its input.) All collections
    except ``"params"`` are the model state.

    Args:
        module: the model. Its numbers may be traced, except the rate of Flax's ``Dropout``.
        example_inputs: an array, or a pytree, of which only shapes and dtypes matter, such as one
            row of the inputs.
        problem: the problem that defines loss, metrics and activation. Give exactly one of
            `problem` and `loss`.
        loss: ``loss(outputs, batch) -> losses f[batch]`` or ``(losses, {name: f[batch]})`` with
            metrics, for losses that are not in the table of problems. The outputs are in float32 or
            wider, the :class:`Batch` may have no targets, and the predictions are the outputs.
        rngs: names of the RNG streams of the module in training. In evaluation there are none, so a
            module draws its random numbers only if ``train`` is True.

    Returns:
        The task. In training its ``loss`` refuses batches with row weights if the module has batch
        statistics and no ``mask``. Its ``activations`` are the outputs of the submodules and the
        values that the module sows. The models of this library sow ``"hidden"``, the output of each
        hidden layer, and for sigmoid and tanh ``"slope"``, the slope of the activation relative to
        its largest slope.

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if the name of the argument that distinguishes training is not ``train``, or
            both or none of `problem` and `loss` are given.

    Examples:
        >>> from jaxopt_course.nn import MLP
        >>> from jaxopt_course.problems import problem
        >>> task = linen_task(MLP(3), jnp.zeros((1, 2)), problem("multiclass"))
        >>> distance = lambda outputs, batch: jnp.abs(outputs - batch.inputs).mean(-1)
        >>> autoencoder = linen_task(MLP(2), jnp.zeros((1, 2)), loss=distance)
    """
    _check_module(module)
    _check_rngs(rngs)
    score, activation = scorer("linen_task", problem, loss), activation_of(problem)

    def apply(params: Params, state: PyTree, inputs: Any, *, train=False, mask=None, **options):
        taken = arguments_taken(module.__call__, train=train, mask=mask)
        with nn.intercept_methods(_refuse_traced_numbers):
            return module.apply({"params": params, **state}, inputs, **taken, **options)

    def init(key):
        inputs = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), example_inputs)
        taken = arguments_taken(module.__call__, train=False)
        with nn.intercept_methods(_refuse_traced_numbers):
            variables = dict(module.init({"params": key}, inputs, **taken))
        return variables.pop("params", {}), variables

    def losses(params: Params, model_state: PyTree, batch: Batch, *, key: Any, train: bool) -> Any:
        if not train:
            outputs = apply(params, model_state, batch.inputs)
            return score(outputs, batch, model_state)
        if "batch_stats" in model_state and not arguments_taken(module.__call__, mask=None):
            refuse_padding("linen_task", type(module).__name__, batch)
        streams = {name: jax.random.fold_in(key, i) if i else key for i, name in enumerate(rngs)}
        options = {"mask": rows_that_count(batch), "rngs": streams}
        outputs, new_state = apply(
            params, model_state, batch.inputs, train=True, mutable=list(model_state), **options
        )
        return score(outputs, batch, {**model_state, **new_state})

    def predict(params: Params, model_state: PyTree, inputs: PyTree) -> Any:
        return activation(apply(params, model_state, inputs))

    def activations(params: Params, model_state: PyTree, inputs: PyTree) -> dict[str, Array]:
        options = {"capture_intermediates": True, "mutable": ["intermediates"]}
        _, captured = apply(params, model_state, inputs, **options)
        return _by_layer(captured["intermediates"])

    return Task(init, losses, predict, activations, problem)


def _by_layer(intermediates: PyTree) -> dict[str, Array]:
    """The outputs of the submodules by their paths, and the sown values numbered by path."""
    found = {}
    for path, values in traverse_util.flatten_dict(intermediates).items():
        if path[-1] == "__call__":
            found["/".join(path[:-1]) or "outputs"] = values[0]
        else:
            found |= {f"{'/'.join(path)}_{i}": value for i, value in enumerate(values)}
    return found


def _refuse_traced_numbers(call: Any, arguments: Any, keywords: Any, context: Any) -> Any:
    """Call a method of a Linen module, unless it would fail at a traced number."""
    _check_numbers("linen_task", context.module, context.module.path)
    return call(*arguments, **keywords)


def _check_numbers(owner: str, module: Any, path: Any) -> None:
    """Raise TypeError if a module of Flax holds a traced number that it cannot take."""
    name, instead = FIXED_NUMBERS.get(type(module), (None, None))
    if name is None:
        return
    value = getattr(module, name)
    if not checks.are_known(value):
        kind = f"{type(module).__module__.split('.')[1]}.{type(module).__name__}"
        raise TypeError(
            f"{owner}: `{name}` of the flax.{kind} at {'/'.join(map(str, path))!r} must be a "
            f"Python number, since Flax compares it with 0, got a traced one; use {instead}."
        )


def _check_module(module: Any) -> None:
    """Raise unless ``module`` is a Linen module that calls its training mode ``train``."""
    if not isinstance(module, nn.Module):
        hint = " Was it meant to be called?" if isinstance(module, type) else ""
        raise TypeError(f"linen_task: `module` must be a Linen module, got {module!r}.{hint}")
    other = next(iter(arguments_taken(module.__call__, **dict.fromkeys(OTHER_MODES))), None)
    if other and not arguments_taken(module.__call__, train=False):
        raise ValueError(
            f"linen_task: `__call__` of {type(module).__name__} must take `train`, a bool, "
            f"got the argument {other!r}."
        )


def _check_rngs(rngs: Any) -> None:
    """Raise TypeError unless ``rngs`` is a sequence of names."""
    if isinstance(rngs, str) or not all(isinstance(name, str) for name in rngs):
        raise TypeError(
            f"linen_task: `rngs` must be a tuple of names, such as ('dropout',), got {rngs!r}."
        )


def nnx_task(
    make_model: Callable[..., nnx.Module],
    problem: Problem | None = None,
    *,
    loss: Callable[..., Any] | None = None,
) -> Task:
    """The task of an NNX model.

    ``nnx.Param`` variables are the parameters. Random states are set from the key of each call, and
    all other variables (such as ``nnx.BatchStat``) are the model state. Parameters and model state
    are plain dicts. The methods ``train`` and ``eval`` of the model switch its mode. Its
    ``__call__`` takes the inputs and, if it names it, ``mask``: bool[batch], False for padding
    rows, or None if there are none.

    Args:
        make_model: the class of the model, called as ``make_model(rngs=rngs)``, or any pure
            function of ``rngs``. Numbers of the layers of :mod:`jaxopt_course.nnx` may be traced.
            Wrap others in :class:`~jaxopt_course.nnx.Hyperparameter` to keep them in a module.
        problem: as in :func:`linen_task`.
        loss: as in :func:`linen_task`. RNG streams are those that the model keeps.

    Returns:
        The task. In training its ``loss`` refuses batches with row weights if the model has batch
        statistics and no ``mask``.

    Raises:
        TypeError: if `make_model` is no function, or a module of Flax cannot take a traced number.

    Examples:
        >>> from jaxopt_course.problems import problem
        >>> task = nnx_task(lambda rngs: nnx.Linear(2, 1, rngs=rngs), problem("regression"))
    """
    score, activation = scorer("nnx_task", problem, loss), activation_of(problem)
    if isinstance(make_model, nnx.Module):
        raise TypeError(
            "nnx_task: `make_model` must be a function of rngs that makes the model, got the "
            f"model itself, a {type(make_model).__name__}."
        )
    make = _called_by_name(make_model)
    abstract = _abstract(make)
    merged = _merging(make, abstract)
    has_statistics = bool(jax.tree.leaves(nnx.state(abstract, nnx.BatchStat)))

    def init(key):
        _, params, _, _, rest = _split(make(nnx.Rngs(key)))
        return nnx.to_pure_dict(params), nnx.to_pure_dict(rest)

    def evaluated(params: Params, model_state: PyTree, inputs: PyTree) -> Any:
        model = merged(params, model_state, jax.random.key(0))  # evaluation draws no numbers
        model.eval()
        return model(inputs, **arguments_taken(model.__call__, mask=None))

    def losses(params: Params, model_state: PyTree, batch: Batch, *, key: Any, train: bool) -> Any:
        if not train:
            outputs = evaluated(params, model_state, batch.inputs)
            return score(outputs, batch, model_state)
        model = merged(params, model_state, key)
        taken = arguments_taken(model.__call__, mask=rows_that_count(batch))
        if has_statistics and not taken:
            refuse_padding("nnx_task", type(model).__name__, batch)
        model.train()
        outputs = model(batch.inputs, **taken)
        return score(outputs, batch, nnx.to_pure_dict(_split(model)[-1]))

    def predict(params: Params, model_state: PyTree, inputs: PyTree) -> Any:
        return activation(evaluated(params, model_state, inputs))

    return Task(init, losses, predict, problem=problem)


def _abstract(make: Callable[[nnx.Rngs], nnx.Module]) -> nnx.Module:
    """The model without values.

    Raises:
        TypeError: if a module of Flax cannot take a traced number.
    """
    try:
        abstract = nnx.eval_shape(lambda: make(nnx.Rngs(0)))
    except jax.errors.TracerBoolConversionError as error:
        raise TypeError(
            "nnx_task: a module compares a traced number while it is made, as "
            "flax.nnx.MultiHeadAttention does with its `dropout_rate`. Make it with a Python "
            "number, such as 0, and put jaxopt_course.nnx.Dropout after it."
        ) from error
    for path, node in nnx.iter_graph(abstract):
        _check_numbers("nnx_task", node, path)
    return abstract


def _merging(
    make: Callable[[nnx.Rngs], nnx.Module], abstract: nnx.Module
) -> Callable[[Params, PyTree, Any], Any]:
    """The function ``merged(params, model_state, key) -> model``."""
    graph, abstract_params, abstract_random, abstract_numbers, abstract_rest = _split(abstract)
    has_numbers = bool(jax.tree.leaves(abstract_numbers))
    # In a compiled program the parameters that are drawn here, and not used, cost nothing.
    numbers = jax.jit(lambda: jax.tree.leaves(_split(make(nnx.Rngs(0)))[3]))

    def merged(params: Params, model_state: PyTree, key: Any) -> Any:
        variables = _filled(abstract_params, params), _filled(abstract_rest, model_state)
        current = _filled(abstract_numbers, numbers()) if has_numbers else abstract_numbers
        return nnx.merge(graph, variables[0], _seeded(abstract_random, key), current, variables[1])

    return merged


def _split(model: nnx.Module) -> Any:
    return nnx.split(model, nnx.Param, nnx.RngState, Hyperparameter, ...)


def _called_by_name(make_model: Callable[..., nnx.Module]) -> Callable[[nnx.Rngs], nnx.Module]:
    """``make_model`` as a function of one positional argument."""
    inner: Any = make_model.func if isinstance(make_model, functools.partial) else make_model
    signed = inner.__init__ if isinstance(inner, type) else inner  # type: ignore[misc]
    if "rngs" in inspect.signature(signed).parameters:
        return lambda rngs: make_model(rngs=rngs)
    return make_model


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
