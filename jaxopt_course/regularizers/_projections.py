"""The hard constraint of the course; optax has the other projections."""

import jax.numpy as jnp
from jaxtyping import ScalarLike

from jaxopt_course.core import Params, check_number, global_norm, safe_divide, safe_sqrt, scale_tree


__all__ = ["project_l2_constraint"]


def project_l2_constraint(params: Params, limit: ScalarLike) -> Params:
    """The nearest parameters whose squares sum up to ``limit`` at most.

    It solves argmin over q of |q - w|^2 subject to |q|^2 <= limit: a projection onto the ball
    of radius sqrt(limit), q = w min(1, sqrt(limit) / |w|).

    Args:
        params: w, all leaves taken together.
        limit: in [0, inf). It may be traced.

    Returns:
        Parameters of the same shapes and dtypes; the norm is taken in float32 or wider.

    Raises:
        ValueError: if ``limit`` is negative or NaN.

    Examples:
        >>> import jax.numpy as jnp
        >>> project_l2_constraint(jnp.array([6.0, 8.0]), limit=25.0).tolist()
        [3.0, 4.0]
    """
    check_number("project_l2_constraint", "limit", limit, "[0, inf)")
    norm = global_norm(params)
    radius = safe_sqrt(jnp.asarray(limit, norm.dtype))
    return scale_tree(params, jnp.where(norm > radius, safe_divide(radius, norm), 1))
