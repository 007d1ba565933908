"""NaNs become zeros, and the state tells in which leaves they were."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from jaxopt_course.core import GradientTransformationExtraArgs, checks


class ZeroNansState(NamedTuple):
    """``found_nan``: for each leaf whether the last update of it had a NaN, bool[]."""

    found_nan: PyTree


def zero_nans() -> GradientTransformationExtraArgs:
    """Replace NaNs in the updates by zeros. Infinities stay.

    Examples:
        >>> import jax.numpy as jnp
        >>> tx = zero_nans()
        >>> updates, state = tx.update(jnp.array([jnp.nan, 1.0]), tx.init(jnp.zeros(2)))
        >>> updates.tolist(), bool(state.found_nan)
        ([0.0, 1.0], True)
    """

    def init(params):
        return ZeroNansState(jax.tree.map(lambda p: jnp.zeros((), jnp.bool_), params))

    def update(updates, state, params=None, **extra_args):
        checks.state("zero_nans", state, ZeroNansState)
        found = jax.tree.map(lambda u: jnp.any(jnp.isnan(u)), updates)
        cleaned = jax.tree.map(lambda u: jnp.where(jnp.isnan(u), jnp.zeros_like(u), u), updates)
        return cleaned, ZeroNansState(found)

    return GradientTransformationExtraArgs(init, update)
