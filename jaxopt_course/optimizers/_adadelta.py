"""Adadelta: steps in the units of the parameters, from running means of their squares.

With gradients g_t (plus d w_t for a weight decay d) and learning rate a_t,

    s_t = rho s_{t-1} + (1 - rho) g_t^2
    x_t = sqrt(r_{t-1} + eps) / sqrt(s_t + eps) g_t
    r_t = rho r_{t-1} + (1 - rho) x_t^2
    w  <- w - a_t x_t

The paper has no learning rate, so the default is 1. (With optax's default, None, updates are not
negated and the loss increases.)

Reference: Zeiler, "ADADELTA: An Adaptive Learning Rate Method", 2012, algorithm 1,
https://arxiv.org/abs/1212.5701.
"""

from typing import NamedTuple

import jax
from jaxtyping import Array, ScalarLike

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    Mask,
    Params,
    ScalarOrSchedule,
    checks,
    numerics,
    tree,
)
from jaxopt_course.transforms import add_decayed_weights, chain, scale_by_learning_rate


class ScaleByAdaDeltaState(NamedTuple):
    """State of the Adadelta transformation.

    e_g: running mean of squared gradients, shaped like the params, float32 or wider.
    e_x: running mean of squared steps, likewise.
    """

    e_g: Params
    e_x: Params


def scale_by_adadelta(
    rho: ScalarLike = 0.9, eps: ScalarLike = 1e-6
) -> GradientTransformationExtraArgs:
    """Rescale gradients to the units of the params. Arguments are those of :func:`adadelta`."""
    checks.number("scale_by_adadelta", "rho", rho, "[0, 1)")
    checks.number("scale_by_adadelta", "eps", eps, "[0, inf)")

    def init(params):
        return ScaleByAdaDeltaState(*(tree.real_accumulator_like(params) for _ in range(2)))

    def update(updates, state, params=None, **extra_args):
        checks.step("scale_by_adadelta", updates, state, ScaleByAdaDeltaState, "e_g")
        added = numerics.nonzero_in_dtype(eps)

        def rescaled(g: Array, x: Array, s: Array) -> Array:
            ratio = (x + added(x.dtype)) / (s + added(s.dtype))
            return numerics.safe_sqrt(ratio).astype(g.dtype) * g

        e_g = tree.update_moment(updates, state.e_g, rho, 2)
        steps = jax.tree.map(rescaled, tree.widened(updates), state.e_x, e_g)
        e_x = tree.update_moment(steps, state.e_x, rho, 2)
        return tree.cast_like(steps, updates), ScaleByAdaDeltaState(e_g, e_x)

    return GradientTransformationExtraArgs(init, update)


def adadelta(
    learning_rate: ScalarOrSchedule = 1.0,
    rho: ScalarLike = 0.9,
    eps: ScalarLike = 1e-6,
    weight_decay: ScalarOrSchedule = 0.0,
    weight_decay_mask: Mask | None = None,
) -> GradientTransformationExtraArgs:
    """Adadelta, which needs no learning rate, with coupled weight decay.

    Args:
        learning_rate: the learning rate, in [0, inf), or a schedule of the step count; often 1.
        rho: decay rate of both running means, in [0, 1).
        eps: added to both means inside the square roots, in [0, inf). With 0 nothing ever moves.
        weight_decay: coupled weight decay, in [0, inf), or a schedule.
        weight_decay_mask: leaves that decay, as for :func:`adamw`; all by default.

    Examples:
        >>> tx = adadelta()
    """
    return chain(
        add_decayed_weights(weight_decay, weight_decay_mask),
        scale_by_adadelta(rho, eps),
        scale_by_learning_rate(learning_rate),
    )
