"""The losses of a batch as a task gives them, with their shapes checked while they are traced.

A loss or a metric that is not one number for each example would still have a mean, and a training
on it would minimize another function in silence.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from jaxopt_course.core import Params, checks

from ._task import Batch, Task


KINDS = (jnp.bool_, jnp.integer, jnp.floating, jnp.complexfloating, jax.dtypes.prng_key)


def losses_of(
    task: Task, params: Params, model_state: PyTree, batch: Batch, *, key: Any, train: bool
) -> tuple[Float[Array, "batch"], tuple[PyTree, dict[str, Float[Array, "batch"]]]]:
    """``task.loss`` of these arguments, refused unless it returns one number for each example.

    Everything in this library that needs the losses of a task calls this function. The checks
    look at shapes and dtypes alone, so they cost nothing in a compiled program.

    Args:
        task: what is trained or evaluated.
        params: its parameters.
        model_state: its state.
        batch: the examples.
        key: for dropout and its like; None where ``train`` is False.
        train: whether this is a step of training.

    Returns:
        ``(losses [batch], (model_state, metrics {name: [batch]}))``.

    Raises:
        TypeError: if ``task.loss`` returns something else, or losses that are not floats.
        ValueError: if the losses or a metric do not have the shape [batch], or if in training the
            model state has another structure, other shapes or other kinds of dtypes than before.

    Examples:
        >>> loss = lambda params, state, batch, *, key, train: (jnp.mean(batch.inputs), (state, {}))
        >>> task = Task(lambda key: ({}, {}), loss, lambda params, state, inputs: inputs)
        >>> losses_of(task, {}, {}, Batch(jnp.ones(3), jnp.ones(3)), key=None, train=False)
        Traceback (most recent call last):
        ValueError: Task: the loss must have the shape [batch], here (3,), got the shape ().
    """
    found = task.loss(params, model_state, batch, key=key, train=train)
    losses, (new_state, metrics) = _taken_apart(found)
    n = jnp.shape(jax.tree.leaves(batch.inputs)[0])[0]
    for name, values in [("loss", losses), *((f"metric {m!r}", v) for m, v in metrics.items())]:
        if jnp.shape(values) != (n,):
            raise ValueError(
                f"Task: the {name} must have the shape [batch], here ({n},), "
                f"got the shape {jnp.shape(values)}."
            )
    if not jnp.issubdtype(losses.dtype, jnp.floating):
        raise TypeError(f"Task: the loss must hold floats, got {losses.dtype}.")
    if train:
        _check_model_state(new_state, model_state)
    return losses, (new_state, metrics)


def _taken_apart(found: Any) -> Any:
    """What a loss returns, refused unless it is ``(losses, (model_state, metrics))``."""
    is_pair = lambda x: isinstance(x, tuple | list) and len(x) == 2
    if not (is_pair(found) and is_pair(found[1]) and isinstance(found[1][1], Mapping)):
        raise TypeError(
            "Task: `loss` must return (losses, (model_state, metrics)), metrics being a mapping, "
            f"got {jax.tree.structure(found)}."
        )
    losses, (model_state, metrics) = found
    return jnp.asarray(losses), (model_state, metrics)


def _check_model_state(new: PyTree, old: PyTree) -> None:
    """Raise unless ``new`` can take the place of ``old``; floats of another width can."""
    checks.like("Task", "`model_state` that `loss` returns", new, old, than="model state given")
    for (path, x), y in zip(jax.tree.leaves_with_path(new), jax.tree.leaves(old), strict=True):
        given, returned = jnp.result_type(y), jnp.result_type(x)
        kind = next(kind for kind in KINDS if jnp.issubdtype(given, kind))
        if not jnp.issubdtype(returned, kind):
            raise ValueError(
                f"Task: the model state at {jax.tree_util.keystr(path)} must keep its dtype "
                f"{given}, got {returned}."
            )
