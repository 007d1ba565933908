"""Explicit meshes, as returned by ``jax.make_mesh``: arrays whose sharding is part of their type.

On them JAX refuses every product and reshape whose output sharding is ambiguous. This library runs
such operations with the axes of the mesh turned to ``AxisType.Auto``, so that the compiler shards
intermediate values, and shards the results explicitly. Without an explicit mesh the program is
unchanged.
"""

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar

import jax
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec, Sharding
from jaxtyping import PyTree


_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")

WHOLE = PartitionSpec()  # every device holds the whole array

ShapeRule = Callable[[tuple[int, ...]], bool]
_split_by: contextvars.ContextVar[ShapeRule | None] = contextvars.ContextVar(
    "split_by", default=None
)


def explicit_mesh(tree: PyTree) -> AbstractMesh | None:
    """The mesh with explicit axes on which leaves of ``tree`` lie, or None."""
    for x in jax.tree.leaves(tree):
        sharding = _sharding(x)
        if sharding is not None and AxisType.Explicit in sharding.mesh.axis_types:
            return sharding.mesh
    return None


def spec_of(x: Any) -> PartitionSpec:
    """The axes of an explicit mesh over which each axis of ``x`` is sharded."""
    sharding = _sharding(x)
    if sharding is None:
        return WHOLE
    names = set(_explicit_axes(sharding.mesh))
    parts = (part if isinstance(part, tuple) else (part,) for part in sharding.spec)
    kept = [tuple(name for name in part if name in names) for part in parts]
    return PartitionSpec(*(part if len(part) > 1 else next(iter(part), None) for part in kept))


def is_split(x: Any) -> bool:
    """Whether ``x`` is sharded over several devices, or may be.

    A concrete array knows its sharding, and so does a ``jax.ShapeDtypeStruct`` with a sharding. A
    traced array knows its sharding over explicit axes only. On a mesh with automatic axes the rule
    of :func:`split_by` decides; without a rule the array may be sharded.
    """
    if not isinstance(x, jax.core.Tracer):
        placed = isinstance(x, jax.Array | jax.ShapeDtypeStruct)
        return placed and _is_split(getattr(x, "sharding", None))
    sharding, rule = _sharding(x), _split_by.get()
    if _is_split(sharding):
        return True
    if rule is not None:
        return rule(tuple(x.shape))
    return any(
        kind == AxisType.Auto and size > 1
        for kind, size in zip(sharding.mesh.axis_types, sharding.mesh.axis_sizes, strict=True)
    )


@contextlib.contextmanager
def split_by(rule: ShapeRule | None) -> Iterator[None]:
    """A context in which ``rule(shape)`` tells whether traced arrays are sharded.

    It applies to meshes with automatic axes. The rule None changes nothing.
    """
    token = _split_by.set(_split_by.get() if rule is None else rule)
    try:
        yield
    finally:
        _split_by.reset(token)


def placed_like(x: Any, like: Any) -> Any:
    """``x`` with the sharding of ``like``, of the same shape, if that lies on an explicit mesh.

    In a traced function ``jnp.zeros_like`` loses the sharding of its argument, unless
    ``jax.set_mesh`` sets the mesh.
    """
    mesh = explicit_mesh(like)
    if mesh is None or _sharding(x) == _sharding(like):
        return x
    if not isinstance(like, jax.ShapeDtypeStruct | jax.core.Tracer):
        return jax.device_put(x, like.sharding)  # which reshard needs a mesh in context for
    return jax.sharding.reshard(x, NamedSharding(mesh, spec_of(like)))


def shapes_of(f: Callable[..., Any], *args: Any) -> Any:
    """Shapes and dtypes of ``f(*args)``, or its value on an explicit mesh, which has a sharding."""
    return jax.eval_shape(f, *args) if explicit_mesh(args) is None else f(*args)


