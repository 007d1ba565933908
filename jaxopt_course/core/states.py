"""What trainings and wrappers ask of an optimizer's state: one protocol of optional methods.

A state, or any other node in the tree of an optimizer's state, takes part by defining methods:

    evaluation_params(params) -> params   the parameters to evaluate and keep, e.g. an average
    lookahead_params(params) -> params    the point at which to compute the gradient
    loss_scale() -> f[]                   the factor by which to multiply the next loss
    is_pending() -> bool[]                whether it holds gradients that no update has used yet
    was_applied(old) -> bool[]            whether the update from ``old`` to it moved the parameters
    without_reports() -> state            itself without entries that only describe the last step
    pack_params(params) -> params         the parameters in the layout in which it holds them
    unpacked() -> tree                    itself in the layout of the parameters
    packed(tree) -> state                 the reverse of ``unpacked``: ``tree`` in its own layout

The functions below find such nodes anywhere inside chains and wrappers. If one contains another,
the outer one answers. If there are several side by side, each is asked in turn.

A transformation that accumulates gradients returns zero updates until its group of batches is
complete. When a training ends, an ``update`` with the extra argument ``flush="without_gradient"``
and a gradient of zero makes every accumulation apply what it holds. Parts of an optimizer that do
not take part, such as transformations in front of the accumulation or other groups of a partition,
stay as they are. The optimizer inside an accumulation receives a gradient again; it passes
``flush="with_gradient"`` to accumulations inside it.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PyTree

from . import numerics
from ._protocols import MaskedNode, Params, State


def evaluation_params(state: State, params: Params) -> Params:
    """The parameters to evaluate and to keep, such as an average that the optimizer maintains.

    A state takes part by a method ``evaluation_params(params)``, which returns ``params`` with the
    leaves replaced for which it has better ones, in the same dtypes. If a state contains another
    one, the outer one answers. The groups of a partition may each keep their own average.

    Args:
        state: state of any transformation.
        params: the parameters that are trained, which are returned if no state takes part.

    Raises:
        TypeError: if ``params`` is a state.

    Examples:
        >>> evaluation_params(optax.sgd(0.1).init(1.0), 1.0)
        1.0
    """
    if _parts(params, "evaluation_params"):
        raise TypeError("evaluation_params: `params` must be parameters, got a state; it is first.")
    for part in _parts(state, "evaluation_params"):
        params = part.evaluation_params(params)
    return params


def lookahead_params(state: State, params: Params) -> Params:
    """The point at which to compute the gradient, such as the look-ahead point of Nesterov.

    Args:
        state: state of any transformation, such as :func:`~jaxopt_course.optimizers.nesterov`.
        params: the parameters, which are returned if the optimizer does not look ahead.

    Returns:
        The point, such as ``params + momentum * trace``, in the dtypes of ``params``.

    Raises:
        ValueError: if two states look ahead for the same parameter.

    Examples:
        >>> lookahead_params(optax.sgd(0.1).init(1.0), 1.0)
        1.0
    """
    moved: set[int] = set()
    for part in _parts(state, "lookahead_params"):
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
    absent: tuple[int, ...],
) -> Params:
    """``point(state, params)`` for a ``state`` whose optimizer holds all leaves in another layout.

    Args:
        point: :func:`evaluation_params` or :func:`lookahead_params`.
        state: state of the optimizer.
        params: the parameters, of which the optimizer may hold a group only.
        to: maps a list of leaves to the layout of the optimizer.
        back: maps the layout, and the leaves it was made of, to a list of leaves.
        absent: numbers of the leaves that belong to other groups (:func:`absent_leaves`).
    """
    if not _parts(state, point.__name__):
        return params
    leaves, whole = jax.tree.flatten(params, is_leaf=_is_masked)
    own = [i for i in range(len(leaves)) if i not in absent]
    held = [leaves[i] for i in own]
    for i, new in zip(own, back(point(state, to(held)), held), strict=True):
        leaves[i] = new
    return jax.tree.unflatten(whole, leaves)


def absent_leaves(params: Params) -> tuple[int, ...]:
    """The numbers of the leaves of ``params`` that are masked, because others train them."""
    leaves = jax.tree.leaves(params, is_leaf=_is_masked)
    return tuple(i for i, leaf in enumerate(leaves) if _is_masked(leaf))


def loss_scale(state: State) -> Float[Array, ""] | None:
    """The factor by which to multiply the next loss, and to divide its gradients.

    It is None for an optimizer without :func:`~jaxopt_course.transforms.dynamic_loss_scale`.

    Raises:
        ValueError: if two states scale the loss.
    """
    found = [part.loss_scale() for part in _parts(state, "loss_scale")]
    if len(found) > 1:
        raise ValueError(
            f"loss_scale: `state` must hold one DynamicLossScaleState at most, got {len(found)}."
        )
    return found[0] if found else None


def was_applied(new: State, old: State) -> Bool[Array, ""] | None:
    """Whether the update from ``old`` to ``new`` moved the parameters; None if each one does."""
    news, olds = (_parts(state, "was_applied") for state in (new, old))
    return _any([part.was_applied(before) for part, before in zip(news, olds, strict=True)])


def applied_with(own: Bool[Array, ""], new: State, old: State) -> Bool[Array, ""]:
    """``own``, and whether the inner optimizer applied the update from ``old`` to ``new``."""
    inside = was_applied(new, old)
    return own if inside is None else own & inside


def is_pending(state: State) -> Bool[Array, ""] | None:
    """Whether ``state`` holds gradients that no update has used yet; None if it never does."""
    return _any([part.is_pending() for part in _parts(state, "is_pending")])


def is_idle(state: State, extra_args: dict[str, Any]) -> bool:
    """Whether the transformation of ``state`` has nothing to do in an ``update`` that flushes."""
    flushes = extra_args.get("flush") == "without_gradient"
    return flushes and not _parts(state, "is_pending")


def if_applied(new_state: State, old_state: State, new: PyTree, old: PyTree) -> PyTree:
    """``new`` if the update from ``old_state`` to ``new_state`` was applied, else ``old``."""
    applied = was_applied(new_state, old_state)
    if applied is None:
        return new
    return jax.tree.map(lambda x, y: jnp.where(applied, x, y), new, old)


def count_applied(count: Int[Array, ""], new_state: State, old_state: State) -> Int[Array, ""]:
    """``count``, incremented if the update from ``old_state`` to ``new_state`` was applied."""
    counted: Array = if_applied(new_state, old_state, numerics.safe_increment(count), count)
    return counted


def refuse_accumulation(owner: str, name: str, state: State) -> None:
    """Raise ValueError if ``state``, that of the argument ``name``, accumulates gradients."""
    if _parts(state, "is_pending"):
        raise ValueError(
            f"{owner}: `{name}` must not accumulate gradients, for {owner} reads those of each "
            f"batch; put MultiSteps or apply_every around {owner}."
        )


def without_reports(state: State) -> State:
    """``state`` without entries that only describe the last step, and may be infinite there.

    Such entries are measurements, and what optax's line searches have found.
    """
    searches = (optax.ScaleByZoomLinesearchState, optax.ScaleByBacktrackingLinesearchState)
    is_part = lambda part: isinstance(part, searches) or hasattr(part, "without_reports")

    def without(part: Any) -> Any:
        if isinstance(part, searches):
            return part._replace(value=(), grad=(), info=())
        return part.without_reports() if is_part(part) else part

    return jax.tree.map(without, state, is_leaf=is_part)


def packed_params(state: State, params: Params) -> Params:
    """``params``, packed or not, as the optimizer of ``state`` holds them.

    They are unchanged if the outermost wrapper is not :func:`~jaxopt_course.transforms.packed`.
    """
    return state.pack_params(params) if hasattr(state, "pack_params") else params


def unpack(tree: PyTree) -> PyTree:
    """``tree`` with every packed part in the layout of the task's parameters.

    Args:
        tree: parameters, the state of :func:`~jaxopt_course.transforms.packed` or of a chain or
            wrapper around it, or a tree of these. A state becomes the state that the optimizer has
            without the wrapper; ``update`` accepts it too. It stays packed if its buffers are no
            longer leaves end to end, like the blocks of
            :func:`~jaxopt_course.transforms.quantized_state`.
    """
    is_part = lambda part: hasattr(part, "unpacked")
    return jax.tree.map(lambda x: x.unpacked() if is_part(x) else x, tree, is_leaf=is_part)


def packed_state(state: State, like: State) -> State:
    """The reverse of :func:`unpack`: ``state`` in the layout of ``like``.

    Args:
        state: state of the optimizer without packing, or with another packing.
        like: the state that ``init`` of the packed optimizer returns, or its shapes.
    """
    structure: Any = jax.tree.structure(state)
    if structure == jax.tree.structure(like):
        return state
    is_part = lambda part: hasattr(part, "unpacked")
    of = lambda part, own: part.packed(own) if is_part(part) else own
    return jax.tree.map(of, like, unpack(state), is_leaf=is_part)


def _parts(state: State, method: str) -> list[Any]:
    """The outermost parts of ``state`` that have ``method``."""
    takes_part = lambda part: hasattr(part, method)
    return [part for part in jax.tree.leaves(state, is_leaf=takes_part) if takes_part(part)]


def _is_masked(x: Any) -> bool:
    return isinstance(x, MaskedNode)


def _any(answers: list[Any]) -> Bool[Array, ""] | None:
    return functools.reduce(jnp.logical_or, answers) if answers else None
