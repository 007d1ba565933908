"""Weight decay: pull the parameters towards zero."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Int, PyTree

from jaxopt_course.core import (
    NO_STEPS,
    GradientTransformationExtraArgs,
    Params,
    ScalarOrSchedule,
    checks,
    numerics,
    tree,
)

from ._masked import masked


class AddDecayedWeightsState(NamedTuple):
    """``step``: how many updates have been made, int32[]; a scheduled decay reads it."""

    step: Int[Array, ""] = NO_STEPS


def add_decayed_weights(
    weight_decay: ScalarOrSchedule = 0.0,
    mask: PyTree | Callable[[Params], PyTree] | None = None,
) -> GradientTransformationExtraArgs:
    """Add ``weight_decay`` times the parameters to the updates: u_t = g_t + d_t w_t.

    Before a rescaling link this is the gradient of an L2 penalty d/2 |w|^2 (coupled decay);
    after it, the decay of AdamW (decoupled): w <- (1 - a d) w - a u. For plain gradient
    descent the two are one.

    Args:
        weight_decay: d_t, a number in [0, inf), or a schedule of the step count (from 0).
        mask: a tree of bools shaped like (a prefix of) the params, or a function of the
            params that returns one: which leaves decay. All by default.

    Raises:
        ValueError: if the decay is negative or NaN; from ``update``, without ``params``.

    Reference: Loshchilov & Hutter, "Decoupled Weight Decay Regularization", 2019,
    https://arxiv.org/abs/1711.05101.

    Examples:
        >>> import jax.numpy as jnp
        >>> tx = add_decayed_weights(0.1)
        >>> params = jnp.array(2.0)
        >>> updates, _ = tx.update(jnp.array(1.0), tx.init(params), params)
        >>> round(float(updates), 3)
        1.2
    """
    checks.learning_rate("add_decayed_weights", weight_decay, "weight_decay")

    def init(params):
        return AddDecayedWeightsState(step=jnp.zeros((), jnp.int32))

    def update(updates, state, params=None, **extra_args):
        checks.state("add_decayed_weights", state, AddDecayedWeightsState)
        checks.params("add_decayed_weights", params)
        checks.like("add_decayed_weights", "gradient", updates, params)
        decay = numerics.at_count(weight_decay, state.step)
        decayed = tree.cast_like(tree.running_sum(params, updates, decay), updates)
        return decayed, AddDecayedWeightsState(step=numerics.safe_increment(state.step))

    link = GradientTransformationExtraArgs(init, update)
    return link if mask is None else masked(link, mask)
