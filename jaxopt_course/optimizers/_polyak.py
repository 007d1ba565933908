"""Polyak's step size: proportional to the gap between the loss and its minimum.

With the loss f_t, its gradient g_t, an estimate f_min of its minimum, and a scaling s_t,

    w <- w - s_t min((f_t - f_min) / (|g_t|^2 + eps), max_learning_rate) g_t

The variant sps+ replaces a negative gap by 0.

References: Polyak, "Introduction to Optimization", 1987, section 5.3; Loizou et al., "Stochastic
Polyak step-size for SGD", 2021, https://arxiv.org/abs/2002.10542, equation SPS_max; Garrigos et
al., "Function value learning", 2023, https://arxiv.org/abs/2307.14528, for sps+.
"""

import jax.numpy as jnp
from jaxtyping import ScalarLike

from jaxopt_course.core import (
    EmptyState,
    GradientTransformationExtraArgs,
    ScalarOrSchedule,
    checks,
    global_norm,
    tree,
)
from jaxopt_course.transforms import chain

from ._momentum import sgd


# A smaller squared gradient norm is rounding error, and so is the gap of the loss.
SMALLEST = float(jnp.finfo(jnp.float64).eps)


def scale_by_polyak(
    f_min: ScalarLike = 0.0,
    max_learning_rate: ScalarLike = 1.0,
    eps: ScalarLike = 0.0,
    variant: str = "sps",
) -> GradientTransformationExtraArgs:
    """Multiply the gradient by Polyak's step size. Arguments are those of :func:`polyak_sgd`."""
    checks.number("scale_by_polyak", "f_min", f_min)
    checks.number("scale_by_polyak", "max_learning_rate", max_learning_rate, "[0, inf]")
    checks.number("scale_by_polyak", "eps", eps, "[0, inf)")
    checks.choice("scale_by_polyak", "variant", variant, ("sps", "sps+"))

    def init(params):
        return EmptyState()

    def update(updates, state, params=None, *, value=None, **extra_args):
        checks.empty_state("scale_by_polyak", state)
        if value is None:
            raise TypeError(
                "scale_by_polyak reads the loss: call `update(updates, state, params, value=loss)`."
            )
        if params is not None:
            checks.like("scale_by_polyak", "gradient", updates, params)
        norm = global_norm(updates)
        loss, least, longest, more = (
            jnp.asarray(x, norm.dtype) for x in (value, f_min, max_learning_rate, eps)
        )
        gap = loss - least if variant == "sps" else jnp.maximum(loss - least, 0)
        moves = (norm > 0) & (jnp.square(norm) + more > SMALLEST)
        divisor = jnp.where(moves, norm, 1)
        # The step size times |g|, and g / |g|: |g|^2 may overflow where their product does not.
        length = jnp.minimum(gap / (divisor + more / divisor), longest * divisor)
        steps = tree.scale(tree.divide(updates, divisor), jnp.where(moves, length, 0))
        return tree.cast_like(steps, updates), state

    return GradientTransformationExtraArgs(init, update)


def polyak_sgd(
    max_learning_rate: ScalarLike = 1.0,
    scaling: ScalarOrSchedule = 1.0,
    f_min: ScalarLike = 0.0,
    eps: ScalarLike = 0.0,
    variant: str = "sps",
) -> GradientTransformationExtraArgs:
    """Gradient descent with Polyak's step size; ``update`` needs ``value``, the loss.

    Args:
        max_learning_rate: largest step size, in [0, inf].
        scaling: s_t, in [0, inf), or a schedule of the step count. It multiplies the step. In optax
            it divides it, because there the norm is taken after the scaling.
        f_min: minimum of the loss, or a lower bound.
        eps: added to the squared norm, in [0, inf).
        variant: ``"sps"``, or ``"sps+"``, in which no step size is negative.

    Examples:
        >>> tx, params = polyak_sgd(), jnp.array([3.0, -2.0])
        >>> updates, state = tx.update(2 * params, tx.init(params), value=jnp.sum(params**2))
    """
    checks.learning_rate("polyak_sgd", scaling, "scaling")
    return chain(scale_by_polyak(f_min, max_learning_rate, eps, variant), sgd(scaling))
