"""The devices that a command shares its work out over."""

import contextlib
import os

import jax
from jax.sharding import AxisType, Mesh

from ._errors import UsageError


__all__ = ["pop_mesh", "take_devices"]


def pop_mesh(devices: int | None) -> Mesh | None:
    """A mesh of so many devices, as :func:`take_devices` gives them."""
    taken = take_devices(devices)
    if taken is None:
        return None
    return jax.make_mesh((len(taken),), ("pop",), axis_types=(AxisType.Auto,), devices=taken)


def take_devices(count: int | None) -> list[jax.Device] | None:
    """So many devices; on a CPU they are made, one a core, if none is in use yet. None: of None.

    Raises:
        UsageError: if there are fewer.
    """
    if count is None:
        return None
    cores = os.cpu_count() or 1
    with contextlib.suppress(RuntimeError):  # some are in use: those there are have to do
        jax.config.update("jax_num_cpu_devices", min(max(count, 1), cores))
    there = jax.devices()
    if not 1 <= count <= len(there):
        raise UsageError(f"--devices must lie in [1, {len(there)}], got {count}.")
    return there[:count]
