"""Weight decay and penalties: their gradients, added to the updates.

What follows in the chain sees g + grad R(w), the gradient of the penalized loss. Where a penalty
has a kink, one of its subgradients is added. Training with it makes entries small, but rarely
exactly zero; ``proximal`` makes them zero.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxopt_course.core import (
    NO_STEPS,
    GradientTransformationExtraArgs,
    Mask,
    Params,
    ScalarOrSchedule,
    Updates,
    checks,
    numerics,
    tree,
)
from jaxopt_course.regularizers import penalty, weights_only

from ._masked import masked
from ._stateless import of_floats


class AddDecayedWeightsState(NamedTuple):
    """State of weight decay. ``step``: number of updates, int32[], read by a scheduled decay."""

    step: Int[Array, ""] = NO_STEPS


def add_decayed_weights(
    weight_decay: ScalarOrSchedule = 0.0,
    mask: Mask | None = None,
) -> GradientTransformationExtraArgs:
    """Add ``weight_decay`` times the parameters to the updates: u_t = g_t + d_t w_t.

    Before a preconditioner this is the gradient of an L2 penalty d/2 |w|^2 (coupled decay). After
    it, it is the decay of AdamW (decoupled): w <- (1 - a d) w - a u. For plain gradient descent
    both are the same. ``update`` needs the parameters.

    Args:
        weight_decay: d_t, a number in [0, inf), or a schedule of the step count (from 0).
        mask: which leaves decay: a tree of bools shaped like (a prefix of) the params, or a
            function of the params that returns one. All by default.

    Reference: Loshchilov & Hutter, "Decoupled Weight Decay Regularization", 2019,
    https://arxiv.org/abs/1711.05101.

    Examples:
        >>> tx, params = add_decayed_weights(0.1), jnp.array(2.0)
        >>> round(float(tx.update(jnp.array(1.0), tx.init(params), params)[0]), 3)
        1.2
    """
    owner, kept = "add_decayed_weights", lambda params, updates: params
    return added(owner, "weight_decay", weight_decay, AddDecayedWeightsState, kept, mask)


class AddL1State(NamedTuple):
    """State of :func:`add_l1`. ``step``: number of updates, int32[], for a scheduled strength."""

    step: Int[Array, ""]


def add_l1(
    strength: ScalarOrSchedule,
    mask: Mask | None = weights_only,
) -> GradientTransformationExtraArgs:
    """Add ``strength`` times the signs of the parameters: u_t = g_t + s_t sgn(w_t), sgn(0) = 0.

    Before gradient descent this is the subgradient method for the loss plus s sum |w|. With a mean
    loss, ``strength`` is the course's lambda / N. ``update`` needs the parameters.

    Args:
        strength: s_t, a number in [0, inf), or a schedule of the step count (from 0).
        mask: which leaves are penalized, as in :func:`add_decayed_weights`; None for all. By
            default biases and the parameters of normalizations are left out.

    Examples:
        >>> tx, params = add_l1(0.5), jnp.array([3.0, 0.0, -1.0])
        >>> tx.update(jnp.ones(3), tx.init(params), params)[0].tolist()
        [1.5, 1.0, 0.5]
    """
    signs = lambda params, updates: jax.tree.map(jnp.sign, tree.widened(params))
    return added("add_l1", "strength", strength, AddL1State, signs, mask)


def added(
    owner: str,
    name: str,
    strength: ScalarOrSchedule,
    new_state: type,
    gradient: Callable[[Params, Updates], Updates],
    mask: Mask | None,
) -> GradientTransformationExtraArgs:
    """Add ``strength``, the argument ``name``, times ``gradient(params, updates)``."""
    checks.learning_rate(owner, strength, name)

    def init(params):
        return new_state(step=jnp.zeros((), jnp.int32))

    def update(updates, state, params=None, **extra_args):
        checks.state(owner, state, new_state)
        checks.params(owner, params, updates)
        now = numerics.at_count(strength, state.step)
        total = tree.running_sum(gradient(params, updates), updates, now)
        new = new_state(step=numerics.safe_increment(state.step))
        return tree.cast_like(total, updates), new

    whole = GradientTransformationExtraArgs(init, update)
    return whole if mask is None else masked(whole, mask)


def add_penalty(
    fn: Callable[[Array], Any],
    where: Mask = weights_only,
) -> GradientTransformationExtraArgs:
    """Add the gradient of ``penalty(params, fn, where)`` to the updates.

    Args:
        fn: a penalty of one array: array -> number, differentiable by ``jax.grad``.
        where: which leaves are penalized, and how strongly: as ``mask`` of :func:`add_l1`, with
            bools or numbers in [0, inf).

    Examples:
        >>> from jaxopt_course.regularizers import l1_penalty
        >>> tx, params = add_penalty(l1_penalty, where=0.5), jnp.array([2.0, 0.0])
        >>> tx.update(params, tx.init(params), params)[0].tolist()
        [2.5, 0.0]
    """

    def added(updates: Updates, params: Params | None) -> Updates:
        checks.params("add_penalty", params, updates)
        slopes = jax.grad(lambda p: penalty(p, fn, where))(tree.widened(params))
        ascent = jax.tree.map(jnp.conj, slopes)  # the direction of ascent of complex parameters
        return tree.cast_like(tree.running_sum(ascent, updates, 1.0), updates)

    return of_floats(added)
