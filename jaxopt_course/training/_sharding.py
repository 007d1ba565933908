"""Where the arrays of a training lie on a mesh of devices: one rule, of shapes alone.

    "replicated"   every device holds everything
    "fsdp"         a device holds one slice of each array: along the largest axis that the number
                   of devices divides, the first of several; all of it where there is none

A rule of shapes gives the moments of an optimizer the place of their parameters. An array in which
:func:`~jaxopt_course.transforms.packed` has joined leaves that are not split is not split either.

Reference: Rajbhandari et al., "ZeRO: Memory Optimizations Toward Training Trillion Parameter
Models", 2020, https://arxiv.org/abs/1910.02054: "fsdp" is its stage 3.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import jax
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from jaxopt_course.core import checks
from jaxopt_course.transforms import PackedTree


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
    checks.choice("state_shardings", "kind", kind, ("replicated", "fsdp"))

    def of(shape: tuple[int, ...]) -> NamedSharding:
        axis = _split_axis(shape, size) if kind == "fsdp" else None
        if axis is None:
            return NamedSharding(mesh, PartitionSpec())
        return NamedSharding(mesh, PartitionSpec(*[None] * axis, _AXIS))

    def of_leaf(leaf: Any) -> NamedSharding:
        return of(leaf.shape)

    def of_packed(tree: PackedTree) -> PackedTree:
        layout, buffers = tree.layout, []
        for buffer, group in zip(tree.buffers, layout.groups, strict=True):
            is_split = any(tuple(of(layout.shapes[i]).spec) for i in group)
            rule = of_leaf if is_split or not hasattr(buffer, "shape") else lambda _: of(())
            buffers.append(jax.tree.map(rule, buffer))
        whole = jax.tree.map(of_leaf, tree.whole)
        return dataclasses.replace(tree, buffers=tuple(buffers), whole=whole)

    def of_part(part: Any) -> Any:
        return of_packed(part) if isinstance(part, PackedTree) else of_leaf(part)

    return jax.tree.map(of_part, tree, is_leaf=lambda part: isinstance(part, PackedTree))


def split_shapes(
    mesh: Mesh | AbstractMesh, kind: Literal["replicated", "fsdp"]
) -> Callable[[tuple[int, ...]], bool]:
    """Which shapes :func:`state_shardings` splits, as :func:`~jaxopt_course.core.split_by` asks."""
    size = _data_devices("state_shardings", mesh)
    return lambda shape: kind == "fsdp" and size > 1 and _split_axis(shape, size) is not None


def batch_sharding(mesh: Mesh | AbstractMesh) -> NamedSharding:
    """The sharding of every array of a batch: its rows are dealt out over the axis "data".

    Args:
        mesh: as for :func:`state_shardings`. Its axis "data" must divide the number of rows.
    """
    _data_devices("batch_sharding", mesh)
    return NamedSharding(mesh, PartitionSpec(_AXIS))


def _split_axis(shape: tuple[int, ...], size: int) -> int | None:
    """The largest axis whose length ``size`` divides; None if there is none."""
    lengths = [n if n % size == 0 else 0 for n in shape]
    return lengths.index(max(lengths)) if any(lengths) else None


def _data_devices(owner: str, mesh: Mesh | AbstractMesh) -> int:
    """The size of the axis "data" of ``mesh``, which is checked."""
    if _AXIS not in mesh.axis_names:
        raise ValueError(f"{owner}: `mesh` must have an axis {_AXIS!r}, got {mesh.axis_names}.")
    return int(mesh.shape[_AXIS])
