"""Parameters narrower than float32, bfloat16 for instance, and where an update lands on them."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ._apply_updates import apply_updates


def is_narrow(x: Any) -> bool:
    """Whether ``x`` is a real array that float32 holds exactly, and more."""
    dtype = jnp.result_type(x)
    return jnp.issubdtype(dtype, jnp.floating) and jnp.finfo(dtype).bits < 32


def landing(params: Any, update: Any) -> Float[Array, "*shape"]:
    """``params + update`` as :func:`apply_updates` gives it, in float32."""
    return apply_updates(params, update).astype(jnp.float32)


def reaching(
    params: Any, target: Float[Array, "*shape"], dtype: Any, upwards: bool
) -> Float[Array, "*shape"]:
    """The update, in ``dtype``, that lands next to ``target``: not below or not above it.

    What is next to it is rounded from the target; where the update to there is not representable,
    the next one that is goes further away.
    """
    end = jnp.inf if upwards else -jnp.inf
    short = lambda x: (x < target) if upwards else (x > target)
    beside = target.astype(params.dtype)
    beyond = jnp.nextafter(beside, jnp.asarray(end, beside.dtype))
    beside = jnp.where(short(beside.astype(jnp.float32)), beyond, beside)
    update = (beside.astype(jnp.float32) - params.astype(jnp.float32)).astype(dtype)
    further = jnp.nextafter(update, jnp.asarray(end, update.dtype))
    return jnp.where(short(landing(params, update)), further, update)


def two_trees(
    f: Callable[..., tuple[Any, Any]], params: PyTree, *others: PyTree
) -> tuple[PyTree, PyTree]:
    """``jax.tree.map(f, params, *others)`` of a function that gives pairs: their two trees."""
    structure: Any = jax.tree.structure(params)
    pairs = structure.flatten_up_to(jax.tree.map(f, params, *others))
    first, second = (structure.unflatten([pair[n] for pair in pairs]) for n in range(2))
    return first, second
