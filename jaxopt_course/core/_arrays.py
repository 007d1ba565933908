"""Arrays on the host and on devices: typed keys, placement, transfer, digests."""

import hashlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Sharding
from jaxtyping import Array, Key, PyTree

from . import checks


def is_key(x: Any) -> bool:
    """Whether ``x`` is an array of typed PRNG keys."""
    return jnp.issubdtype(getattr(x, "dtype", float), jax.dtypes.prng_key)


def own_key(key: jax.Array | int) -> Key[Array, ""]:
    """A typed key for a state: a copy, so that donating the state keeps the caller's key."""
    if is_key(key):
        return jax.random.clone(key)
    is_seed = isinstance(key, int | np.integer) or jnp.issubdtype(
        getattr(key, "dtype", object), jnp.integer
    )
    if not is_seed or isinstance(key, bool) or jnp.shape(key) != ():
        raise TypeError(
            f"`key` must be a typed key, or an int as its seed, got {checks.shown(key)}."
        )
    try:
        return jax.random.key(key)
    except OverflowError:
        raise ValueError(f"`key` must be a seed of 64 bits, got {checks.shown(key)}.") from None


def batch_parts(item: Any) -> tuple[PyTree, PyTree, Any] | None:
    """Inputs, targets and weights of one batch of a stream, or None if it is not a batch.

    A tuple or list holds (inputs, targets) or (inputs, targets, weights), and a dict inputs without
    targets. Missing parts are None. An array alone is not a batch: it may be a row.

    Examples:
        >>> batch_parts(([1.0, 2.0], [0, 1])), batch_parts(np.ones(2))
        (([1.0, 2.0], [0, 1], None), None)
    """
    if isinstance(item, Mapping):
        return item, None, None
    if not isinstance(item, tuple | list) or len(item) not in (2, 3):
        return None
    return item[0], item[1], item[2] if len(item) == 3 else None


def is_inputs(data: Any) -> bool:
    """Whether ``data`` is an array or a dict, which are inputs without targets.

    Examples:
        >>> is_inputs(np.ones(2)), is_inputs((np.ones(2), np.ones(2)))
        (True, False)
    """
    return isinstance(data, jax.Array | np.ndarray | Mapping)


def place(tree: PyTree, sharding: Sharding | None) -> PyTree:
    """Arrays or typed keys, whose values every process has, placed as ``sharding`` says.

    None places them on the default device. An array that already lies on the devices of several
    processes is returned as it is.
    """

    def put(x: Any) -> Any:
        if sharding is None:
            return jnp.asarray(x)
        if is_key(x):
            return jax.random.wrap_key_data(
                put(jax.random.key_data(x)), impl=jax.random.key_impl(x)
            )
        if isinstance(x, jax.Array) and not x.is_fully_addressable:
            return x
        values = np.asarray(x)
        values = values.astype(jax.dtypes.canonicalize_dtype(values.dtype), copy=False)
        return jax.make_array_from_callback(values.shape, sharding, values.__getitem__)

    return jax.tree.map(put, tree)


def on_host(tree: PyTree) -> PyTree:
    """The whole arrays as NumPy arrays, in every process."""

    def whole(x: Any) -> Any:
        if getattr(x, "is_fully_addressable", True):
            return x
        from jax.experimental import multihost_utils

        return multihost_utils.process_allgather(x, tiled=True)

    return jax.device_get(jax.tree.map(whole, tree))


def sha256(*parts: str | bytes | np.ndarray) -> str:
    """The SHA-256 digest of texts, bytes and arrays (their bytes in C order), concatenated."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(np.asarray(part, order="C").reshape(-1).view(np.uint8).data)
        else:
            digest.update(part.encode() if isinstance(part, str) else part)
    return digest.hexdigest()
