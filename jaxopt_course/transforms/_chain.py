"""Composition: the output of one transformation is the input of the next."""

from collections.abc import Sequence
from typing import Any

import optax

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    Params,
    State,
    Updates,
    checks,
    states,
)

from ._multi_steps import MultiSteps, MultiStepsState


def chain(*args: optax.GradientTransformation) -> GradientTransformationExtraArgs:
    """Apply the transformations ``args`` from left to right; the state is a tuple of their states.

    Extra arguments of ``update`` reach every transformation. Those behind a :class:`MultiSteps` run
    when it runs its optimizer, as if they were inside it.

    Args:
        *args: transformations of this library or of optax. Without any, the chain is the identity.

    Raises:
        TypeError: if an argument is not a transformation, such as an optimizer that was not called.
        ValueError: from ``update``, if the state has another number of parts.

    Examples:
        >>> tx = chain(optax.scale(2.0), optax.scale(3.0))
        >>> float(tx.update(1.0, tx.init(0.0))[0])
        6.0
    """
    members = [checks.transformation("chain", f"args[{i}]", tx) for i, tx in enumerate(args)]

    def init(params):
        return tuple(tx.init(params) for tx in members)

    def update(updates, state, params=None, **extra_args):
        _check_length(len(members), state)
        updates, new_state = _through(members, tuple(state), updates, params, extra_args)
        return updates, tuple(new_state)

    return GradientTransformationExtraArgs(init, update)


def named_chain(*args: tuple[str, optax.GradientTransformation]) -> GradientTransformationExtraArgs:
    """A :func:`chain` whose state is a dictionary: the state of each transformation by its name.

    Args:
        *args: pairs of a name and a transformation. The names must differ.

    Examples:
        >>> tx = named_chain(("double", optax.scale(2.0)), ("mean", optax.ema(0.9)))
        >>> list(tx.init(0.0))
        ['double', 'mean']
    """
    names = [name for name, _ in args]
    if len(set(names)) < len(names):
        raise ValueError(f"named_chain: names must differ, got {names}.")
    members = {name: checks.transformation("named_chain", name, tx) for name, tx in args}

    def init(params):
        return {name: tx.init(params) for name, tx in members.items()}

    def update(updates, state, params=None, **extra_args):
        checks.parts("named_chain", "the state", state, members)
        parts = [state[name] for name in members]
        updates, new = _through(list(members.values()), parts, updates, params, extra_args)
        return updates, dict(zip(members, new, strict=True))

    return GradientTransformationExtraArgs(init, update)


def _through(
    members: Sequence[GradientTransformationExtraArgs],
    parts: Sequence[State],
    updates: Updates,
    params: Params | None,
    extra_args: dict[str, Any],
) -> tuple[Updates, list[State]]:
    """The updates after all ``members``, and their new states."""
    new_parts: list[State] = []
    begins_later = "flush" in extra_args and not all(states.is_idle(x, extra_args) for x in parts)
    for i, (tx, part) in enumerate(zip(members, parts, strict=True)):
        behind = members[i + 1 :]
        if begins_later and states.is_idle(part, extra_args):
            new_parts.append(part)
            continue
        begins_later = False
        if isinstance(tx, MultiSteps) and behind:
            updates, rest = _accumulated(tx, behind, parts[i:], updates, params, extra_args)
            return updates, [*new_parts, *rest]
        updates, new_part = tx.update(updates, part, params, **extra_args)
        new_parts.append(new_part)
    return updates, new_parts


def _accumulated(
    first: MultiSteps,
    behind: Sequence[GradientTransformationExtraArgs],
    parts: Sequence[State],
    updates: Updates,
    params: Params | None,
    extra_args: dict[str, Any],
) -> tuple[Updates, list[State]]:
    """``first`` and the transformations behind it, which run when it does, as if inside it."""
    members = [first.inner_opt, *behind]

    def update(updates, parts, params=None, **extra_args):
        updates, new_parts = _through(members, parts, updates, params, extra_args)
        return updates, tuple(new_parts)

    together = first.around(GradientTransformationExtraArgs(first.inner_opt.init, update))
    own = parts[0]
    checks.state("MultiSteps", own, MultiStepsState)
    inside = own._replace(inner_opt_state=(own.inner_opt_state, *parts[1:]))
    updates, inside = together.update(updates, inside, params, **extra_args)
    inner, *rest = inside.inner_opt_state
    return updates, [inside._replace(inner_opt_state=inner), *rest]


def _check_length(length: int, state: State) -> None:
    has_parts = isinstance(state, tuple | list) and not hasattr(state, "_fields")
    if not has_parts or len(state) != length:
        given = f"a state of {len(state)} parts" if has_parts else f"a {type(state).__name__}"
        raise ValueError(
            f"chain: {length} transformations were given {given}; "
            "the state must come from the `init` of the same chain."
        )
