"""Where the arrays of a training lie on a mesh of devices: one rule, of shapes alone.

    "replicated"   every device holds everything
    "fsdp"         a device holds one slice of each array: along the largest axis that the number
                   of devices divides, the first of several; all of it where there is none

A rule of shapes gives the moments of an optimizer the place of their parameters.

Reference: Rajbhandari et al., "ZeRO: Memory Optimizations Toward Training Trillion Parameter
Models", 2020, https://arxiv.org/abs/1910.02054: "fsdp" is its stage 3.
"""

from typing import Any, Literal

import jax
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from jaxopt_course.core import check_choice


__all__ = ["batch_sharding", "state_shardings"]

_AXIS = "data"


def state_shardings(
    tree: PyTree, mesh: Mesh | AbstractMesh, kind: Literal["replicated", "fsdp"]
) -> PyTree:
    """The sharding of each array of a training's state.

    Args:
        tree: of arrays, or of anything that has a ``shape``, such as ``jax.eval_shape`` gives.
        mesh: has an axis "data". It need not exist.
        kind: "replicated" or "fsdp".

    Returns:
        A tree of ``NamedSharding``, to be given to ``jax.jit`` or ``jax.device_put``.

    Raises:
        ValueError: if the mesh or the kind is not as said.

    Examples:
        >>> from jax.sharding import AbstractMesh, AxisType
        >>> mesh = AbstractMesh((8,), ("data",), axis_types=(AxisType.Auto,))
        >>> weights = jax.ShapeDtypeStruct((3, 16), float)
        >>> tuple(state_shardings(weights, mesh, "fsdp").spec)
        (None, 'data')
    """
    size = _data_devices("state_shardings", mesh)
    check_choice("state_shardings", "kind", kind, ("replicated", "fsdp"))

    def of(leaf: Any) -> NamedSharding:
        lengths = [n if n % size == 0 else 0 for n in leaf.shape] if kind == "fsdp" else []
        if not any(lengths):
            return NamedSharding(mesh, PartitionSpec())
        return NamedSharding(mesh, PartitionSpec(*[None] * lengths.index(max(lengths)), _AXIS))

    return jax.tree.map(of, tree)


def batch_sharding(mesh: Mesh | AbstractMesh) -> NamedSharding:
    """The sharding of every array of a batch: its rows are dealt out over the axis "data".

    Args:
        mesh: as for :func:`state_shardings`. Its axis "data" must divide the number of rows.
    """
    _data_devices("batch_sharding", mesh)
    return NamedSharding(mesh, PartitionSpec(_AXIS))


def _data_devices(owner: str, mesh: Mesh | AbstractMesh) -> int:
    """The size of the axis "data" of ``mesh``, which is checked."""
    if _AXIS not in mesh.axis_names:
        raise ValueError(f"{owner}: `mesh` must have an axis {_AXIS!r}, got {mesh.axis_names}.")
    return int(mesh.shape[_AXIS])
