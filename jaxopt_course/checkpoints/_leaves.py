"""The arrays of a checkpoint: how they are described, verified and restored.

In a run of one process all arrays pass through the host. An array that is spread over several
processes stays on its devices; it is gathered only to compute its digest, one array at a time.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from jaxopt_course.core import is_key, on_host, sha256

from ._manifest import LeafRecord


ARRAYS = (jax.Array, np.ndarray, np.generic)


def named_leaves(owner: str, tree: PyTree, kinds: tuple[Any, ...] = ARRAYS) -> dict[str, Any]:
    """The leaves of ``tree``, which are of these ``kinds``, under their paths.

    Raises:
        TypeError: if a leaf is not an array, but a Python number for instance.
        ValueError: if two leaves have the same path.
    """
    leaves: dict[str, Any] = {}
    for keys, leaf in jax.tree.leaves_with_path(tree):
        path = jax.tree_util.keystr(keys)
        held = (np.number, np.bool_, jax.dtypes.prng_key)
        if not isinstance(leaf, kinds) or not any(jnp.issubdtype(leaf.dtype, h) for h in held):
            raise TypeError(
                f"{owner}: the leaf at {path or 'the root'} must be an array of numbers, bools or "
                f"typed keys, got {leaf!r}."
            )
        if path in leaves:
            raise ValueError(f"{owner}: two leaves have the path {path}.")
        leaves[path] = leaf
    return leaves


def differences(saved: Mapping[str, Any], wanted: Mapping[str, Any]) -> str | None:
    """How two trees, given by path, differ in paths, dtypes and shapes; None if they are equal.

    At most three differences are listed.
    """
    found = []
    for path in [*wanted, *(path for path in saved if path not in wanted)]:
        if path not in saved:
            what = "missing"
        elif path not in wanted:
            what = "unexpected"
        else:
            was, now = (f"{x.dtype}{tuple(x.shape)}" for x in (saved[path], wanted[path]))
            if was == now:
                continue
            what = f"{was} saved, {now} wanted"
        found.append(f"{path or 'the root'}: {what}")
    more = f"; ... and {len(found) - 3} more" if len(found) > 3 else ""
    return "; ".join(found[:3]) + more if found else None


def record_leaf(path: str, leaf: Any) -> tuple[LeafRecord, Any]:
    """The manifest's record of ``leaf``, and the array that is saved for it."""
    generator = str(jax.random.key_impl(leaf)) if is_key(leaf) else None
    data = jax.random.key_data(leaf) if generator else leaf
    whole = native(data)
    dtype = str(leaf.dtype if generator else whole.dtype)
    record = LeafRecord(path, dtype, tuple(leaf.shape), sha256(whole), generator)
    return record, data if _is_spread(data) else whole


def is_sound(record: LeafRecord, data: Any) -> bool:
    """Whether ``data`` is bitwise identical to what was saved."""
    whole = native(data)
    if record.key is None and (str(whole.dtype), whole.shape) != (record.dtype, record.shape):
        return False
    return whole.shape[: len(record.shape)] == record.shape and sha256(whole) == record.sha256


def leaf_of(record: LeafRecord, data: Any) -> Any:
    """The leaf whose saved array is ``data``; arrays without entries are not saved."""
    if record.key is not None:
        if record.is_empty:
            return jax.random.split(jax.random.key(0, impl=record.key), record.shape)
        return jax.random.wrap_key_data(jnp.asarray(data), impl=record.key)
    return np.zeros(record.shape, jnp.dtype(record.dtype)) if record.is_empty else data


def restore_args(like: Any) -> Any:
    """Orbax's arguments to read the array that becomes a leaf like ``like``."""
    from orbax.checkpoint import ArrayRestoreArgs, RestoreArgs

    sharding = _sharding_of(like)
    if sharding is not None and not sharding.is_fully_addressable:
        return ArrayRestoreArgs(sharding=sharding)
    return RestoreArgs(restore_type=np.ndarray)


def placed(leaf: Any, like: Any) -> Any:
    """``leaf`` placed like ``like``: on the host, on its devices, or on the default device."""
    if isinstance(like, np.ndarray | np.generic):
        return leaf
    sharding = _sharding_of(like)
    return jnp.asarray(leaf) if sharding is None else jax.device_put(leaf, sharding)


def _sharding_of(like: Any) -> jax.sharding.Sharding | None:
    """The sharding that was chosen for ``like``; None if none was.

    An uncommitted array was not placed by choice. If the restored one were committed to the same
    device, every program that takes it would compile again.
    """
    return getattr(like, "sharding", None) if getattr(like, "committed", True) else None


def _is_spread(data: Any) -> bool:
    return isinstance(data, jax.Array) and not data.is_fully_addressable


def native(data: Any) -> np.ndarray:
    """All of ``data`` on the host, in native byte order."""
    array = np.asarray(on_host(data))
    return array.astype(array.dtype.newbyteorder("="), copy=False)
