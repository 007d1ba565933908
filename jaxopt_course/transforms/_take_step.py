"""One step of an optimizer: updates are added to the parameters, after everything was offered.

Every update is offered the extra arguments

    value       the loss at ``params``
    grad        its gradient, as ``updates``
    value_fn    the loss as a function of the parameters, which line searches evaluate
    weight      the total weight of the batch, by which accumulations weigh it

The questions that a loop asks the states of optimizers stand here too; ``core.states`` explains
them.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    Params,
    State,
    Updates,
    checks,
    numerics,
    states,
    tree,
)

from ._multi_steps import no_value_fn


evaluation_params = states.evaluation_params
lookahead_params = states.lookahead_params
loss_scale = states.loss_scale
packed_params = states.packed_params
packed_state = states.packed_state
unpack = states.unpack


def apply_updates(params: Params, updates: Updates) -> Params:
    """``params + updates``, added in float32 or wider, returned in the params' dtypes.

    Args:
        params: the parameters.
        updates: what a transformation returned, with the same structure and shapes. A leaf that is
            None leaves its parameter as it is.

    Raises:
        ValueError: if the structure or a shape differs, which broadcasting would hide.
    """
    is_none = lambda x: x is None
    try:
        kept = jax.tree.map(lambda u, p: None if u is None else p, updates, params, is_leaf=is_none)
    except ValueError:
        kept = params  # the structures differ: the check below reports where
    checks.like("apply_updates", "update", updates, kept)

    def moved(u: Any, p: Any) -> Array | None:
        if u is None or p is None or jnp.result_type(u) == jax.dtypes.float0:
            return p  # float0 is the gradient dtype of integers
        dtype = jnp.result_type(p)
        wide = np.promote_types(numerics.wide_dtype(dtype), numerics.wide_dtype(jnp.result_type(u)))
        return (jnp.asarray(p, wide) + jnp.asarray(u, wide)).astype(dtype)

    return jax.tree.map(moved, updates, params, is_leaf=is_none)


@dataclasses.dataclass(frozen=True)
class ValueFn:
    """The mean loss of a batch as a function of the parameters.

    loss: ``loss(params) -> f[]``.
    of_last: ``of_last(count, at_most) -> function``, the mean loss over the rows of the last
        ``count`` batches, i32[], of which there are at most ``at_most``, static. None: these
        batches are no longer available.
    """

    loss: Callable[[Params], Array]
    of_last: Callable[[Array, int], Callable[[Params], Array]] | None = None

    def __call__(self, params: Params, weight: Any = None) -> Array:
        """The loss. The line searches of optax pass extra arguments on, by known names only."""
        return self.loss(params)


def take_step(
    optimizer: GradientTransformationExtraArgs,
    params: Params,
    state: State,
    grads: Updates,
    **offers: Any,
) -> tuple[Params, State]:
    """The parameters and the optimizer's state after one update.

    Extra arguments are ``grads`` as ``grad``, and ``offers``: ``value``, ``value_fn`` and
    ``weight``. Without ``weight`` all steps have equal weight.
    """
    updates, state = optimizer.update(grads, state, params, grad=grads, **offers)
    return apply_updates(params, updates), state


def apply_accumulated(
    optimizer: optax.GradientTransformation,
    state: State,
    params: Params,
    *,
    value_fn: Callable[[Params], Any] | None = None,
) -> tuple[Params, State]:
    """Apply the gradients that :class:`MultiSteps` or :func:`apply_every` still holds.

    If the number of batches is not a multiple of k, a training ends in the middle of a group. This
    function makes the update for the batches of that group, on their mean, wherever in chains and
    wrappers they were accumulated. The trainings of this library call it before their last
    evaluation.

    Args:
        optimizer: the transformation.
        state: its state after the last batch.
        params: the parameters after the last batch.
        value_fn: the extra argument of this name. By default it raises when it is called.

    Returns:
        The parameters and the state after the update; both unchanged if nothing is accumulated.

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
    pending = states.is_pending(state)
    if pending is None:
        return params, state
    extended = checks.transformation("apply_accumulated", "optimizer", optimizer)

    def applied() -> tuple[Params, State]:
        has_two_sets = hasattr(params, "fast") and hasattr(params, "slow")  # those of lookahead
        nothing = jax.tree.map(jnp.zeros_like, params.fast if has_two_sets else params)
        if states.loss_scale(state) is not None:  # then gradients are wide
            nothing = tree.widened(nothing)
        zero: Float[Array, ""] = numerics.as_float(0.0)
        moved, new_state = take_step(
            extended,
            params,
            state,
            nothing,
            value=zero,
            value_fn=no_value_fn if value_fn is None else value_fn,
            weight=zero,
            flush="without_gradient",
        )
        return moved, tree.cast_like(new_state, state)

    return jax.lax.cond(pending, applied, lambda: (params, state))
