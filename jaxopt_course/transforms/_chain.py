"""Composition: the output of one transformation is the input of the next."""

from collections.abc import Sequence
from typing import Any

import optax

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    Params,
    State,
    Updates,
    as_transformation,
)


__all__ = ["chain", "named_chain"]


def chain(*args: optax.GradientTransformation) -> GradientTransformationExtraArgs:
    """Apply the links ``args`` from left to right; the state is the tuple of their states.

    Args:
        *args: the links, of this library or of optax. No link at all is the identity.

    Returns:
        The composite transformation. Extra arguments of ``update`` reach every link.

    Raises:
        TypeError: if a link is no transformation, such as a recipe that was not called.
        ValueError: from ``update``, if the state has another number of parts.

    Examples:
        >>> import jax.numpy as jnp
        >>> tx = chain(optax.scale(2.0), optax.scale(3.0))
        >>> updates, state = tx.update(jnp.array(1.0), tx.init(jnp.array(0.0)))
        >>> float(updates)
        6.0
    """
    links = [as_transformation("chain", f"args[{i}]", link) for i, link in enumerate(args)]

    def init(params: Params) -> State:
        return tuple(link.init(params) for link in links)

    def update(
        updates: Updates, state: State, params: Params | None = None, **extra_args: Any
    ) -> tuple[Updates, State]:
        _check_parts("chain", len(links), state)
        new_state = []
        for link, link_state in zip(links, state, strict=True):
            updates, link_state = link.update(updates, link_state, params, **extra_args)
            new_state.append(link_state)
        return updates, tuple(new_state)

    return GradientTransformationExtraArgs(init, update)


def named_chain(*args: tuple[str, optax.GradientTransformation]) -> GradientTransformationExtraArgs:
    """A :func:`chain` whose state is a dictionary: each link's state under the link's name.

    Args:
        *args: pairs of a name and a link. Names must differ.

    Returns:
        The composite transformation.

    Raises:
        ValueError: if two links have one name.

    Examples:
        >>> import jax.numpy as jnp
        >>> tx = named_chain(("double", optax.scale(2.0)), ("mean", optax.ema(0.9)))
        >>> list(tx.init(jnp.zeros(3)))
        ['double', 'mean']
    """
    names = [name for name, _ in args]
    if len(set(names)) < len(names):
        raise ValueError(f"named_chain: names must differ, got {names}.")
    links = {name: as_transformation("named_chain", name, link) for name, link in args}

    def init(params: Params) -> State:
        return {name: link.init(params) for name, link in links.items()}

    def update(
        updates: Updates, state: State, params: Params | None = None, **extra_args: Any
    ) -> tuple[Updates, State]:
        _check_parts("named_chain", len(links), state)
        new_state = {}
        for name, link in links.items():
            updates, new_state[name] = link.update(updates, state[name], params, **extra_args)
        return updates, new_state

    return GradientTransformationExtraArgs(init, update)


def _check_parts(owner: str, links: int, state: State) -> None:
    if not isinstance(state, Sequence | dict) or len(state) != links:
        parts = len(state) if isinstance(state, Sequence | dict) else "no"
        raise ValueError(
            f"{owner}: {links} links were given a state of {parts} parts; "
            "the state must come from the `init` of the same chain."
        )
