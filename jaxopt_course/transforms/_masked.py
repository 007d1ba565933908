"""Transformations of some leaves only: by a mask, by labels, or with frozen leaves."""

from collections.abc import Hashable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    Mask,
    MaskedNode,
    Params,
    State,
    Updates,
    checks,
    states,
    tree,
)

from ._stateless import set_to_zero


class MaskedState(NamedTuple):
    """State of :func:`masked`. ``inner_state``: the inner state, with ``MaskedNode`` elsewhere."""

    inner_state: State


def masked(
    inner: optax.GradientTransformation,
    mask: Mask,
    *,
    mask_compatible_extra_args: bool = False,
) -> GradientTransformationExtraArgs:
    """Run ``inner`` on the leaves that ``mask`` marks, and leave the others as they are.

    Args:
        inner: the transformation.
        mask: a tree of Python bools shaped like (a prefix of) the params, or a function of the
            params (in ``update``, of the updates) that returns one.
        mask_compatible_extra_args: whether extra arguments shaped like the updates are masked too.

    Examples:
        >>> tx, grads = masked(optax.scale(10.0), {"w": True, "b": False}), {"w": 1.0, "b": 1.0}
        >>> jax.tree.map(float, tx.update(grads, tx.init(grads))[0])
        {'b': 1.0, 'w': 10.0}
    """
    checks.flag("masked", "mask_compatible_extra_args", mask_compatible_extra_args)
    inner = checks.transformation("masked", "inner", inner)

    def init(params):
        marks = marks_of("masked", mask, params)
        return MaskedState(inner.init(_select(params, marks, True)))

    def update(updates, state, params=None, **extra_args):
        checks.state("masked", state, MaskedState)
        marks = marks_of("masked", mask, updates)
        if mask_compatible_extra_args:
            extra_args = _select_like(updates, extra_args, marks, True)
        new, state = _of_group(inner, True, marks, updates, state, params, extra_args)
        return _merge(marks, updates, {True: new}), state

    return GradientTransformationExtraArgs(init, update)


class PartitionState(NamedTuple):
    """State of :func:`partition`. ``inner_states``: a :class:`MaskedState` for each label."""

    inner_states: dict[Hashable, State]


def partition(
    transforms: Mapping[Hashable, optax.GradientTransformation],
    param_labels: Mask,
    *,
    mask_compatible_extra_args: bool = False,
) -> GradientTransformationExtraArgs:
    """Run a separate transformation on each labelled group of leaves.

    Args:
        transforms: label -> transformation.
        param_labels: a tree of labels, as ``mask`` in :func:`masked`.
        mask_compatible_extra_args: as in :func:`masked`.

    Examples:
        >>> groups = {"fast": optax.scale(10.0), "frozen": optax.set_to_zero()}
        >>> tx, grads = partition(groups, {"w": "fast", "b": "frozen"}), {"w": 1.0, "b": 1.0}
        >>> jax.tree.map(float, tx.update(grads, tx.init(grads))[0])
        {'b': 0.0, 'w': 10.0}
    """
    checks.flag("partition", "mask_compatible_extra_args", mask_compatible_extra_args)
    if not isinstance(transforms, Mapping):
        raise TypeError(
            "partition: `transforms` must be a dictionary, label -> transformation, "
            f"got {checks.shown(transforms)}."
        )
    groups = {
        label: checks.transformation("partition", f"transforms[{label!r}]", tx)
        for label, tx in transforms.items()
    }

    def init(params):
        labels = _labels_among(groups, param_labels, params)
        of_group = lambda label, tx: MaskedState(tx.init(_select(params, labels, label)))
        return PartitionState({label: of_group(label, tx) for label, tx in groups.items()})

    def update(updates, state, params=None, **extra_args):
        checks.state("partition", state, PartitionState)
        checks.parts("partition", "`inner_states` of the state", state.inner_states, groups)
        labels = _labels_among(groups, param_labels, updates)
        new_updates, new_states = {}, {}
        skips_idle = not states.is_idle(state, extra_args)
        for label, tx in groups.items():
            extra, own = extra_args, state.inner_states[label]
            if skips_idle and states.is_idle(own, extra_args):
                new_updates[label], new_states[label] = _select(updates, labels, label), own
                continue
            if mask_compatible_extra_args:
                extra = _select_like(updates, extra_args, labels, label)
            checks.state("partition", own, MaskedState)
            new_updates[label], new_states[label] = _of_group(
                tx, label, labels, updates, own, params, extra
            )
        return _merge(labels, updates, new_updates), PartitionState(new_states)

    return GradientTransformationExtraArgs(init, update)


