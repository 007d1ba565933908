"""The last step of a training that accumulates gradients: what is left of a group is applied."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxopt_course.core import Params, State, checks, is_pending, numerics, tree

from ._apply_updates import apply_updates
from ._loss_scale import loss_scale
from ._multi_steps import no_value_fn


def apply_accumulated(
    optimizer: optax.GradientTransformation,
    state: State,
    params: Params,
    *,
    value_fn: Callable[[Params], Any] | None = None,
) -> tuple[Params, State]:
    """Apply the gradients that :class:`MultiSteps` or :func:`apply_every` still holds.

    A training whose number of batches is no multiple of k ends in the middle of a group. This
    makes the update of the batches that are there, on their own mean, wherever in chains and
    wrappers they were accumulated. The trainings of this library call it before their last
    evaluation.

    Args:
        optimizer: the transformation that ``state`` belongs to.
        state: its state after the last batch.
        params: the parameters after the last batch.
        value_fn: what ``update`` is offered by this name; None refuses to be called.

    Returns:
        The parameters and the state after the update; both as they are if nothing is accumulated.

    Examples:
        >>> from jaxopt_course.transforms import MultiSteps
        >>> tx = optax.chain(MultiSteps(optax.sgd(1.0), every_k_schedule=4))
        >>> params = jnp.array(0.0)
        >>> state = tx.init(params)
        >>> for gradient in (1.0, 3.0):
        ...     updates, state = tx.update(jnp.array(gradient), state, params)
        >>> params, state = apply_accumulated(tx, state, params)
        >>> float(params)
        -2.0
    """
    pending = is_pending(state)
    if pending is None:
        return params, state
    extended = checks.transformation("apply_accumulated", "optimizer", optimizer)

    def applied() -> tuple[Params, State]:
        has_two_sets = hasattr(params, "fast") and hasattr(params, "slow")  # those of lookahead
        nothing = jax.tree.map(jnp.zeros_like, params.fast if has_two_sets else params)
        if loss_scale(state) is not None:  # then gradients are wide
            nothing = tree.widened(nothing)
        offers: dict[str, Any] = {
            "value": numerics.as_float(0.0),
            "grad": nothing,
            "value_fn": no_value_fn if value_fn is None else value_fn,
            "weight": numerics.as_float(0.0),
            "flush": "without_gradient",
        }
        updates, new_state = extended.update(nothing, state, params, **offers)
        return apply_updates(params, updates), tree.cast_like(new_state, state)

    return jax.lax.cond(pending, applied, lambda: (params, state))
