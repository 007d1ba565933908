"""One step of an elementwise optimizer, one chunk of entries at a time.

Each large leaf is processed in a loop of its own, with None for all other leaves: a common loop
would hold a chunk of each. The remainders of large leaves and the small leaves are processed
together in one more call.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxopt_course.core import Params, State, Updates

from ._companding import QuantizedArray, decode, encode_like, is_coded
from ._elementwise import leaf_numbers, owner_of


def row(shape: tuple[int, ...], length: int) -> tuple[int, ...]:
    """The shape of ``length`` entries with as many axes as ``shape``: masks may depend on these."""
    return (*(1,) * (len(shape) - 1), length)


def by_chunks(
    update: Callable[[Updates, State, Params | None], tuple[Updates, State]],
    chunk: int,
    updates: Updates,
    state: State,
    params: Params | None,
) -> tuple[Updates, State]:
    """The result of an elementwise ``update``, which takes a state in float32, on an encoded state.

    ``chunk``, the number of entries at a time, is a multiple of every block.
    """
    step = _Step(update, updates, state, params)
    begins = {}  # where the remainder of each large leaf begins
    for i, shape in enumerate(step.shapes):
        if (size := math.prod(shape)) > chunk:
            step.make_in_turns(i, chunk, size // chunk)
            begins[i] = size - size % chunk
    return step.finished(begins)


class _Step:
    """A step in progress.

    grads: the gradients of the leaves; for leaves that are done, the updates.
    weights: leaf -> parameters; empty without parameters.
    parts: the encoded parts of the state; for leaves that are done, the new ones.
    places: for each part the leaf whose path it has, or None.
    owners: ``places``, but None for parts whose shape is not that of their leaf, such as
        placeholders.
    """

    def __init__(
        self,
        update: Callable[[Updates, State, Params | None], tuple[Updates, State]],
        updates: Updates,
        state: State,
        params: Params | None,
    ) -> None:
        """Flatten the trees."""
        structure: Any = jax.tree.structure(updates)
        state_structure: Any = jax.tree.structure(state, is_leaf=is_coded)
        self.update, self.structure, self.state_structure = update, structure, state_structure
        self.grads = jax.tree.leaves(updates)
        self.shapes = [x.shape for x in self.grads]
        self.weights = {} if params is None else dict(enumerate(structure.flatten_up_to(params)))
        numbers, found = leaf_numbers(updates), jax.tree.leaves_with_path(state, is_leaf=is_coded)
        self.parts = [part for _, part in found]
        self.places = [owner_of(path, numbers)[0] for path, _ in found]
        shapes = [part.decoded_shape if is_coded(part) else part.shape for part in self.parts]
        self.owners = [
            i if i is not None and shape == self.shapes[i] else None
            for i, shape in zip(self.places, shapes, strict=True)
        ]

    def call(self, grads: dict[int, Any], parts: dict[int, Any], weights: dict[int, Any]) -> Any:
        """The updates and state of some leaves, with None for the others."""
        tree = lambda some: self.structure.unflatten([some.get(i) for i in range(len(self.grads))])
        shared = [k for k, i in enumerate(self.owners) if i is None]
        given = parts | {k: self.parts[k] for k in shared if self.places[k] in (None, *grads)}
        state = self.state_structure.unflatten([given.get(k) for k in range(len(self.parts))])
        new, after = self.update(tree(grads), state, tree(weights) if self.weights else None)
        return self.structure.flatten_up_to(new), self.state_structure.flatten_up_to(after)

    def make_in_turns(self, i: int, chunk: int, turns: int) -> None:
        """Do the step for all chunks of leaf ``i``."""
        owned = [k for k, owner in enumerate(self.owners) if owner == i]

        def body(n: Any, carry: Any) -> Any:
            flat, kept = carry
            begin = n * chunk
            cut = lambda x: _cut(x, begin, chunk).reshape(row(self.shapes[i], chunk))
            own = {k: cut(x) for k, x in zip(owned, kept, strict=True)}
            held = {i: cut(_flat(self.weights[i]))} if self.weights else {}
            # Everything is read before anything is written: otherwise XLA copies whole buffers in
            # each iteration. It fuses reads into their users, but not into a branch.
            chosen = ({i: cut(flat)}, own, held)
            zeros = _zeros_like_result(self.call, chosen)
            new, after = jax.lax.cond(n < turns, self.call, zeros, *chosen)
            return (
                _put(flat, new[i], begin),
                [_put(x, after[k], begin) for k, x in zip(owned, kept, strict=True)],
            )

        start = (_flat(self.grads[i]), [_flat(self.parts[k]) for k in owned])
        flat, kept = jax.lax.fori_loop(0, turns, body, start)
        self.grads[i] = flat.reshape(self.shapes[i])
        for k, x in zip(owned, kept, strict=True):
            self.parts[k] = _like(x, self.parts[k])

    def finished(self, begins: dict[int, int]) -> tuple[Updates, State]:
        """Do the step for small leaves and remainders, and return the whole trees."""

        def rest(i: int, x: Any) -> Any:
            if i not in begins:
                return decode(x)
            length = math.prod(self.shapes[i]) - begins[i]
            return _cut(_flat(x), begins[i], length).reshape(row(self.shapes[i], length))

        def joined(i: int, x: Any, new: Any) -> Any:
            if i not in begins:
                return encode_like(new, x)
            return _like(_put(_flat(x), new, begins[i]), x)

        new, after = self.call(
            {i: rest(i, x) for i, x in enumerate(self.grads)},
            {k: rest(i, self.parts[k]) for k, i in enumerate(self.owners) if i is not None},
            {i: rest(i, x) for i, x in self.weights.items()},
        )
        grads = [joined(i, x, new[i]) for i, x in enumerate(self.grads)]
        parts = [
            after[k] if i is None else joined(i, x, after[k])
            for k, (i, x) in enumerate(zip(self.owners, self.parts, strict=True))
        ]
        return self.structure.unflatten(grads), self.state_structure.unflatten(parts)


def _flat(x: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf.reshape(-1), x)


def _like(x: Any, old: Any) -> Any:
    return jax.tree.map(lambda leaf, other: leaf.reshape(other.shape), x, old)


def _cut(x: Any, begin: Any, length: int) -> Any:
    """``length`` entries from ``begin``, a multiple of the block, decoded."""
    cut = jax.lax.dynamic_slice_in_dim
    if not is_coded(x):
        return cut(x, begin, length)
    scales, each = cut(x.scales, begin // x.block, -(-length // x.block)), 8 // x.bits
    codes = cut(x.codes, begin // each, length // each)
    return decode(QuantizedArray(codes, scales, x.block, x.bits))


def _put(x: Any, new: Any, begin: Any) -> Any:
    put, new = jax.lax.dynamic_update_slice_in_dim, new.reshape(-1)
    if not is_coded(x):
        return put(x, new.astype(x.dtype), begin, 0)
    new = encode_like(new, x)
    return QuantizedArray(
        put(x.codes, new.codes, begin // (8 // x.bits), 0),
        put(x.scales, new.scales.reshape(-1), begin // x.block, 0),
        x.block,
        x.bits,
    )


def _zeros_like_result(function: Callable[..., Any], args: Any) -> Callable[..., Any]:
    """A function that returns zeros in the shapes of the results of ``function``."""
    shapes = jax.eval_shape(function, *args)
    return lambda *_: jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
