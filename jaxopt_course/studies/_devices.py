"""Where the arrays of a study lie: on one device, or dealt out over the axis "pop" of a mesh.

The devices may belong to several processes, each of which runs the same study. What a process
decides by its clock is then decided by the first one.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from jaxopt_course.core import automatic


def checked_mesh(owner: str, mesh: Mesh | None) -> Mesh | None:
    """``mesh`` with automatic axes, after a check that it has an axis "pop"; None for None."""
    if mesh is None:
        return None
    if "pop" not in mesh.axis_names:
        raise ValueError(f"{owner}: `mesh` must have an axis 'pop', got {mesh.axis_names}.")
    return automatic(mesh)


def shards_of(mesh: Mesh | None) -> int:
    """Over how many devices the trainings are dealt out."""
    return 1 if mesh is None else int(mesh.shape["pop"])


def sharding_of(mesh: Mesh | None, *axes: str) -> NamedSharding | None:
    """Dealt out along the first axis for ``"pop"``, everywhere the same for none."""
    return None if mesh is None else NamedSharding(mesh, PartitionSpec(*axes))


def dealt(tree: PyTree, mesh: Mesh | None) -> PyTree:
    """Arrays of the host, the same in all processes, dealt out along their first axis."""
    return _placed(tree, sharding_of(mesh, "pop"))


def copied(tree: PyTree, mesh: Mesh | None) -> PyTree:
    """Arrays of the host, the same in all processes, on every device."""
    return _placed(tree, sharding_of(mesh))


def fetched(tree: PyTree) -> PyTree:
    """The arrays as a whole on the host, in each process."""

    def whole(x: Any) -> Any:
        here = getattr(x, "is_fully_addressable", True)
        return x if here else multihost_utils.process_allgather(x, tiled=True)

    return jax.device_get(jax.tree.map(whole, tree))


def is_key(x: Any) -> bool:
    """Whether ``x`` is an array of typed keys."""
    return jnp.issubdtype(x.dtype, jax.dtypes.prng_key)


def agreed(number: float, *, among_all: bool) -> float:
    """The first process's ``number``, if the study is one ``among_all`` processes; else its own."""
    if not among_all or jax.process_count() == 1:
        return number
    return float(multihost_utils.broadcast_one_to_all(np.float32(number)))


def _placed(tree: PyTree, sharding: NamedSharding | None) -> PyTree:
    if sharding is None:
        return jax.tree.map(jnp.asarray, tree)

    def place(x: Any) -> jax.Array:
        if is_key(x):
            impl = jax.random.key_impl(x)
            return jax.random.wrap_key_data(place(jax.random.key_data(x)), impl=impl)
        values = np.asarray(x)
        values = values.astype(jax.dtypes.canonicalize_dtype(values.dtype))
        return jax.make_array_from_callback(values.shape, sharding, values.__getitem__)

    return jax.tree.map(place, tree)
