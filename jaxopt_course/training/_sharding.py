"""The placement of a training's arrays on a mesh of devices: one rule, of shapes alone.

    "replicated"   every device holds the whole array
    "fsdp"         every device holds one slice: along the largest axis that the number of devices
                   divides, the first of several; the whole array if there is no such axis

As the rule looks at shapes only, the moments of an optimizer are placed like their parameters. An
array in which :func:`~jaxopt_course.transforms.packed` has joined leaves that are not split is not
split either.

Reference: Rajbhandari et al., "ZeRO: Memory Optimizations Toward Training Trillion Parameter
Models", 2020, https://arxiv.org/abs/1910.02054: "fsdp" is its stage 3.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from jaxopt_course.core import automatic, check_mesh, checks, on_automatic_mesh, place


_AXIS = "data"
Kind = Literal["replicated", "fsdp"]


def state_shardings(tree: PyTree, mesh: Mesh | AbstractMesh, kind: Kind) -> PyTree:
    """The sharding of each array of a training's state.

    Args:
        tree: tree of arrays or of ``jax.ShapeDtypeStruct``.
        mesh: mesh with an axis "data"; its devices need not exist.
        kind: "replicated" or "fsdp".

    Returns:
        A tree of ``NamedSharding`` for ``jax.jit`` or ``jax.device_put``.

    Raises:
        ValueError: if the mesh has no such axis or the kind is unknown.

    Examples:
        >>> from jax.sharding import AbstractMesh, AxisType
        >>> mesh = AbstractMesh((8,), ("data",), axis_types=(AxisType.Auto,))
        >>> weights = jax.ShapeDtypeStruct((3, 16), float)
        >>> tuple(state_shardings(weights, mesh, "fsdp").spec)
        (None, 'data')
    """
    size = _data_devices("state_shardings", mesh)
    checks.choice("state_shardings", "kind", kind, ("replicated", "fsdp"))

    def of(shape: tuple[int, ...]) -> NamedSharding:
        axis = _split_axis(shape, size) if kind == "fsdp" else None
        if axis is None:
            return NamedSharding(mesh, PartitionSpec())
        return NamedSharding(mesh, PartitionSpec(*[None] * axis, _AXIS))

    is_packed = lambda part: hasattr(part, "placed_by")
    of_part = lambda part: part.placed_by(of) if is_packed(part) else of(part.shape)
    return jax.tree.map(of_part, tree, is_leaf=is_packed)


def split_shapes(mesh: Mesh | AbstractMesh, kind: Kind) -> Callable[[tuple[int, ...]], bool]:
    """Which shapes :func:`state_shardings` splits, for :func:`~jaxopt_course.core.split_by`."""
    size = _data_devices("state_shardings", mesh)
    return lambda shape: kind == "fsdp" and size > 1 and _split_axis(shape, size) is not None


def batch_sharding(mesh: Mesh | AbstractMesh) -> NamedSharding:
    """The sharding of the arrays of a batch: rows are split over the axis "data".

    Args:
        mesh: mesh with an axis "data" whose size divides the number of rows.
    """
    _data_devices("batch_sharding", mesh)
    return NamedSharding(mesh, PartitionSpec(_AXIS))


class Placement(NamedTuple):
    """The devices of a training.

    mesh: mesh with an axis ``"data"``, over which batches are split.
    kind: sharding of the state, ``"replicated"`` or ``"fsdp"``.
    """

    mesh: Mesh
    kind: Kind


def make_placement(owner: str, mesh: Mesh | None, kind: Kind) -> Placement | None:
    """The placement, with automatic axes; None without a mesh. The arguments are checked."""
    checks.choice(owner, "sharding", kind, ("replicated", "fsdp"))
    if mesh is None:
        if kind != "replicated":
            raise ValueError(
                f"{owner}: `sharding={kind!r}` needs `mesh`, the devices to spread to."
            )
        return None
    batch_sharding(mesh)  # which checks it
    return Placement(automatic(mesh), kind)


def check_divided(owner: str, what: str, rows: int, placement: Placement | None) -> None:
    """Raise unless ``rows`` is a multiple of the size of the axis "data"."""
    devices = 1 if placement is None else placement.mesh.shape["data"]
    if rows % devices:
        raise ValueError(
            f"{owner}: {what} must be a multiple of {devices}, the size of axis 'data' of `mesh`, "
            f"got {rows}."
        )


def constrain(tree: Any, placement: Placement | None) -> Any:
    """``tree``, the state of a training in a compiled program, sharded by the placement."""
    if placement is None:
        return tree
    return jax.lax.with_sharding_constraint(tree, state_shardings(tree, *placement))


def constrain_batch(batch: Any, placement: Placement | None) -> Any:
    """``batch``, in a compiled program, split over the devices."""
    if placement is None:
        return batch
    return jax.lax.with_sharding_constraint(batch, batch_sharding(placement.mesh))


def spread(batch: Any, placement: Placement | None) -> Any:
    """``batch``, of which this process has its part, on the device or split over the devices."""
    if placement is None:
        return on_automatic_mesh(jax.tree.map(jax.numpy.asarray, batch))
    sharding = batch_sharding(placement.mesh)
    return jax.tree.map(
        lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x)), batch
    )


def replicate(tree: Any, placement: Placement | None) -> Any:
    """``tree``, which every process has, copied to every device; without a mesh, ``tree``."""
    if placement is None:
        return on_automatic_mesh(tree)
    return place(tree, NamedSharding(placement.mesh, PartitionSpec()))


def agree(length: int, request: int, is_late: bool, is_due: bool) -> tuple[int, int, bool, bool]:
    """Agree on what all processes do next: the first one's length, and the requests of any."""
    if jax.process_count() == 1:
        return length, request, is_late, is_due
    own = np.array([length, request, is_late, is_due], np.int32)
    table = np.asarray(multihost_utils.process_allgather(own)).reshape(-1, 4)
    late, due = bool(table[:, 2].any()), bool(table[:, 3].any())
    return int(table[0, 0]), int(table[:, 1].max()), late, due


def _split_axis(shape: tuple[int, ...], size: int) -> int | None:
    """The largest axis whose length is a multiple of ``size``; None if there is none."""
    lengths = [n if n % size == 0 else 0 for n in shape]
    return lengths.index(max(lengths)) if any(lengths) else None


def _data_devices(owner: str, mesh: Mesh | AbstractMesh) -> int:
    """The size of the axis "data" of ``mesh``; raise if there is no such axis."""
    check_mesh(owner, mesh, _AXIS)
    return int(mesh.shape[_AXIS])
