"""Parameters that are never negative: an update stops at zero."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxopt_course.core import EmptyState, GradientTransformationExtraArgs

from ._stateless import beside_params


NonNegativeParamsState = EmptyState


def keep_params_nonnegative() -> GradientTransformationExtraArgs:
    """Shorten updates that would make a parameter negative: u <- max(u, -w).

    It must be the last link. A parameter that is negative already is brought to zero.

    Raises:
        ValueError: from ``update``, without ``params``.

    Examples:
        >>> import jax.numpy as jnp
        >>> tx, params = keep_params_nonnegative(), jnp.array([0.5, 2.0])
        >>> tx.update(jnp.array([-1.0, -1.0]), tx.init(params), params)[0].tolist()
        [-0.5, -1.0]
    """

    def kept(u: Array, p: Array) -> Array:
        u, p = jnp.asarray(u), jnp.asarray(p)
        dtype = np.promote_types(u.dtype, p.dtype)
        wide, to_zero = p.astype(dtype), (-p).astype(u.dtype)
        if u.dtype != dtype:  # -p was rounded, perhaps to beyond zero
            nearer = jnp.nextafter(jax.lax.stop_gradient(to_zero), jnp.full_like(u, jnp.inf))
            to_zero = jnp.where(wide + to_zero.astype(dtype) < 0, nearer, to_zero)
        return jnp.where(wide + u.astype(dtype) < 0, to_zero, u)

    return beside_params("keep_params_nonnegative", kept)
