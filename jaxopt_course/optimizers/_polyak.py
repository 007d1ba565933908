"""Polyak's step size: as long a step as the loss still has to fall.

With the loss f_t, its gradient g_t, a guess f_min of its least value, and a scaling s_t,

    w <- w - s_t min((f_t - f_min) / (|g_t|^2 + eps), longest) g_t

The variant sps+ takes no step uphill where the loss is below the guess.

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

from ._sgd import sgd


# Below it a squared gradient norm is rounding, and so is the loss above its least value.
SMALLEST = float(jnp.finfo(jnp.float64).eps)


def scale_by_polyak(
    f_min: ScalarLike = 0.0,
    max_learning_rate: ScalarLike = 1.0,
    eps: ScalarLike = 0.0,
    variant: str = "sps",
) -> GradientTransformationExtraArgs:
    """Multiply the gradient by Polyak's step size.

    Args:
        f_min: the least value of the loss, or a lower bound.
        max_learning_rate: the longest step size, in [0, inf].
        eps: added to the squared norm, in [0, inf).
        variant: ``"sps"``, or ``"sps+"``, in which no step size is negative.

    Returns:
        A transformation whose updates point uphill; its ``update`` needs ``value``, the loss.

    Raises:
        ValueError: if a number lies outside its range, or the variant is unknown.
        TypeError: from ``update``, without the loss.
    """
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
        # The step size times |g|, and g / |g|: |g|^2 may be infinite where their product is not.
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
    """Gradient descent with Polyak's step size, as a chain with :func:`scale_by_polyak`.

    Args:
        max_learning_rate: the longest step size, in [0, inf].
        scaling: s_t, in [0, inf), or a schedule of the step count. It multiplies the step,
            as the formula says; in optax it divides it, for there the norm is taken after it.
        f_min: the least value of the loss, or a lower bound.
        eps: added to the squared norm, in [0, inf).
        variant: ``"sps"``, or ``"sps+"``, in which no step size is negative.

    Returns:
        A transformation whose updates are to be added to the params; its ``update`` needs
        ``value``, the loss.

    Raises:
        ValueError: if a number lies outside its range, or the variant is unknown.

    Examples:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> params, tx = jnp.array([3.0, -2.0]), polyak_sgd()
        >>> state, update = tx.init(params), jax.jit(tx.update)
        >>> for _ in range(20):
        ...     loss = jnp.sum(params**2)
        ...     updates, state = update(2 * params, state, params, value=loss)
        ...     params = params + updates
        >>> bool(jnp.linalg.norm(params) < 1e-5)
        True
    """
    checks.learning_rate("polyak_sgd", scaling, "scaling")
    return chain(
        scale_by_polyak(f_min, max_learning_rate, eps, variant),
        sgd(scaling),
    )
