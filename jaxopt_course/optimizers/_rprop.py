"""Rprop: steps from the signs of gradients alone; each entry has a step length of its own.

With gradients g_t, and s_t the sign of g_t times that of the gradient remembered,

    step_t = clip(eta_plus step_{t-1})    where s_t > 0
             clip(eta_minus step_{t-1})   where s_t < 0; then g_t counts as 0
             step_{t-1}                   where s_t = 0
    w <- w - step_t sign(g_t)

A schedule a_t of learning rates gives the first length, a_0, and multiplies each step by a_t / a_0.

For full-batch gradients: the signs of mini-batch gradients are mostly noise.

Reference: Riedmiller & Braun, "A direct adaptive method for faster backpropagation learning:
the RPROP algorithm", 1993; the variant without weight-backtracking, iRprop-, is from Igel &
Huesken, "Improving the Rprop Learning Algorithm", 2000.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ScalarLike

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    Params,
    ScalarOrSchedule,
    checks,
    numerics,
    tree,
)
from jaxopt_course.transforms import chain, scale_by_learning_rate


class ScaleByRpropState(NamedTuple):
    """What the next step needs from the past.

    step_sizes: the length of each entry's step, shaped like the params, float32 or wider.
    prev_updates: the sign of the last gradient, likewise; 0 after the sign has flipped.
    """

    step_sizes: Params
    prev_updates: Params


def scale_by_rprop(
    learning_rate: ScalarLike,
    eta_minus: ScalarLike = 0.5,
    eta_plus: ScalarLike = 1.2,
    min_step_size: ScalarLike = 1e-6,
    max_step_size: ScalarLike = 50.0,
) -> GradientTransformationExtraArgs:
    """Replace each gradient entry by its sign times the entry's own step length.

    Args:
        learning_rate: the first length of every step, in [0, inf).
        eta_minus: factor of the length where the sign has flipped, in (0, 1).
        eta_plus: factor of the length where the sign persists, in (1, inf).
        min_step_size: the shortest step, in [0, inf).
        max_step_size: the longest step, in [0, inf).

    Returns:
        A transformation whose updates point uphill.

    Raises:
        ValueError: if a number lies outside its range.
    """
    checks.number("scale_by_rprop", "learning_rate", learning_rate, "[0, inf)")
    checks.number("scale_by_rprop", "eta_minus", eta_minus, "(0, 1)")
    checks.number("scale_by_rprop", "eta_plus", eta_plus, "(1, inf)")
    checks.number("scale_by_rprop", "min_step_size", min_step_size, "[0, inf)")
    checks.number("scale_by_rprop", "max_step_size", max_step_size, "[0, inf)")

    def init(params):
        return ScaleByRpropState(
            tree.accumulator_like(params, fill=learning_rate), tree.accumulator_like(params)
        )

    def step_size(agreement: Array, size: Array) -> Array:
        low, high, up, down = (
            jnp.asarray(x, size.dtype) for x in (min_step_size, max_step_size, eta_plus, eta_minus)
        )
        changed = jnp.clip(size * jnp.where(agreement > 0, up, down), low, high)
        return jnp.where(agreement == 0, size, changed)

    def update(updates, state, params=None, **extra_args):
        checks.state("scale_by_rprop", state, ScaleByRpropState)
        checks.like("scale_by_rprop", "gradient", updates, state.step_sizes)
        signs = jax.tree.map(jnp.sign, tree.cast_like(updates, state.prev_updates))
        agreement = jax.tree.map(jnp.multiply, signs, state.prev_updates)
        sizes = jax.tree.map(step_size, agreement, state.step_sizes)
        kept = jax.tree.map(lambda a, s: jnp.where(a < 0, 0, s), agreement, signs)
        steps = jax.tree.map(jnp.multiply, sizes, kept)
        return tree.cast_like(steps, updates), ScaleByRpropState(sizes, kept)

    return GradientTransformationExtraArgs(init, update)


def rprop(
    learning_rate: ScalarOrSchedule,
    eta_minus: ScalarLike = 0.5,
    eta_plus: ScalarLike = 1.2,
    min_step_size: ScalarLike = 1e-6,
    max_step_size: ScalarLike = 50.0,
) -> GradientTransformationExtraArgs:
    """Rprop without weight-backtracking: resilient propagation, for full-batch gradients.

    Args:
        learning_rate: the first length of every step, in [0, inf); or a schedule of the step
            count: its first value, in (0, inf), is the first length, and each step is
            multiplied by its value over the first, while the lengths change by themselves.
        eta_minus: factor of the length where the sign has flipped, in (0, 1).
        eta_plus: factor of the length where the sign persists, in (1, inf).
        min_step_size: the shortest step, in [0, inf).
        max_step_size: the longest step, in [0, inf).

    Returns:
        A transformation whose updates are to be added to the params.

    Raises:
        ValueError: if a number lies outside its range.

    Examples:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> params, tx = jnp.array([3.0, -2.0]), rprop(0.1)
        >>> state, update = tx.init(params), jax.jit(tx.update)
        >>> for _ in range(100):
        ...     updates, state = update(2 * params, state)  # gradient of |params|^2
        ...     params = params + updates
        >>> bool(jnp.linalg.norm(params) < 1e-4)
        True
    """
    checks.learning_rate("rprop", learning_rate)
    first, share = learning_rate, 1.0
    if callable(learning_rate):
        first = numerics.as_float(learning_rate(jnp.zeros((), jnp.int32)))
        checks.number("rprop", "learning_rate(0)", first, "(0, inf)")
        share = lambda count: numerics.safe_divide(numerics.as_float(learning_rate(count)), first)
    return chain(
        scale_by_rprop(first, eta_minus, eta_plus, min_step_size, max_step_size),
        scale_by_learning_rate(share),
    )
