"""All parameters as one vector: fewer and larger operations for an elementwise optimizer."""

import dataclasses
import functools
from collections.abc import Callable
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
    checks,
    on_auto_axes,
    states,
)


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["inner_state"], meta_fields=["absent"]
)
@dataclasses.dataclass(frozen=True)
class FlatState:
    """State of an optimizer that runs on one vector.

    inner_state: inner state, with a vector for each tree shaped like the params.
    absent: numbers of the leaves that other groups of a partition train, static.
    """

    inner_state: State
    absent: tuple[int, ...] = ()

    def evaluation_params(self, params: Params) -> Params:
        """The evaluation parameters of the inner state."""
        return self._point(states.evaluation_params, params)

    def lookahead_params(self, params: Params) -> Params:
        """The look-ahead point of the inner state."""
        return self._point(states.lookahead_params, params)

    def _point(self, point: Callable[[State, Params], Params], params: Params) -> Params:
        return states.in_own_layout(point, self.inner_state, params, _joined, _split, self.absent)


def flatten(inner: optax.GradientTransformation) -> GradientTransformationExtraArgs:
    """Run ``inner`` on all leaves joined to one vector, in the widest of their dtypes.

    This is faster for many small leaves and costs a copy of large ones. An optimizer that looks at
    leaves or axes, for instance by a norm per leaf, sees one leaf with one axis.

    Args:
        inner: the transformation, which should be elementwise.

    Examples:
        >>> import jax.numpy as jnp
        >>> tx = flatten(optax.trace(0.9))
        >>> tx.init({"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}).inner_state.trace.shape
        (9,)
    """
    inner = checks.transformation("flatten", "inner", inner)

    def init(params):
        vector = on_auto_axes(_joined, params)
        return FlatState(inner.init(vector), states.absent_leaves(params))

    def update(updates, state, params=None, **extra_args):
        checks.state("flatten", state, FlatState)
        if params is not None:
            checks.like("flatten", "gradient", updates, params)
            params = on_auto_axes(_joined, params)
        vector = on_auto_axes(_joined, updates)
        moves, inner_state = inner.update(vector, state.inner_state, params, **extra_args)
        moves = on_auto_axes(_split, moves, updates, like=updates)
        return moves, FlatState(inner_state, state.absent)

    return GradientTransformationExtraArgs(init, update)


def _joined(tree: PyTree) -> PyTree:
    leaves = [jnp.asarray(leaf) for leaf in jax.tree.leaves(tree)]
    if not leaves:  # a placeholder of optax, or an empty tree
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
