"""The adapter for Flax Linen modules."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import traverse_util
from jaxtyping import Array, PyTree

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


OTHER_MODES = {"deterministic": None, "training": None, "is_training": None}  # as others call it


def linen_task(module: nn.Module, example_inputs: PyTree, problem: Problem) -> Task:
    """The task of a Linen module.

    The module's ``__call__`` takes the inputs and, where it names them, ``train`` and ``mask``:
    bool[batch], False for padding rows, None where there are none. (This library's ``BatchNorm``
    takes the mask as it is, Flax's in the shape of its input; Flax's ``Dropout`` takes no traced
    rate, this library's does.) In training the RNG stream ``"dropout"`` is there. All collections
    but ``"params"`` are the model state.

    Args:
        module: the model; any of its numbers may be traced.
        example_inputs: an array, or a pytree, of which only shapes and dtypes matter, first axis
            included: one row will do.
        problem: where loss, metrics and activation come from.

    Returns:
        The task. Its ``loss`` refuses batches with row weights in training where the module has
        batch statistics and no ``mask``; its ``activations`` are what each submodule returns, and
        what the module sows: the models of this library sow ``"hidden"``, each hidden layer,
        and ``"slope"``, what the slope of its activation is there over the largest that it has,
        where that activation is a sigmoid or a tanh.

    Raises:
        TypeError: if ``module`` is no module, or ``problem`` no problem.
        ValueError: if the module is told by another argument than ``train`` that it trains.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> from jaxopt_course.nn import MLP
        >>> from jaxopt_course.problems import problem
        >>> task = linen_task(MLP(3, (8,)), jnp.zeros((1, 2)), problem("multiclass"))
        >>> params, model_state = task.init(jax.random.key(0))
        >>> task.predict(params, model_state, jnp.zeros((5, 2))).shape
        (5, 3)
    """
    _check_module(module)
    check_problem("linen_task", problem)

    def apply(variables: Any, inputs: Any, *, train: bool, mask: Any = None, **options: Any) -> Any:
        taken = arguments_taken(module.__call__, train=train, mask=mask)
        return module.apply(variables, inputs, **taken, **options)

    def init(key):
        inputs = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), example_inputs)
        taken = arguments_taken(module.__call__, train=False)
        variables = dict(module.init({"params": key}, inputs, **taken))
        return variables.pop("params", {}), variables

    def loss(params: Params, model_state: PyTree, batch: Batch, *, key: Any, train: bool) -> Any:
        variables = {"params": params, **model_state}
        if train:
            if "batch_stats" in model_state and not arguments_taken(module.__call__, mask=None):
                refuse_padding("linen_task", type(module).__name__, batch)
            outputs, new_state = apply(
                variables,
                batch.inputs,
                train=True,
                mask=rows_that_count(batch),
                rngs={"dropout": key},
                mutable=list(model_state),
            )
            model_state = {**model_state, **new_state}
        else:
            outputs = apply(variables, batch.inputs, train=False)
        losses, metrics = score(problem, outputs, batch.targets)
        return losses, (model_state, metrics)

    def predict(params: Params, model_state: PyTree, inputs: PyTree) -> Any:
        return problem.activation(apply({"params": params, **model_state}, inputs, train=False))

    def activations(params: Params, model_state: PyTree, inputs: PyTree) -> dict[str, Array]:
        _, captured = apply(
            {"params": params, **model_state},
            inputs,
            train=False,
            capture_intermediates=True,
            mutable=["intermediates"],
        )
        found = {}
        for path, values in traverse_util.flatten_dict(captured["intermediates"]).items():
            if path[-1] == "__call__":
                found["/".join(path[:-1]) or "outputs"] = values[0]
            else:
                found |= {f"{'/'.join(path)}_{i}": value for i, value in enumerate(values)}
        return found

    return Task(init, loss, predict, activations, problem)


def _check_module(module: Any) -> None:
    """Raise unless the module can be trained; without ``train`` it would not know that it is."""
    if not isinstance(module, nn.Module):
        hint = " Was it meant to be called?" if isinstance(module, type) else ""
        raise TypeError(f"linen_task: `module` must be a Linen module, got {module!r}.{hint}")
    others = arguments_taken(module.__call__, **OTHER_MODES)
    if others and not arguments_taken(module.__call__, train=False):
        raise ValueError(
            f"linen_task: `__call__` of {type(module).__name__} must be told by `train` whether it "
            f"trains, got {next(iter(others))!r}."
        )
