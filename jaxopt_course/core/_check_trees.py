"""Checks of what an update is given: trees of gradients, the state, the parameters.

They look at structures, shapes and dtypes, so they cost nothing in a compiled program.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree


__all__ = [
    "check_empty_state",
    "check_floats",
    "check_like",
    "check_parts",
    "check_state",
    "require_params",
]


def check_like(owner: str, what: str, tree: PyTree, like: PyTree, than: str = "parameter") -> None:
    """Raise unless ``tree`` has the structure and shapes of ``like``; name where it differs.

    Args:
        owner: the function, for the message.
        what: what the leaves of ``tree`` are called. A ``"gradient"`` must be of floats or
            complex numbers besides.
        tree: what the caller gave.
        like: what it has to resemble. Dtypes may differ.
        than: what the leaves of ``like`` are called.
    """
    if what == "gradient":
        check_floats(owner, what, tree)
    structure: Any = jax.tree.structure(tree)
    wanted: Any = jax.tree.structure(like)
    if structure != wanted:
        paths, others = (
            {jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(t)}
            for t in (tree, like)
        )
        lonely = sorted(paths ^ others)
        where = f"; found on one side only: {', '.join(lonely[:10])}" if lonely else ""
        raise ValueError(
            f"{owner}: the {what} tree must have the structure of the {than} tree{where}; "
            f"got {structure} and {wanted}."
        )
    for (path, leaf), other in zip(
        jax.tree.leaves_with_path(tree), jax.tree.leaves(like), strict=True
    ):
        if jnp.shape(leaf) != jnp.shape(other):
            place = f" at {jax.tree_util.keystr(path)}" if path else ""
            raise ValueError(
                f"{owner}: {what}{place} has shape {jnp.shape(leaf)}, "
                f"{than} has {jnp.shape(other)}."
            )


def check_floats(owner: str, what: str, tree: PyTree) -> None:
    """Raise unless all leaves are floats or complex numbers; integers would be rounded in silence.

    Raises:
        TypeError: if one is not; it names its path.
    """
    for path, leaf in jax.tree.leaves_with_path(tree):
        dtype = jnp.result_type(leaf)
        if not jnp.issubdtype(dtype, jnp.inexact):
            place = f" at {jax.tree_util.keystr(path)}" if path else ""
            raise TypeError(
                f"{owner}: {what}{place} must have a float or complex dtype, got {dtype.name}; "
                "parameters that are not trained are best left out by `partition` or `masked`."
            )


def check_state(owner: str, state: Any, kind: type) -> None:
    """Raise unless ``state`` is a ``kind``: another optimizer's state is not taken for one's own.

    Raises:
        TypeError: if it is something else.
    """
    if not isinstance(state, kind):
        raise TypeError(
            f"{owner}: the state must be the {kind.__name__} that the `init` of the same "
            f"transformation returned, got {_kind_of(state)}."
        )


def check_empty_state(owner: str, state: Any) -> None:
    """Raise if ``state`` holds anything: a transformation without a state was given another's.

    Raises:
        TypeError: if it has leaves.
    """
    if jax.tree.leaves(state):
        raise TypeError(
            f"{owner}: the state must be the EmptyState that `init` of the same transformation "
            f"returned, got {_kind_of(state)}."
        )


def check_parts(owner: str, what: str, parts: Any, names: Iterable[Any]) -> None:
    """Raise unless ``parts``, a dictionary in a state, has exactly these names.

    Raises:
        ValueError: if it is no dictionary, or of other names.
    """
    wanted = list(names)
    if not isinstance(parts, Mapping) or set(parts) != set(wanted):
        got = list(parts) if isinstance(parts, Mapping) else _kind_of(parts)
        raise ValueError(
            f"{owner}: {what} must have the names {wanted}, as the `init` of the same "
            f"transformation returned it, got {got}."
        )


def require_params(owner: str, params: Any) -> None:
    """Raise unless the caller handed the parameters to ``update``."""
    if params is None:
        raise ValueError(
            f"{owner} reads the parameters: call `update(updates, state, params)`, "
            "not `update(updates, state)`."
        )


def _kind_of(state: Any) -> str:
    is_plain = type(state) in (tuple, list)
    return f"a {type(state).__name__} of {len(state)}" if is_plain else f"a {type(state).__name__}"
