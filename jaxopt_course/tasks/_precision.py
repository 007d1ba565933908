"""Mixed precision: a model computes in a narrow dtype, its parameters stay wide.

    loss(params, model_state, inputs) = task.loss(narrow(params), model_state, narrow(inputs))

where ``narrow`` rounds floating arrays to the compute dtype. The derivative of a rounding is a
cast back, so gradients arrive in the dtypes of the parameters, and the small steps of an optimizer
add up there, which a parameter of 8 or 11 significant bits would swallow.

Reference: Micikevicius et al., "Mixed Precision Training", 2018, section 3.1,
https://arxiv.org/abs/1710.03740.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import DTypeLike, PyTree

from jaxopt_course.core import Params

from ._task import Batch, Task, wide_floats


def mixed_precision(task: Task, compute_dtype: DTypeLike = jnp.bfloat16) -> Task:
    """The task whose model computes in ``compute_dtype``.

    Parameters and floating inputs are rounded on the way into the model. Targets, row weights and
    the model state (batch statistics) are not. Losses, metrics, predictions and activations come
    out in float32 or wider. float16 has a narrow range besides: give the optimizer to
    :func:`~jaxopt_course.transforms.dynamic_loss_scale`.

    Args:
        task: any task. A layer that is told a dtype keeps computing in that one. A layer of others
            that promotes its input to its float32 statistics, as ``nnx.BatchNorm`` does, has to be
            told one, or whatever follows is wide.
        compute_dtype: a floating dtype, such as bfloat16 or float16.

    Returns:
        A task with the parameters and the model state of ``task``.

    Raises:
        TypeError: if ``compute_dtype`` is no floating dtype.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> from jaxopt_course.problems import problem
        >>> from jaxopt_course.tasks import function_task
        >>> init = lambda key: {"slope": jnp.array([[1.0]])}
        >>> apply = lambda params, inputs: inputs @ params["slope"]
        >>> task = mixed_precision(function_task(init, apply, problem("regression")))
        >>> task.predict(task.init(jax.random.key(0))[0], {}, jnp.array([[1.001]])).tolist()
        [[1.0]]
    """
    dtype = jnp.dtype(compute_dtype)
    if not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(
            f"mixed_precision: `compute_dtype` must be a floating dtype, got {dtype.name}."
        )

    def narrow(tree: PyTree) -> PyTree:
        is_float = lambda x: jnp.issubdtype(jnp.result_type(x), jnp.floating)
        return jax.tree.map(lambda x: jnp.asarray(x, dtype) if is_float(x) else x, tree)

    def loss(params: Params, model_state: PyTree, batch: Batch, *, key: Any, train: bool) -> Any:
        batch = batch._replace(inputs=narrow(batch.inputs))
        losses, (new_state, metrics) = task.loss(
            narrow(params), model_state, batch, key=key, train=train
        )
        return wide_floats(losses), (new_state, wide_floats(metrics))

    def predict(params: Params, model_state: PyTree, inputs: PyTree) -> Any:
        return wide_floats(task.predict(narrow(params), model_state, narrow(inputs)))

    activations = None
    if (inner := task.activations) is not None:
        activations = lambda params, model_state, inputs: wide_floats(
            inner(narrow(params), model_state, narrow(inputs))
        )
    return task._replace(loss=loss, predict=predict, activations=activations)
