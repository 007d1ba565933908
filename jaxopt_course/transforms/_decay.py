"""Kinds of decoupled weight decay beside :func:`add_decayed_weights`.

With the update u_t (subtracted from the weights), learning rate a_t and decay d_t,

    cautious       w <- w - a_t (u_t + d_t [u_t w >= 0] w)      for each entry
    corrected      w <- w - a_t (u_t + d_t (a_t / a_max) w)     decay tied to the squared rate
    independent    w <- w - a_t u_t - d_t w                     decay without the learning rate

Cautious decay shrinks an entry only while the update does too, so that it leaves the stationary
points of the loss as they are. With the corrected decay the ratio of gradient norm to weight norm
of a normalized layer has the same steady state at every learning rate; with the usual decay it
grows as the rate decreases. An independent decay need not be tuned again with the learning rate.

References: Chen et al., "Cautious Weight Decay", 2025, https://arxiv.org/abs/2510.12402,
algorithm 1; Defazio, "Why Gradients Rapidly Increase Near the End of Training", 2025,
https://arxiv.org/abs/2506.02285 (AdamC); Loshchilov & Hutter, "Decoupled Weight Decay
Regularization", 2019, https://arxiv.org/abs/1711.05101, and Wortsman et al., "Small-scale proxies
for large-scale Transformer training instabilities", 2023, https://arxiv.org/abs/2309.14322,
section 3.2, for the independent decay.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, ScalarLike

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    Mask,
    Params,
    ScalarOrSchedule,
    Updates,
    checks,
    numerics,
    tree,
)

from ._cautious import opposed
from ._penalty import AddDecayedWeightsState, added


def cautious_weight_decay(
    weight_decay: ScalarOrSchedule, mask: Mask | None = None
) -> GradientTransformationExtraArgs:
    """Decay only the entries that the update shrinks too: u_t + d_t [u_t w_t >= 0] w_t.

    It takes the place of :func:`add_decayed_weights` behind a preconditioner and in front of the
    learning rate. Where an update is 0 the entry decays. ``update`` needs the parameters.

    Args:
        weight_decay: d_t, a number in [0, inf), or a schedule of the step count (from 0).
        mask: which leaves decay, as in :func:`add_decayed_weights`; all by default.

    Examples:
        >>> tx, params = cautious_weight_decay(0.5), jnp.array([2.0, 2.0])
        >>> tx.update(jnp.array([1.0, -1.0]), tx.init(params), params)[0].tolist()
        [2.0, -1.0]
    """

    def shrunk(params: Params, updates: Updates) -> Params:
        return jax.tree.map(
            lambda w, u: jnp.where(opposed(u, w), 0, w), tree.widened(params), updates
        )

    owner = "cautious_weight_decay"
    return added(owner, "weight_decay", weight_decay, AddDecayedWeightsState, shrunk, mask)


def corrected_weight_decay(
    weight_decay: ScalarOrSchedule,
    learning_rate: ScalarOrSchedule,
    peak_learning_rate: ScalarLike,
    mask: Mask | None = None,
) -> GradientTransformationExtraArgs:
    """Decay in proportion to the squared learning rate: u_t + d_t (a_t / a_max) w_t.

    It takes the place of :func:`add_decayed_weights` in front of ``learning_rate``. Its author
    uses it for layers that a normalization follows, and the usual decay for the others; ``mask``
    selects them. ``update`` needs the parameters.

    Args:
        weight_decay: d_t, a number in [0, inf), or a schedule of the step count (from 0).
        learning_rate: a_t, the learning rate of the optimizer, in [0, inf), or a schedule.
        peak_learning_rate: a_max, the largest learning rate, in (0, inf).
        mask: which leaves decay, as in :func:`add_decayed_weights`; all by default.

    Examples:
        >>> from jaxopt_course.schedules import linear_schedule
        >>> rate, params = linear_schedule(0.125, 0.0, 2), jnp.array(4.0)
        >>> tx = corrected_weight_decay(0.5, rate, 0.125)
        >>> updates, state = tx.update(jnp.array(0.0), tx.init(params), params)
        >>> float(updates), float(tx.update(jnp.array(0.0), state, params)[0])
        (2.0, 1.0)
    """
    owner = "corrected_weight_decay"
    checks.learning_rate(owner, weight_decay, "weight_decay")
    checks.learning_rate(owner, learning_rate)
    checks.number(owner, "peak_learning_rate", peak_learning_rate, "(0, inf)")

    def strength(decay: ScalarLike, rate: ScalarLike) -> Float[Array, ""]:
        share = numerics.as_float(rate) / numerics.as_float(peak_learning_rate)
        return numerics.as_float(decay) * share

    decay = numerics.of_rates(strength, weight_decay, learning_rate)
    kept = lambda params, updates: params
    return added(owner, "weight_decay", decay, AddDecayedWeightsState, kept, mask)


def independent_weight_decay(
    weight_decay: ScalarOrSchedule, mask: Mask | None = None
) -> GradientTransformationExtraArgs:
    """Decay that no learning rate multiplies, behind the learning rate: u_t - d_t w_t.

    Here u_t is what is added to the weights, so it belongs at the end of a chain, behind
    ``scale_by_learning_rate`` or a whole optimizer. Give it a schedule that decreases as the
    learning rate does, such as ``lambda t: d * rate(t) / peak``. ``update`` needs the parameters.

    Args:
        weight_decay: d_t, a number in [0, inf), usually far below 1, or a schedule of the step
            count (from 0).
        mask: which leaves decay, as in :func:`add_decayed_weights`; all by default.

    Examples:
        >>> tx, params = independent_weight_decay(0.25), jnp.array(4.0)
        >>> float(tx.update(jnp.array(-2.0), tx.init(params), params)[0])
        -3.0
    """
    owner = "independent_weight_decay"
    negated = lambda params, updates: jax.tree.map(jnp.negative, tree.widened(params))
    return added(owner, "weight_decay", weight_decay, AddDecayedWeightsState, negated, mask)
