"""Map a function over leaves of equal shape as one batch, which is faster to run and to compile.

A network repeats its layers, so hundreds of matrices have a handful of shapes. Long chains of
operations, such as the Newton-Schulz iteration, and costly calls, such as a decomposition, are
written for one matrix and mapped over stacks of them. Short formulas should be mapped over single
leaves, because stacking and splitting costs as much.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree


# Largest size of a stack. Several copies of it exist at a time, and beyond the caches of a CPU they
# are slower; ``benchmarks/muon.py`` tries other sizes.
STACK_BYTES = 4 * 2**20


def map_stacked(f: Callable[..., Any], tree: PyTree, *rest: PyTree) -> PyTree:
    """``jax.tree.map(f, tree, *rest)``, where leaves of equal shape are computed as one batch.

    Leaves whose arguments have equal shapes and dtypes are stacked, up to ``STACK_BYTES`` at a
    time, and ``f`` is vmapped over them. A larger leaf is computed by itself.

    Args:
        f: a function of one leaf, and of the subtree in its place in each tree of ``rest``.
        tree: tree of arrays.
        rest: trees with ``tree`` as a prefix.
    """
    leaves = jax.tree.leaves(tree)
    structure: Any = jax.tree.structure(tree)
    calls = list(zip(leaves, *(structure.flatten_up_to(other) for other in rest), strict=True))
    alike: dict[Any, list[int]] = {}
    for i, call in enumerate(calls):
        arrays, kind = jax.tree.flatten(call)
        alike.setdefault((kind, *map(jax.typeof, arrays)), []).append(i)
    found: dict[int, Any] = {}
    for (_, *types), members in alike.items():
        size = sum(own.size * own.dtype.itemsize for own in types)
        room = max(STACK_BYTES // max(size, 1), 1)
        for begin in range(0, len(members), room):
            some = members[begin : begin + room]
            found.update(zip(some, _mapped(f, [calls[i] for i in some]), strict=True))
    return jax.tree.unflatten(structure, [found[i] for i in range(len(leaves))])


def _mapped(f: Callable[..., Any], calls: list[tuple[Any, ...]]) -> list[Any]:
    """``f`` of each of these calls, whose arguments have equal shapes."""
    if len(calls) == 1:
        return [f(*calls[0])]
    results = jax.vmap(f)(*jax.tree.map(lambda *arrays: jnp.stack(arrays), *calls))
    arrays, structure = jax.tree.flatten(results)
    parts = [_cut(array) for array in arrays]
    return [jax.tree.unflatten(structure, [p[i] for p in parts]) for i in range(len(calls))]


def _cut(stack: Array) -> list[Array]:
    """The entries of ``stack``.

    The indices pass an optimization barrier, so that all slices of one shape share a kernel. With
    constant indices the CPU compiler makes a kernel for each, which takes up to twice as long.
    """
    zeros = [np.uint32(0)] * (stack.ndim - 1)
    numbers = jax.lax.optimization_barrier([np.uint32(i) for i in range(len(stack))])
    shape = stack.shape[1:]
    return [jax.lax.dynamic_slice(stack, (i, *zeros), (1, *shape)).reshape(shape) for i in numbers]
