"""The schedule that does not depend on the count."""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, ScalarLike

from jaxopt_course.core import Schedule, numerics

from ._progress import check_numbers


def constant_schedule(value: ScalarLike) -> Schedule:
    """The same value at every count.

    Args:
        value: any number.

    Returns:
        A function from a count to ``value``.

    Raises:
        ValueError: if ``value`` is NaN or infinite.

    Examples:
        >>> float(constant_schedule(0.5)(100))
        0.5
    """
    check_numbers("constant_schedule", "(-inf, inf)", value=value)

    def schedule(count: ArrayLike) -> Float[Array, "*counts"]:
        return jnp.broadcast_to(numerics.as_float(value), jnp.shape(count))

    return schedule
