"""The devices that a command shares its work out over."""

import contextlib
import os

import jax
from jax.sharding import AxisType, Mesh

from ._errors import UsageError


FORCED = "--xla_force_host_platform_device_count"  # the older way to have several devices on a CPU


def pop_mesh(devices: int | None, *, most: int | None = None) -> Mesh | None:
    """A mesh of the devices of :func:`take_devices`; None if that is one device."""
    taken = take_devices(devices, most=most)
    if len(taken) == 1:
        return None
    return jax.make_mesh((len(taken),), ("pop",), axis_types=(AxisType.Auto,), devices=taken)


def take_devices(count: int | None, *, most: int | None = None) -> list[jax.Device]:
    """The first ``count`` devices.

    On a CPU the devices are made, one for each core that is used. That is possible only until JAX
    has been initialized in this process; afterwards the existing devices have to do.

    Args:
        count: number of devices. None: all, on a CPU one for each core, but at most ``most``. If
            the environment sets the number of CPU devices, that number stays.
        most: number of devices that the work can keep busy, in [1, inf). None: any number.

    Raises:
        UsageError: if ``count`` is not in [1, number of devices].
    """
    if count is not None:
        _make_cpu_devices(min(max(count, 1), os.cpu_count() or 1))
    elif not _is_number_set():
        cores = _usable_cores()
        _make_cpu_devices(cores if most is None else min(cores, most))
    there = jax.devices()
    if count is None:
        return there[:most]
    if not 1 <= count <= len(there):
        raise UsageError(f"--devices must lie in [1, {len(there)}], got {count}.")
    return there[:count]


def _make_cpu_devices(count: int) -> None:
    with contextlib.suppress(RuntimeError):  # JAX is initialized, and its devices cannot change
        jax.config.update("jax_num_cpu_devices", count)


def _is_number_set() -> bool:
    """Whether the environment sets the number of CPU devices."""
    is_forced = FORCED in os.environ.get("XLA_FLAGS", "")
    return is_forced or getattr(jax.config, "jax_num_cpu_devices", -1) > 0


def _usable_cores() -> int:
    """The number of cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
