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
    is_idle,
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
    links = [checks.transformation("chain", f"args[{i}]", link) for i, link in enumerate(args)]

    def init(params):
        return tuple(link.init(params) for link in links)

    def update(updates, state, params=None, **extra_args):
        _check_length(len(links), state)
        updates, new_state = _through(links, tuple(state), updates, params, extra_args)
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
    links = {name: checks.transformation("named_chain", name, link) for name, link in args}

    def init(params):
        return {name: link.init(params) for name, link in links.items()}

    def update(updates, state, params=None, **extra_args):
        checks.parts("named_chain", "the state", state, links)
        states = [state[name] for name in links]
        updates, new = _through(list(links.values()), states, updates, params, extra_args)
        return updates, dict(zip(links, new, strict=True))

    return GradientTransformationExtraArgs(init, update)


def _through(
    links: Sequence[GradientTransformationExtraArgs],
    states: Sequence[State],
    updates: Updates,
    params: Params | None,
    extra_args: dict[str, Any],
) -> tuple[Updates, list[State]]:
    """The updates after all ``links``, and their new states."""
    new_states: list[State] = []
    begins_later = "flush" in extra_args and not all(is_idle(s, extra_args) for s in states)
    for i, (link, state) in enumerate(zip(links, states, strict=True)):
        behind = links[i + 1 :]
        if begins_later and is_idle(state, extra_args):
            new_states.append(state)
            continue
        begins_later = False
        if isinstance(link, MultiSteps) and behind:
            updates, rest = _accumulated(link, behind, states[i:], updates, params, extra_args)
            return updates, [*new_states, *rest]
        updates, new_state = link.update(updates, state, params, **extra_args)
        new_states.append(new_state)
    return updates, new_states


def _accumulated(
    link: MultiSteps,
    behind: Sequence[GradientTransformationExtraArgs],
    states: Sequence[State],
    updates: Updates,
    params: Params | None,
    extra_args: dict[str, Any],
) -> tuple[Updates, list[State]]:
    """``link`` and those behind it, which run when it does, as if they were inside it."""
    links = [link.inner_opt, *behind]

    def update(updates, states, params=None, **extra_args):
        updates, new_states = _through(links, states, updates, params, extra_args)
        return updates, tuple(new_states)

    together = link.around(GradientTransformationExtraArgs(link.inner_opt.init, update))
    own = states[0]
    checks.state("MultiSteps", own, MultiStepsState)
    inside = own._replace(inner_opt_state=(own.inner_opt_state, *states[1:]))
    updates, inside = together.update(updates, inside, params, **extra_args)
    inner, *rest = inside.inner_opt_state
    return updates, [inside._replace(inner_opt_state=inner), *rest]


def _check_length(links: int, state: State) -> None:
    has_parts = isinstance(state, tuple | list) and not hasattr(state, "_fields")
    if not has_parts or len(state) != links:
        given = f"a state of {len(state)} parts" if has_parts else f"a {type(state).__name__}"
        raise ValueError(
            f"chain: {links} transformations were given {given}; "
            "the state must come from the `init` of the same chain."
        )
