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


OTHER_MODES = {
    "deterministic": None,
    "training": None,
    "is_training": None,
}  # the names of other libraries


def linen_task(module: nn.Module, example_inputs: PyTree, problem: Problem) -> Task:
    """The task of a Linen module.

    The module is called with the inputs and, if its ``__call__`` names them, ``train`` and
    ``mask``: bool[batch], False for padding rows, or None if there are none. (``BatchNorm`` of this
    library takes this mask; that of Flax needs it in the shape of its input.) In training there is
    an RNG stream ``"dropout"``. All collections except ``"params"`` are the model state.

    Args:
        module: the model. Its numbers may be traced, except the rate of Flax's ``Dropout``.
        example_inputs: an array, or a pytree, of which only shapes and dtypes matter, such as one
            row of the inputs.
        problem: the problem that defines loss, metrics and activation.

    Returns:
        The task. In training its ``loss`` refuses batches with row weights if the module has batch
        statistics and no ``mask``. Its ``activations`` are the outputs of the submodules and the
        values that the module sows. The models of this library sow ``"hidden"``, the output of each
        hidden layer, and for sigmoid and tanh ``"slope"``, the slope of the activation relative to
        its largest slope.

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if the name of the argument that distinguishes training is not ``train``.

    Examples:
        >>> from jaxopt_course.nn import MLP
        >>> from jaxopt_course.problems import problem
        >>> task = linen_task(MLP(3), jnp.zeros((1, 2)), problem("multiclass"))
    """
    _check_module(module)
    check_problem("linen_task", problem)

    def apply(params: Params, state: PyTree, inputs: Any, *, train=False, mask=None, **options):
        taken = arguments_taken(module.__call__, train=train, mask=mask)
        return module.apply({"params": params, **state}, inputs, **taken, **options)

    def init(key):
        inputs = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), example_inputs)
        taken = arguments_taken(module.__call__, train=False)
        variables = dict(module.init({"params": key}, inputs, **taken))
        return variables.pop("params", {}), variables

    def loss(params: Params, model_state: PyTree, batch: Batch, *, key: Any, train: bool) -> Any:
        if not train:
            outputs = apply(params, model_state, batch.inputs)
            return score(problem, outputs, batch.targets, model_state)
        if "batch_stats" in model_state and not arguments_taken(module.__call__, mask=None):
            refuse_padding("linen_task", type(module).__name__, batch)
        options = {"mask": rows_that_count(batch), "rngs": {"dropout": key}}
        outputs, new_state = apply(
            params, model_state, batch.inputs, train=True, mutable=list(model_state), **options
        )
        return score(problem, outputs, batch.targets, {**model_state, **new_state})

    def predict(params: Params, model_state: PyTree, inputs: PyTree) -> Any:
        return problem.activation(apply(params, model_state, inputs))

    def activations(params: Params, model_state: PyTree, inputs: PyTree) -> dict[str, Array]:
        options = {"capture_intermediates": True, "mutable": ["intermediates"]}
        _, captured = apply(params, model_state, inputs, **options)
        found = {}
        for path, values in traverse_util.flatten_dict(captured["intermediates"]).items():
            if path[-1] == "__call__":
                found["/".join(path[:-1]) or "outputs"] = values[0]
            else:
                found |= {f"{'/'.join(path)}_{i}": value for i, value in enumerate(values)}
        return found

    return Task(init, loss, predict, activations, problem)


def _check_module(module: Any) -> None:
    """Raise unless ``module`` is a Linen module that does not name its mode otherwise."""
    if not isinstance(module, nn.Module):
        hint = " Was it meant to be called?" if isinstance(module, type) else ""
        raise TypeError(f"linen_task: `module` must be a Linen module, got {module!r}.{hint}")
    other = next(iter(arguments_taken(module.__call__, **OTHER_MODES)), None)
    if other and not arguments_taken(module.__call__, train=False):
        raise ValueError(
            f"linen_task: `__call__` of {type(module).__name__} must take `train`, a bool, "
            f"got the argument {other!r}."
        )
