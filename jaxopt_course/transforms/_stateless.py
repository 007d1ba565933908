"""Transformations without memory: a function of the updates, and perhaps of the params."""

from collections.abc import Callable

import jax
from jaxtyping import Array

from jaxopt_course.core import (
    EmptyState,
    GradientTransformationExtraArgs,
    Params,
    Updates,
    checks,
    tree,
)


def stateless(f: Callable[[Updates, Params | None], Updates]) -> GradientTransformationExtraArgs:
    """The transformation that applies ``f(updates, params)`` and remembers nothing.

    Args:
        f: a pure function; ``params`` is None where the caller of ``update`` gave none.

    Returns:
        A transformation with an empty state.

    Examples:
        >>> import jax.numpy as jnp
        >>> import jax
        >>> signs = stateless(lambda updates, params: jax.tree.map(jnp.sign, updates))
        >>> updates, _ = signs.update(jnp.array([-2.0, 3.0]), signs.init(jnp.zeros(2)))
        >>> updates.tolist()
        [-1.0, 1.0]
    """
    checks.function("stateless", "f", f)
    return _without_state(_owner(f), f)


def of_floats(f: Callable[[Updates, Params | None], Updates]) -> GradientTransformationExtraArgs:
    """:func:`stateless`, for an ``f`` whose results would be rounded to integers: refuse these."""
    owner = _owner(f)

    def checked(updates: Updates, params: Params | None) -> Updates:
        checks.floats(owner, "gradient", updates)
        return f(updates, params)

    return _without_state(owner, checked)


def _owner(f: Callable) -> str:
    """The name of the factory that defines ``f``."""
    return getattr(f, "__qualname__", "stateless").split(".")[0]


def _without_state(
    owner: str, f: Callable[[Updates, Params | None], Updates]
) -> GradientTransformationExtraArgs:
    def init(params):
        return EmptyState()

    def update(updates, state, params=None, **extra_args):
        checks.empty_state(owner, state)
        return f(updates, params), state

    return GradientTransformationExtraArgs(init, update)


def stateless_with_tree_map(
    f: Callable[[Array, Array | None], Array],
) -> GradientTransformationExtraArgs:
    """The transformation that applies ``f(update, parameter)`` to each leaf.

    Args:
        f: a pure function of arrays; the second is None where ``update`` got no params.

    Examples:
        >>> import jax.numpy as jnp
        >>> signs = stateless_with_tree_map(lambda update, parameter: jnp.sign(update))
        >>> updates, _ = signs.update({"w": jnp.array(-2.0)}, signs.init({"w": jnp.array(0.0)}))
        >>> float(updates["w"])
        -1.0
    """
    checks.function("stateless_with_tree_map", "f", f)

    def mapped(updates: Updates, params: Params | None) -> Updates:
        if params is None:
            return jax.tree.map(lambda u: f(u, None), updates)
        return jax.tree.map(f, updates, params)

    return stateless(mapped)


def beside_params(
    owner: str, f: Callable[[Array, Array], Array]
) -> GradientTransformationExtraArgs:
    """Apply ``f(update, parameter)`` to each leaf; ``owner``, the link, asks for the params."""

    def mapped(updates: Updates, params: Params | None) -> Updates:
        checks.params(owner, params)
        checks.like(owner, "gradient", updates, params)
        return jax.tree.map(f, updates, params)

    return stateless(mapped)


def identity() -> GradientTransformationExtraArgs:
    """Hand the updates on as they are."""
    return stateless(lambda updates, params: updates)


def set_to_zero() -> GradientTransformationExtraArgs:
    """Replace the updates by zeros: what it is applied to stays as it is."""
    return stateless(lambda updates, params: tree.zeros_like(updates))
