"""Constraints: the nearest point of a set, argmin over y of |y - x|^2 subject to y in the set.

Those of one array are proximal operators without a strength; ``project_l2_constraint``, the
course's, takes all parameters together. optax has further projections.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Real, ScalarLike

from jaxopt_course.core import Params, checks, global_norm, numerics, shrink_to, tree

from ._proximal import check_entries


def prox_box(
    x: Float[Array, "*shape"],
    lower: ScalarLike | Real[Array, "*shape"] = 0.0,
    upper: ScalarLike | Real[Array, "*shape"] = 1.0,
    scaling: Any = 1.0,
) -> Float[Array, "*shape"]:
    """Clipping: argmin over y of |y - x|^2 subject to lower <= y <= upper.

    Args:
        x: the point.
        lower: a number or one for each entry; -inf for none.
        upper: likewise, inf for none; at least ``lower``.
        scaling: of no effect: a constraint has no strength, and holds in every diagonal metric.

    Raises:
        ValueError: if a bound is NaN or has another shape, or ``lower`` exceeds ``upper``.

    Examples:
        >>> import jax.numpy as jnp
        >>> prox_box(jnp.array([3.0, -0.5, 0.25]), lower=0.0, upper=1.0).tolist()
        [1.0, 0.0, 0.25]
    """
    checks.array("prox_box", "x", x)
    check_entries("prox_box", "lower", lower, "[-inf, inf]", x)
    check_entries("prox_box", "upper", upper, "[-inf, inf]", x)
    if not (
        checks.is_traced(lower) or checks.is_traced(upper) or np.all(np.less_equal(lower, upper))
    ):
        raise ValueError(
            f"prox_box: `lower` must lie in [-inf, upper], got {lower!r} and upper = {upper!r}."
        )
    return jnp.clip(x, jnp.asarray(lower, x.dtype), jnp.asarray(upper, x.dtype))


def prox_simplex(
    x: Float[Array, "*shape"], total: ScalarLike = 1.0, scaling: ScalarLike = 1.0
) -> Float[Array, "*shape"]:
    """Projection onto a simplex: argmin of |y - x|^2 subject to y >= 0 and sum y = total.

    Args:
        x: the point, all its entries taken together.
        total: what they sum up to, in (0, inf).
        scaling: of no effect, for a constraint has no strength; one number, for the projection
            would be another in another metric.

    Raises:
        ValueError: if ``total`` is not positive.

    Examples:
        >>> import jax.numpy as jnp
        >>> prox_simplex(jnp.array([1.0, 0.75, -2.0])).tolist()
        [0.625, 0.375, 0.0]

    Reference: Held, Wolfe & Crowder, "Validation of subgradient optimization", 1974.
    """
    checks.array("prox_simplex", "x", x)
    checks.number("prox_simplex", "total", total, "(0, inf)")
    checks.number("prox_simplex", "scaling", scaling, "[0, inf)")
    wide = tree.widened(x)
    with jax.numpy_dtype_promotion("standard"):  # optax divides a float by integers
        point = optax.projections.projection_simplex(wide, jnp.asarray(total, wide.dtype))
    return point.astype(x.dtype)


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
        >>> project_l2_constraint(jnp.array([0.0, 8.0]), limit=4.0).tolist()
        [0.0, 2.0]
    """
    checks.number("project_l2_constraint", "limit", limit, "[0, inf)")
    norm = global_norm(params)
    radius = numerics.safe_sqrt(jnp.asarray(limit, norm.dtype))
    return shrink_to(params, norm, radius)