def on_auto_axes(f: Callable[..., Any], *args: Any, like: PyTree = WHOLE) -> Any:
    """``f(*args)``, inside of which the compiler decides how arrays are sharded.

    Args:
        f: a function of arrays. It must not close over arrays on an explicit mesh.
        args: its arguments: trees of arrays and of other objects.
        like: the sharding of the results: a tree with their structure, or a prefix of it, of arrays
            or ``PartitionSpec``s. By default every device holds whole arrays.
    """
    mesh = explicit_mesh(args)
    if mesh is None:
        return f(*args)
    leaves, structure = jax.tree.flatten(args)
    arrays = {i: x for i, x in enumerate(leaves) if isinstance(x, jax.Array)}

    def of_arrays(arrays: dict[int, Any]) -> Any:
        return f(*jax.tree.unflatten(structure, [arrays.get(i, x) for i, x in enumerate(leaves)]))

    def place(x: Any) -> NamedSharding:
        return NamedSharding(mesh, x if isinstance(x, PartitionSpec) else spec_of(x))

    run = jax.sharding.auto_axes(
        of_arrays,
        axes=_explicit_axes(mesh),
        out_sharding=jax.tree.map(place, like, is_leaf=lambda x: isinstance(x, PartitionSpec)),
    )
    if any(isinstance(x, jax.core.Tracer) for x in arrays.values()):
        return run(arrays)
    placed: Any = next(x for x in arrays.values() if explicit_mesh(x) is not None)
    with jax.set_mesh(placed.sharding.mesh):  # which operations outside of a trace need
        return run(arrays)


def on_own_axes(f: Callable[[Any], Any], like: PyTree) -> Callable[[Any], Any]:
    """``f`` of one tree, to be called inside :func:`on_auto_axes`, run on the explicit mesh again.

    ``f`` may close over arrays on that mesh, such as a loss over its batch. ``like`` is a tree
    shaped like the argument, of arrays on it.
    """
    mesh = explicit_mesh(like)
    if mesh is None:
        return f
    specs = jax.tree.map(spec_of, like)
    return jax.sharding.explicit_axes(f, axes=_explicit_axes(mesh), in_sharding=(specs,))


def check_mesh(owner: str, mesh: Any, axis: str) -> None:
    """Raise ValueError unless ``mesh``, a device mesh or None, has an axis of this name."""
    if mesh is not None and axis not in mesh.axis_names:
        raise ValueError(f"{owner}: `mesh` must have an axis {axis!r}, got {mesh.axis_names}.")


def automatic(mesh: Any) -> Any:
    """``mesh``, a ``Mesh`` or ``AbstractMesh``, with all axes of ``AxisType.Auto``."""
    kinds = (AxisType.Auto,) * len(mesh.axis_names)
    if mesh.axis_types == kinds:
        return mesh
    if isinstance(mesh, AbstractMesh):
        return AbstractMesh(mesh.axis_sizes, mesh.axis_names, axis_types=kinds)
    return Mesh(mesh.devices, mesh.axis_names, axis_types=kinds)


def under_automatic_mesh(f: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """``f``, run on automatic axes if ``jax.set_mesh`` has set a mesh with explicit axes."""

    @functools.wraps(f)
    def run(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        mesh = jax.sharding.get_mesh()
        if AxisType.Explicit not in mesh.axis_types:
            return f(*args, **kwargs)
        with jax.set_mesh(automatic(mesh)):
            result = f(*args, **kwargs)
        return on_mesh(result, mesh)

    return run


def on_automatic_mesh(tree: PyTree) -> PyTree:
    """``tree`` with arrays on explicit meshes moved to automatic meshes of the same devices."""
    mesh = explicit_mesh(tree)
    if mesh is None:
        return tree
    (found,) = {x.sharding.mesh for x in jax.tree.leaves(tree) if explicit_mesh(x) is not None}
    return on_mesh(tree, automatic(found))


def on_mesh(tree: PyTree, mesh: Mesh) -> PyTree:
    """``tree`` with arrays moved to ``mesh`` that lie on it with other types of axes."""

    def moved(x: Any) -> Any:
        sharding = getattr(x, "sharding", None)
        if not isinstance(sharding, NamedSharding) or sharding.mesh == mesh:
            return x
        if automatic(sharding.mesh) != automatic(mesh):
            return x
        return jax.device_put(x, NamedSharding(mesh, sharding.spec))

    return jax.tree.map(moved, tree)


def _sharding(x: Any) -> Any:
    """The sharding in the type of ``x``, an array or its shape; otherwise None."""
    if isinstance(x, jax.ShapeDtypeStruct):
        return x.sharding
    return jax.typeof(x).sharding if isinstance(x, jax.Array) else None


def _is_split(sharding: Any) -> bool:
    """Whether an array with this sharding, which may be None, is split over several devices."""
    several = isinstance(sharding, Sharding) and sharding.num_devices > 1
    return several and not sharding.is_fully_replicated


def _explicit_axes(mesh: AbstractMesh) -> tuple[str, ...]:
    """The names of the explicit axes of ``mesh``."""
    kinds = zip(mesh.axis_names, mesh.axis_types, strict=True)
    return tuple(name for name, kind in kinds if kind == AxisType.Explicit)
