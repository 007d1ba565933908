"""The step itself: parameters plus updates."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxopt_course.core import Params, Updates, checks, numerics


def apply_updates(params: Params, updates: Updates) -> Params:
    """``params + updates``, added in float32 or wider, returned in the params' dtypes.

    Args:
        params: the parameters.
        updates: what a transformation returned: same structure and shapes. A leaf that is
            None leaves its parameter as it is.

    Returns:
        The new parameters.

    Raises:
        ValueError: if a shape differs, which broadcasting would hide, or the structure.

    Examples:
        >>> import jax.numpy as jnp
        >>> apply_updates({"w": jnp.array(1.0)}, {"w": jnp.array(-0.25)})["w"].item()
        0.75
    """
    is_none = lambda x: x is None
    try:
        kept = jax.tree.map(lambda u, p: None if u is None else p, updates, params, is_leaf=is_none)
    except ValueError:
        kept = params  # of another structure: the check below says where
    checks.like("apply_updates", "update", updates, kept)

    def moved(u: Any, p: Any) -> Array | None:
        if u is None or p is None or jnp.result_type(u) == jax.dtypes.float0:
            return p  # float0 is what an integer has for a gradient
        dtype = jnp.result_type(p)
        wide = np.promote_types(numerics.wide_dtype(dtype), numerics.wide_dtype(jnp.result_type(u)))
        return (jnp.asarray(p, wide) + jnp.asarray(u, wide)).astype(dtype)

    return jax.tree.map(moved, updates, params, is_leaf=is_none)
