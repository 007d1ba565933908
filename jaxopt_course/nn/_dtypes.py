"""One dtype for the arrays of a layer, by Flax's rule, also where jax's own promotion is strict."""

from typing import Any

import jax
from flax.linen import dtypes


def promote_dtype(*arrays: Any, dtype: Any = None, inexact: bool = True) -> list[Any]:
    """``arrays`` in ``dtype``, or else in the dtype that they promote to; None stays None.

    Flax asks jax which dtype that is, and jax does not answer in its strict mode.
    """
    with jax.numpy_dtype_promotion("standard"):
        return dtypes.promote_dtype(*arrays, dtype=dtype, inexact=inexact)
