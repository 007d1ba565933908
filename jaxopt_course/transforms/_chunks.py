"""One step of an elementwise optimizer, a chunk of entries at a time.

Each large leaf goes through a loop of its own, all other leaves being None: together they would
take a chunk each at a time. What the chunks leave over of each goes, with the small leaves, through
one more call.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxopt_course.core import Params, State, Updates

from ._companding import QuantizedArray, decode, encode
from ._elementwise import owner_of


__all__ = ["by_chunks", "row"]


def row(shape: tuple[int, ...], length: int) -> tuple[int, ...]:
    """The shape of so many entries, with as many axes: masks look at the number of axes."""
    return (*(1,) * (len(shape) - 1), length)


def by_chunks(
    update: Callable[[Updates, State, Params | None], tuple[Updates, State]],
    chunk: int,
    updates: Updates,
    state: State,
    params: Params | None,
) -> tuple[Updates, State]:
    """What ``update`` gives, elementwise, on a state whose moments are ``QuantizedArray``.

    Args:
        update: of the state in float32.
        chunk: entries at a time, a multiple of every block.
        updates: the gradients.
        state: as it is kept.
        params: the parameters.
    """
    grads = jax.tree.leaves(updates)
    structure: Any = jax.tree.structure(updates)
    weights = None if params is None else structure.flatten_up_to(params)
    shapes = [x.shape for x in grads]
    paths = {
        jax.tree_util.keystr(p): i for i, (p, _) in enumerate(jax.tree.leaves_with_path(updates))
    }
    found = jax.tree.leaves_with_path(state, is_leaf=_is_coded)
    parts = [part for _, part in found]
    state_structure: Any = jax.tree.structure(state, is_leaf=_is_coded)
    owners = [_owner(path, part, paths, shapes) for path, part in found]
    shared = {k: parts[k] for k, i in enumerate(owners) if i is None}

    def call(taken: dict[int, Any], own: dict[int, Any], held: dict[int, Any]) -> Any:
        tree = lambda some: structure.unflatten([some.get(i) for i in range(len(grads))])
        whole = state_structure.unflatten([{**shared, **own}.get(k) for k in range(len(parts))])
        new, after = update(tree(taken), whole, None if params is None else tree(held))
        return structure.flatten_up_to(new), state_structure.flatten_up_to(after)

    def leaf_loop(i: int, turns: int) -> None:
        owned = [k for k, owner in enumerate(owners) if owner == i]

        def body(n: Any, carry: Any) -> Any:
            flat, kept = carry
            begin = n * chunk
            cut = lambda x: _cut(x, begin, chunk).reshape(row(shapes[i], chunk))
            own = {k: cut(x) for k, x in zip(owned, kept, strict=True)}
            held = {i: cut(_flat(weights[i]))} if weights else {}
            # All is read before anything is written, or XLA copies whole buffers in each turn: it
            # merges reads into what uses them, but not into a branch.
            chosen = ({i: cut(flat)}, own, held)
            new, after = jax.lax.cond(n < turns, call, _zeros_like_result(call, chosen), *chosen)
            return (
                _put(flat, new[i], begin),
                [_put(x, after[k], begin) for k, x in zip(owned, kept, strict=True)],
            )

        start = (_flat(grads[i]), [_flat(parts[k]) for k in owned])
        flat, kept = jax.lax.fori_loop(0, turns, body, start)
        grads[i] = flat.reshape(shapes[i])
        for k, x in zip(owned, kept, strict=True):
            parts[k] = _like(x, parts[k])

    begins = {}  # where what the chunks leave over of a large leaf begins
    for i, shape in enumerate(shapes):
        if (size := math.prod(shape)) > chunk:
            leaf_loop(i, size // chunk)
            begins[i] = size - size % chunk

    def rest(i: int, x: Any) -> Any:
        if i not in begins:
            return decode(x) if _is_coded(x) else x
        length = math.prod(shapes[i]) - begins[i]
        return _cut(_flat(x), begins[i], length).reshape(row(shapes[i], length))

    def joined(i: int, x: Any, new: Any) -> Any:
        if i not in begins:
            return _encoded_like(new, x)
        return _like(_put(_flat(x), new, begins[i]), x)

    own = {k: rest(i, parts[k]) for k, i in enumerate(owners) if i is not None}
    held = {i: rest(i, x) for i, x in enumerate(weights)} if weights else {}
    new, after = call({i: rest(i, x) for i, x in enumerate(grads)}, own, held)
    out = [joined(i, x, new[i]) for i, x in enumerate(grads)]
    kept = [
        after[k] if i is None else joined(i, x, after[k])
        for k, (i, x) in enumerate(zip(owners, parts, strict=True))
    ]
    return structure.unflatten(out), state_structure.unflatten(kept)


def _is_coded(part: Any) -> bool:
    return isinstance(part, QuantizedArray)


def _owner(path: Any, part: Any, paths: dict[str, int], shapes: list[Any]) -> int | None:
    """The leaf that a part of the state belongs to; a count beside a bare leaf is nobody's."""
    i, _ = owner_of(path, paths)
    shape = (part.codes if _is_coded(part) else part).shape
    return None if i is None or shape != shapes[i] else i


def _flat(x: Any) -> Any:
    if _is_coded(x):
        return QuantizedArray(x.codes.reshape(-1), x.scales.reshape(-1), x.block)
    return x.reshape(-1)


def _like(x: Any, old: Any) -> Any:
    if _is_coded(x):
        codes, scales = x.codes.reshape(old.codes.shape), x.scales.reshape(old.scales.shape)
        return QuantizedArray(codes, scales, x.block)
    return x.reshape(old.shape)


def _encoded_like(x: Any, old: Any) -> Any:
    return encode(x, old.block, old.codes.dtype == "uint8") if _is_coded(old) else x


def _cut(x: Any, begin: Any, length: int) -> Any:
    """So many entries from ``begin``, a multiple of the block, in float32 where in codes."""
    cut = jax.lax.dynamic_slice_in_dim
    if not _is_coded(x):
        return cut(x, begin, length)
    scales = cut(x.scales, begin // x.block, -(-length // x.block))
    return decode(QuantizedArray(cut(x.codes, begin, length), scales, x.block))


def _put(x: Any, new: Any, begin: Any) -> Any:
    put, new = jax.lax.dynamic_update_slice_in_dim, new.reshape(-1)
    if not _is_coded(x):
        return put(x, new.astype(x.dtype), begin, 0)
    new = _encoded_like(new, x)
    return QuantizedArray(
        put(x.codes, new.codes, begin, 0),
        put(x.scales, new.scales.reshape(-1), begin // x.block, 0),
        x.block,
    )


def _zeros_like_result(function: Callable[..., Any], args: Any) -> Callable[..., Any]:
    """A function that gives zeros of the shapes which ``function`` gives."""
    shapes = jax.eval_shape(function, *args)
    return lambda *_: jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
