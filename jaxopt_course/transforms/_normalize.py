"""The direction of the updates without their length."""

import jax.numpy as jnp

from jaxopt_course.core import (
    EmptyState,
    GradientTransformation,
    Params,
    Updates,
    global_norm,
    safe_divide,
    scale_tree,
)

from ._stateless import stateless


__all__ = ["NormalizeState", "normalize"]

NormalizeState = EmptyState


def normalize() -> GradientTransformation:
    """Divide the updates by their joint L2 norm; zeros stay zeros.

    Examples:
        >>> import jax.numpy as jnp
        >>> tx = normalize()
        >>> [round(float(u), 3) for u in tx.update(jnp.array([3.0, 4.0]), tx.init(None))[0]]
        [0.6, 0.8]
    """

    def normalized(updates: Updates, params: Params | None) -> Updates:
        norm = global_norm(updates)
        return scale_tree(updates, safe_divide(jnp.ones_like(norm), norm))

    return stateless(normalized)
