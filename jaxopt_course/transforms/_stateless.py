"""Transformations without a state: functions of the updates and the parameters."""

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
    """The transformation that applies ``f(updates, params)`` and keeps no state.

    Args:
        f: a pure function. ``params`` is None if the caller of ``update`` gave none.

    Examples:
        >>> halves = stateless(lambda updates, params: jax.tree.map(lambda u: u / 2, updates))
        >>> halves.update([-2.0, 3.0], halves.init([0.0, 0.0]))[0]
        [-1.0, 1.5]
    """
    checks.function("stateless", "f", f)
    return _without_state(f, lambda owner, updates: None)


def of_floats(f: Callable[[Updates, Params | None], Updates]) -> GradientTransformationExtraArgs:
    """:func:`stateless` that refuses integer gradients, to which results would be rounded."""
    return _without_state(f, lambda owner, updates: checks.floats(owner, "gradient", updates))


def _without_state(
    f: Callable[[Updates, Params | None], Updates], check: Callable[[str, Updates], None]
) -> GradientTransformationExtraArgs:
    owner = getattr(f, "__qualname__", "stateless").split(".")[0]  # the factory that defines f

    def init(params):
        return EmptyState()

    def update(updates, state, params=None, **extra_args):
        checks.empty_state(owner, state)
        check(owner, updates)
        return f(updates, params), state

    return GradientTransformationExtraArgs(init, update)


def stateless_with_tree_map(
    f: Callable[[Array, Array | None], Array],
) -> GradientTransformationExtraArgs:
    """The transformation that applies ``f(update, parameter)`` to each leaf.

    Args:
        f: a pure function of two arrays; the second is None if ``update`` got no params.
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
    """Apply ``f(update, parameter)`` to each leaf; ``update`` of ``owner`` needs the params."""

    def mapped(updates: Updates, params: Params | None) -> Updates:
        checks.params(owner, params, updates)
        return jax.tree.map(f, updates, params)

    return stateless(mapped)


def identity() -> GradientTransformationExtraArgs:
    """Return the updates as they are."""
    return stateless(lambda updates, params: updates)


def set_to_zero() -> GradientTransformationExtraArgs:
    """Replace the updates by zeros, so that parameters stay as they are."""
    return stateless(lambda updates, params: tree.zeros_like(updates))
