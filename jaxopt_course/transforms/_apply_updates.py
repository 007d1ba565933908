"""Adding updates to parameters."""

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
        updates: what a transformation returned, with the same structure and shapes. A leaf that is
            None leaves its parameter as it is.

    Raises:
        ValueError: if the structure or a shape differs, which broadcasting would hide.
    """
    is_none = lambda x: x is None
    try:
        kept = jax.tree.map(lambda u, p: None if u is None else p, updates, params, is_leaf=is_none)
    except ValueError:
        kept = params  # their structures differ: the check below reports where
    checks.like("apply_updates", "update", updates, kept)

    def moved(u: Any, p: Any) -> Array | None:
        if u is None or p is None or jnp.result_type(u) == jax.dtypes.float0:
            return p  # float0 is the gradient dtype of integers
        dtype = jnp.result_type(p)
        wide = np.promote_types(numerics.wide_dtype(dtype), numerics.wide_dtype(jnp.result_type(u)))
        return (jnp.asarray(p, wide) + jnp.asarray(u, wide)).astype(dtype)

    return jax.tree.map(moved, updates, params, is_leaf=is_none)
