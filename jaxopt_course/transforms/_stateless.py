"""Transformations without memory: a function of the updates, and perhaps of the params."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxopt_course.core import EmptyState, GradientTransformation, Params, State, Updates


__all__ = ["identity", "set_to_zero", "stateless"]


def stateless(f: Callable[[Updates, Params | None], Updates]) -> GradientTransformation:
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

    def init(params: Params) -> EmptyState:
        return EmptyState()

    def update(
        updates: Updates, state: State, params: Params | None = None, **extra_args: Any
    ) -> tuple[Updates, State]:
        return f(updates, params), state

    return GradientTransformation(init, update)


def identity() -> GradientTransformation:
    """Hand the updates on as they are."""
    return stateless(lambda updates, params: updates)


def set_to_zero() -> GradientTransformation:
    """Replace the updates by zeros: what it is applied to stays as it is."""
    return stateless(lambda updates, params: jax.tree.map(jnp.zeros_like, updates))
