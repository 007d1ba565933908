"""Decay along half a period of the cosine.

At count t, with length T, initial value I and exponent p,

    c = (1 + cos(pi min(t, T) / T)) / 2
    value = I (alpha + (1 - alpha) c^p)

Reference: Loshchilov & Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", 2017,
https://arxiv.org/abs/1608.03983.
"""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, ScalarLike

from jaxopt_course.core import Schedule, numerics

from ._progress import check_numbers, remaining, safe_power


def half_cosine(left: Float[Array, "*counts"]) -> Float[Array, "*counts"]:
    """``(1 + cos(pi (1 - left))) / 2``: the cosine way from 1 to 0 for ``left`` from 1 to 0.

    Computed as sin^2(pi left / 2), which loses no digits where it is small.
    """
    return jnp.square(jnp.sin(jnp.pi / 2 * left))


def cosine_decay_schedule(
    init_value: ScalarLike,
    decay_steps: ScalarLike,
    alpha: ScalarLike = 0.0,
    exponent: ScalarLike = 1.0,
) -> Schedule:
    """From ``init_value`` to ``alpha * init_value`` along half a cosine.

    Args:
        init_value: the value at count 0.
        decay_steps: the length of the decay in steps, in [0, inf). With 0 the value is what it
            is after the decay.
        alpha: the end value as a fraction of ``init_value``.
        exponent: the power that the cosine is raised to, in [0, inf). With 0 the value stays
            ``init_value``.

    Returns:
        A function from a count to a value.

    Raises:
        ValueError: if ``decay_steps`` or ``exponent`` is negative, or a number is not finite.

    Examples:
        >>> schedule = cosine_decay_schedule(1.0, decay_steps=10)
        >>> [round(float(schedule(count)), 4) for count in (0, 5, 10)]
        [1.0, 0.5, 0.0]
    """
    owner = "cosine_decay_schedule"
    check_numbers(owner, "(-inf, inf)", init_value=init_value, alpha=alpha)
    check_numbers(owner, "[0, inf)", decay_steps=decay_steps, exponent=exponent)

    def schedule(count: ArrayLike) -> Float[Array, "*counts"]:
        floor = numerics.as_float(alpha)
        shape = safe_power(half_cosine(remaining(count, 0, decay_steps)), exponent)
        return numerics.as_float(init_value) * (floor + (1 - floor) * shape)

    return schedule
