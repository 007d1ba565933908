"""Where the arrays of a training lie: on one device, or over the devices of a mesh."""

import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, ParamSpec, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxopt_course.core import automatic, checks, on_automatic_mesh, split_by

from ._sharding import batch_sharding, split_shapes, state_shardings


_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


class Placement(NamedTuple):
    """Over which devices, and how.

    mesh: has an axis ``"data"``, over which batches are spread.
    kind: how the state is: ``"replicated"`` or ``"fsdp"``.
    """

    mesh: Mesh
    kind: Literal["replicated", "fsdp"]


def make_placement(
    owner: str, mesh: Mesh | None, kind: Literal["replicated", "fsdp"]
) -> Placement | None:
    """The placement, checked; None without a mesh. An explicit mesh becomes an automatic one."""
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
    """Raise unless the axis "data" of the mesh divides the number of ``rows``."""
    devices = 1 if placement is None else placement.mesh.shape["data"]
    if rows % devices:
        raise ValueError(
            f"{owner}: {what} must be a multiple of {devices}, the size of axis 'data' of `mesh`, "
            f"got {rows}."
        )


def under_placement(
    placement: Placement | None, function: Callable[_Arguments, _Result]
) -> Callable[_Arguments, _Result]:
    """``function`` of a compiled program, inside of which is known which arrays are split.

    There the type of a traced array names the mesh, but not how the array is sharded.
    """
    if placement is None:
        return function

    @functools.wraps(function)
    def run(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        with split_by(split_shapes(*placement)):
            return function(*args, **kwargs)

    return run


def place(tree: Any, placement: Placement | None) -> Any:
    """``tree``, the state of a training in a compiled program, where it is to lie."""
    if placement is None:
        return tree
    return jax.lax.with_sharding_constraint(tree, state_shardings(tree, *placement))


def place_batch(batch: Any, placement: Placement | None) -> Any:
    """``batch``, in a compiled program, spread over the devices."""
    if placement is None:
        return batch
    return jax.lax.with_sharding_constraint(batch, batch_sharding(placement.mesh))


def spread(batch: Any, placement: Placement | None) -> Any:
    """``batch``, of which this process has its part, on the device or over the devices."""
    if placement is None:
        return on_automatic_mesh(jax.tree.map(jax.numpy.asarray, batch))
    sharding = batch_sharding(placement.mesh)
    return jax.tree.map(
        lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x)), batch
    )


def replicate(tree: Any, placement: Placement | None) -> Any:
    """A copy of ``tree``, which every process has, on every device; without a mesh, ``tree``."""
    if placement is None:
        return on_automatic_mesh(tree)
    sharding = NamedSharding(placement.mesh, PartitionSpec())

    def copy(x: Any) -> Any:
        if isinstance(x, jax.Array) and jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(
                copy(jax.random.key_data(x)), impl=jax.random.key_impl(x)
            )
        if isinstance(x, jax.Array) and not x.is_fully_addressable:
            return x
        values = np.asarray(x)
        return jax.make_array_from_callback(values.shape, sharding, values.__getitem__)

    return jax.tree.map(copy, tree)


def agree(length: int, request: int, is_late: bool, is_due: bool) -> tuple[int, int, bool, bool]:
    """What all processes do next: the first one's length, and what any of them has to ask for."""
    if jax.process_count() == 1:
        return length, request, is_late, is_due
    said = np.array([length, request, is_late, is_due], np.int32)
    table = np.asarray(multihost_utils.process_allgather(said)).reshape(-1, 4)
    late, due = bool(table[:, 2].any()), bool(table[:, 3].any())
    return int(table[0, 0]), int(table[:, 1].max()), late, due
