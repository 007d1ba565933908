"""Which updates were applied: what a wrapper that counts or averages steps asks the state inside.

A transformation that accumulates gradients over several batches returns zeros until its group of
batches is complete. Its state takes part in two questions, each by a method:

    was_applied(old) -> bool[]    whether the update that turned ``old`` into this state was one
                                  that the parameters are to follow
    is_pending() -> bool[]        whether it holds gradients that no update has used yet

Such states are found anywhere inside chains and wrappers. Where one lies inside another, the outer
one answers; of several side by side, any yes is a yes.

When a training ends, an ``update`` with the extra argument ``flush="without_gradient"`` and a
gradient of zero makes every accumulation apply what it holds. Parts of an optimizer that have no
share in this (the links of a chain in front of an accumulation, the other groups of a partition)
stay as they are. What an accumulation runs inside meets a gradient again; to an accumulation in
there it says ``flush="with_gradient"``.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, PyTree

from . import numerics
from ._protocols import State


def was_applied(new: State, old: State) -> Bool[Array, ""] | None:
    """Whether the update that turned the state ``old`` into ``new`` was applied.

    Returns:
        None where no state inside says so: then every update is.
    """
    news, olds = (_parts(state, "was_applied") for state in (new, old))
    return _any([part.was_applied(before) for part, before in zip(news, olds, strict=True)])


def is_pending(state: State) -> Bool[Array, ""] | None:
    """Whether ``state`` holds gradients that no update has used yet.

    Returns:
        None where nothing inside accumulates gradients.
    """
    return _any([part.is_pending() for part in _parts(state, "is_pending")])


def is_idle(state: State, extra_args: dict[str, Any]) -> bool:
    """Whether the transformation of ``state`` has no share in an ``update`` that only flushes."""
    flushes = extra_args.get("flush") == "without_gradient"
    return flushes and not _parts(state, "is_pending")


def if_applied(new_state: State, old_state: State, new: PyTree, old: PyTree) -> PyTree:
    """``new`` where the update from ``old_state`` to ``new_state`` was applied, else ``old``."""
    applied = was_applied(new_state, old_state)
    if applied is None:
        return new
    return jax.tree.map(lambda x, y: jnp.where(applied, x, y), new, old)


def count_applied(count: Int[Array, ""], new_state: State, old_state: State) -> Int[Array, ""]:
    """``count``, one more where the update from ``old_state`` to ``new_state`` was applied."""
    counted: Array = if_applied(new_state, old_state, numerics.safe_increment(count), count)
    return counted


def refuse_accumulation(owner: str, name: str, state: State) -> None:
    """Raise ValueError if ``state``, that of the argument ``name``, accumulates gradients."""
    if _parts(state, "is_pending"):
        raise ValueError(
            f"{owner}: `{name}` must not accumulate gradients, for {owner} reads those of each "
            f"batch; put MultiSteps or apply_every around {owner}."
        )


def _parts(state: State, method: str) -> list[Any]:
    """The outermost parts of ``state`` that have ``method``."""
    takes_part = lambda part: hasattr(part, method)
    return [part for part in jax.tree.leaves(state, is_leaf=takes_part) if takes_part(part)]


def _any(answers: list[Any]) -> Bool[Array, ""] | None:
    return functools.reduce(jnp.logical_or, answers) if answers else None