def _of_group(
    tx: GradientTransformationExtraArgs,
    label: Hashable,
    labels: PyTree,
    updates: Updates,
    state: MaskedState,
    params: Params | None,
    extra_args: dict[str, Any],
) -> tuple[Updates, MaskedState]:
    """The result of ``tx`` on the leaves with this label."""
    own, weights = (_select(x, labels, label) for x in (updates, params))
    new, inner_state = tx.update(own, state.inner_state, weights, **extra_args)
    return new, MaskedState(inner_state)


def _labels_among(groups: Mapping[Hashable, Any], labels: Any, tree: PyTree) -> PyTree:
    """The tree of labels, each of which must name one of ``groups``."""
    found = _labels("partition", "param_labels", labels, tree)
    for path, label in jax.tree.leaves_with_path(found):
        if not isinstance(label, Hashable) or label not in groups:
            raise ValueError(
                f"partition: label {checks.shown(label)}{checks.at(path)} has no transformation; "
                f"`transforms` has {', '.join(map(repr, groups))}."
            )
    return found


def _labels(owner: str, name: str, labels: Any, params: PyTree) -> PyTree:
    """The tree of labels, checked. A tree without leaves needs no labels."""
    if not jax.tree.leaves(params):
        return params
    if isinstance(labels, type):
        raise TypeError(
            f"{owner}: `{name}` must be a tree or a function, got {checks.shown(labels)}."
        )
    labels = tree.for_tree(labels, params)
    try:
        jax.tree.map(lambda label, subtree: None, labels, params)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{owner}: `{name}` must be shaped like the params or a prefix of them, "
            f"got {jax.tree.structure(labels)} for {jax.tree.structure(params)}."
        ) from error
    return labels


def marks_of(owner: str, mask: Any, params: PyTree) -> PyTree:
    """The mask of the params, whose leaves must be true or false."""
    found = _labels(owner, "mask", mask, params)
    for mark in jax.tree.leaves(found) if jax.tree.leaves(params) else ():
        if jnp.shape(mark) != () or mark not in (True, False):
            raise TypeError(
                f"{owner}: the leaves of `mask` must be bools, got {checks.shown(mark)}."
            )
    return found


def _select(tree: PyTree, labels: PyTree, label: Hashable) -> PyTree:
    """``tree`` with ``MaskedNode`` in place of leaves with other labels; None stays None."""
    if not jax.tree.leaves(tree):
        return tree
    return jax.tree.map(lambda own, sub: sub if own == label else MaskedNode(), labels, tree)


def _select_like(
    updates: Updates, extra_args: dict[str, Any], labels: PyTree, label: Hashable
) -> dict[str, Any]:
    """The extra arguments, with :func:`_select` applied to those shaped like ``updates``."""
    structure: Any = jax.tree.structure(updates)
    return {
        name: _select(value, labels, label) if jax.tree.structure(value) == structure else value
        for name, value in extra_args.items()
    }


def _merge(labels: PyTree, updates: Updates, groups: dict[Hashable, Updates]) -> Updates:
    """Each subtree of the group that its label names, or of ``updates`` where there is none."""
    if not jax.tree.leaves(updates):
        return updates

    pick = lambda label, own, *others: dict(zip(groups, others, strict=True)).get(label, own)
    return jax.tree.map(pick, labels, updates, *groups.values())


def freeze(mask: Mask) -> GradientTransformationExtraArgs:
    """Set the updates of the marked leaves to zero.

    Args:
        mask: which leaves are frozen, as in :func:`masked`.
    """
    return masked(set_to_zero(), lambda tree: _frozen(mask, tree))


def selective_transform(
    optimizer: optax.GradientTransformation, *, freeze_mask: Mask
) -> GradientTransformationExtraArgs:
    """Run ``optimizer`` on the leaves that are not frozen, and keep no state for the others.

    Args:
        optimizer: the optimizer of the leaves that are trained.
        freeze_mask: which leaves are frozen, as in :func:`masked`.

    Examples:
        >>> tx = selective_transform(optax.sgd(1.0), freeze_mask={"w": True, "b": False})
        >>> grads = {"w": jnp.array(1.0), "b": jnp.array(1.0)}
        >>> jax.tree.map(float, tx.update(grads, tx.init(grads))[0])
        {'b': -1.0, 'w': 0.0}
    """
    label = lambda is_frozen: "freeze" if is_frozen else "train"
    labels = lambda tree: jax.tree.map(label, _frozen(freeze_mask, tree))
    return partition({"train": optimizer, "freeze": set_to_zero()}, labels)


def _frozen(mask: Mask, tree: Params) -> PyTree:
    """The mask as Python bools."""
    return jax.tree.map(bool, marks_of("freeze", mask, tree))
