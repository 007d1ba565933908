"""Points beside the parameters: where to evaluate, and where to take the gradient.

A state takes part by a method ``evaluation_params(params)`` or ``lookahead_params(params)``, which
returns the parameters with those replaced that it has another point for. A wrapper whose inner
optimizer sees the leaves in another layout asks the states inside by :func:`in_own_layout`.
"""

from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import PyTree

from jaxopt_course.core import MaskedNode, Params, State


def evaluation_params(state: State, params: Params) -> Params:
    """The parameters to evaluate and keep, for whatever optimizer.

    A state takes part by a method ``evaluation_params(params)``, which returns the parameters
    with those replaced that it has better ones for. It is found anywhere inside chains and
    wrappers; of one state inside another, the outer one speaks, and of several side by side
    each in turn, so that the groups of a partition may keep a mean each.

    Args:
        state: the state of any transformation.
        params: the parameters that are trained.

    Returns:
        The evaluation weights, in the dtypes of ``params``; ``params`` themselves for an
        optimizer that keeps none.

    Raises:
        TypeError: if ``params`` is a state.

    Examples:
        >>> evaluation_params(optax.sgd(0.1).init(1.0), 1.0)
        1.0
    """
    if _taking_part(params, "evaluation_params"):
        raise TypeError("evaluation_params: `params` must be parameters, got a state; it is first.")
    for part in _taking_part(state, "evaluation_params"):
        params = part.evaluation_params(params)
    return params


def lookahead_params(state: State, params: Params) -> Params:
    """The point at which to evaluate the loss: where the velocity alone would take ``params``.

    Args:
        state: the state of :func:`~jaxopt_course.optimizers.nesterov`, or of any chain or wrapper
            around it, or of any other transformation.
        params: the parameters.

    Returns:
        ``params + momentum * trace``, in the dtypes of the params; ``params`` as they are for an
        optimizer that does not look ahead.

    Raises:
        ValueError: if two states look ahead for the same parameter.

    Examples:
        >>> lookahead_params(optax.sgd(0.1).init(1.0), 1.0)
        1.0
    """
    moved: set[int] = set()
    for part in _taking_part(state, "lookahead_params"):
        ahead = part.lookahead_params(params)
        pairs = zip(jax.tree.leaves(ahead), jax.tree.leaves_with_path(params), strict=True)
        for i, (new, (path, old)) in enumerate(pairs):
            if new is not old and i in moved:
                raise ValueError(
                    "lookahead_params: `state` must look ahead once for each parameter, "
                    f"got two states that do for {jax.tree_util.keystr(path) or 'the only one'}."
                )
            moved |= {i} if new is not old else set()
        params = ahead
    return params


def in_own_layout(
    point: Callable[[State, Params], Params],
    state: State,
    params: Params,
    to: Callable[[PyTree], PyTree],
    back: Callable[[PyTree, list[Any]], list[Any]],
    structure: Any,
) -> Params:
    """``point(state, params)`` of a ``state`` whose optimizer holds all leaves in another layout.

    Args:
        point: :func:`evaluation_params` or :func:`lookahead_params`.
        state: of the optimizer.
        params: the parameters, of which it may hold a group.
        to: a list of leaves -> the layout of the optimizer.
        back: the layout, and the leaves that it was made of -> a list of leaves.
        structure: of the parameters given to ``init``; ``MaskedNode`` for leaves of other groups.

    Returns:
        ``params`` themselves where no state takes part.

    Raises:
        ValueError: if there were more or fewer parameters.
    """
    if not _taking_part(state, point.__name__):
        return params
    leaves, whole = jax.tree.flatten(params, is_leaf=_is_masked)
    numbers = jax.tree.unflatten(structure, range(structure.num_leaves))
    places = jax.tree.leaves(numbers, is_leaf=_is_masked)
    if len(leaves) != len(places):
        raise ValueError(
            f"{point.__name__}: `params` must have the {len(places)} leaves that `init` was given, "
            f"got {len(leaves)}."
        )
    own = [i for i, place in enumerate(places) if not _is_masked(place)]
    held = [leaves[i] for i in own]
    for i, new in zip(own, back(point(state, to(held)), held), strict=True):
        leaves[i] = new
    return jax.tree.unflatten(whole, leaves)


def _taking_part(state: State, method: str) -> list[Any]:
    """The outermost parts of ``state`` that have ``method``."""
    takes_part = lambda part: hasattr(part, method)
    return list(filter(takes_part, jax.tree.leaves(state, is_leaf=takes_part)))


def _is_masked(x: Any) -> bool:
    return isinstance(x, MaskedNode)
