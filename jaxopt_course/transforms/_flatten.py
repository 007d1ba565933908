"""One long vector in place of a tree: fewer, larger operations for an elementwise optimizer."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, PyTree

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    Params,
    State,
    Updates,
    as_transformation,
    check_like,
    on_auto_axes,
)


__all__ = ["flatten"]


def flatten(inner: optax.GradientTransformation) -> GradientTransformationExtraArgs:
    """Run ``inner`` on all leaves joined to one vector, in the widest of their dtypes.

    It helps many small leaves and costs a copy of large ones. What looks at leaves or axes,
    such as a norm per leaf, sees one leaf with one axis.

    Args:
        inner: the transformation, best an elementwise one.

    Examples:
        >>> import jax.numpy as jnp
        >>> tx = flatten(optax.trace(0.9))
        >>> tx.init({"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}).trace.shape
        (9,)
    """
    inner = as_transformation("flatten", "inner", inner)

    def init(params: Params) -> State:
        return inner.init(on_auto_axes(_joined, params))

    def update(
        updates: Updates, state: State, params: Params | None = None, **extra_args: Any
    ) -> tuple[Updates, State]:
        if params is not None:
            check_like("flatten", "gradient", updates, params)
            params = on_auto_axes(_joined, params)
        vector = on_auto_axes(_joined, updates)
        new_updates, state = inner.update(vector, state, params, **extra_args)
        return on_auto_axes(_split, new_updates, updates, like=updates), state

    return GradientTransformationExtraArgs(init, update)


def _joined(tree: PyTree) -> PyTree:
    leaves = [jnp.asarray(leaf) for leaf in jax.tree.leaves(tree)]
    if not leaves:  # a placeholder of optax's, or an empty tree
        return tree
    dtype = functools.reduce(np.promote_types, (leaf.dtype for leaf in leaves))
    return jnp.concatenate([leaf.reshape(-1).astype(dtype) for leaf in leaves])


def _split(vector: PyTree, like: PyTree) -> PyTree:
    leaves, structure = jax.tree.flatten(like)
    if not leaves:
        return like
    ends = np.cumsum([np.size(leaf) for leaf in leaves])[:-1]
    parts = jnp.split(vector, ends)

    def shaped(part: Array, leaf: Any) -> Array:
        dtype = jnp.result_type(leaf)
        is_real = not jnp.issubdtype(dtype, jnp.complexfloating)
        return (part.real if is_real else part).astype(dtype).reshape(jnp.shape(leaf))

    return jax.tree.unflatten(structure, map(shaped, parts, leaves))
