"""Moments in 8 or 4 bits: an optimizer whose state takes a quarter or an eighth of the memory.

Between steps the moments are kept as in ``_companding.py``. A step decodes them, runs the optimizer
and encodes its new moments. The updates are computed before encoding. An elementwise optimizer runs
on one chunk at a time, because whole moments in float32 would take more memory than is saved.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree

from jaxopt_course.core import GradientTransformationExtraArgs, Params, State, checks, explicit_mesh

from ._chunks import by_chunks, row
from ._companding import FLOATS, INTEGERS, decode, encode, encode_like, is_coded
from ._elementwise import kinds_of, leaf_numbers, leaf_programs, owner_of


Kind = Literal["signed", "positive"] | None


class QuantizedState(NamedTuple):
    """State of the wrapper. ``inner_state``: the inner state, with large moments encoded."""

    inner_state: State


class _Quantized(GradientTransformationExtraArgs):
    """A transformation with the one that it approximates as ``exact``."""

    exact: GradientTransformationExtraArgs


def moment_kind(field: str) -> Kind:
    """``"signed"`` for the fields ``mu`` and ``trace`` of a state, ``"positive"`` for ``nu``."""
    kinds: dict[str, Kind] = {"mu": "signed", "trace": "signed", "nu": "positive"}
    return kinds.get(field)


def quantized_state(
    optimizer: optax.GradientTransformation,
    bits: int = 8,
    block: int | None = None,
    *,
    float8: bool = False,
    kind: Callable[[str], Kind] = moment_kind,
    min_size: int = 4096,
    chunk: int | None = 65536,
) -> GradientTransformationExtraArgs:
    """Keep the moments of ``optimizer`` in blocks of 8-bit or 4-bit numbers with a float32 scale.

    AdamW then keeps 2.03 bytes per parameter instead of 8, with 4 bits 1.06. State that is not a
    moment, such as averaged parameters, stays as it is. So do small leaves, and moments that are
    not float32. With 4 bits, two neighbours along the last axis share a byte; leaves of which a
    device holds no whole pairs, because their last axis is odd, keep 8 bits.

    Args:
        optimizer: the transformation. Its moments are fields of its state, shaped like the params.
        bits: 8 or 4, static.
        block: number of entries that share a scale, static, in [1, inf), and even for 4 bits. By
            default 256, or 128 for 4 bits.
        float8: whether the 8 bits are floats, ``float8_e4m3fn`` for signed moments and
            ``float8_e5m2`` for positive ones, which accelerators convert in hardware. Their
            relative errors are at most 1/16 and 1/8. A moment does not follow smaller changes
            within its block, such as those that ``b2=0.999`` makes after some tens of steps.
        kind: a function of the name of a field that returns ``"signed"`` or ``"positive"`` for
            moments, else None. Positive moments must not be negative, and never become 0.
        min_size: number of entries from which a leaf is large, static, in [1, inf).
        chunk: number of entries on which an elementwise optimizer runs at a time, static, a
            multiple of ``block``. None for whole leaves, which suits leaves that are sharded over
            devices. On an explicit mesh leaves are never split.

    Examples:
        >>> tx = quantized_state(optax.scale_by_adam())
        >>> state = tx.init(jnp.zeros((128, 1024), jnp.float32))
        >>> sum(leaf.nbytes for leaf in jax.tree.leaves(state)) / (128 * 1024) < 2.04
        True
    """
    owner = "quantized_state"
    checks.integer(owner, "bits", bits, "[4, 8]")
    if bits not in (4, 8):
        raise ValueError(f"{owner}: `bits` must be 4 or 8, got {bits}.")
    block = (256 if bits == 8 else 128) if block is None else block
    checks.integer(owner, "block", block, "[1, inf)")
    if float8 and bits != 8:
        raise ValueError(f"{owner}: `float8` needs `bits` of 8, got {bits}.")
    if bits == 4 and block % 2:
        raise ValueError(f"{owner}: `block` must be even for 4 bits, got {block}.")
    checks.integer(owner, "min_size", min_size, "[1, inf)")
    if chunk is not None:
        checks.integer(owner, "chunk", chunk, "[1, inf)")
        if chunk % block:
            raise ValueError(f"{owner}: `chunk` must be a multiple of {block}, got {chunk}.")
    inner = checks.transformation(owner, "optimizer", optimizer)
    dtypes = FLOATS if float8 else INTEGERS
    known: dict[Any, bool] = {}  # whether the optimizer is elementwise on such parameters

    def in_chunks(like: PyTree) -> bool:
        largest = max((x.size for x in jax.tree.leaves(like)), default=0)
        if chunk is None or largest <= chunk or explicit_mesh(like) is not None:
            return False
        kinds = kinds_of(like)
        if kinds not in known:
            known[kinds] = _is_elementwise(inner, like, chunk)
        return known[kinds]

    def init(params):
        encoder = lambda x, positive: encode(x, block, dtypes[positive], bits)
        return QuantizedState(_encoded(inner.init(params), params, kind, min_size, encoder))

    def update(updates, state, params=None, **extra_args):
        checks.state(owner, state, QuantizedState)
        if params is not None:
            checks.like(owner, "gradient", updates, params)
        run = lambda *args: inner.update(*args, **extra_args)
        old = state.inner_state
        if chunk is not None and in_chunks(updates if params is None else params):
            updates, after = by_chunks(run, chunk, updates, old, params)
            return updates, QuantizedState(after)
        whole = jax.tree.map(decode, old, is_leaf=is_coded)
        updates, after = run(updates, whole, params)
        again = lambda own, new: encode_like(new, own)
        return updates, QuantizedState(jax.tree.map(again, old, after, is_leaf=is_coded))

    both = _Quantized(init, update)
    both.exact = inner
    return both


def _encoded(
    state: State,
    params: Params,
    kind: Callable[[str], Kind],
    min_size: int,
    encoder: Callable[[Any, bool], Any],
) -> State:
    """``state`` with its large moments encoded by ``encoder``, which is told which are positive."""
    numbers, shapes = leaf_numbers(params), [jnp.shape(x) for x in jax.tree.leaves(params)]

    def kept(path: Any, leaf: Any) -> Any:
        i, before = owner_of(path, numbers)
        if i is None or leaf.shape != shapes[i] or leaf.size < min_size:
            return leaf
        named = [key.name for key in before if isinstance(key, jax.tree_util.GetAttrKey)]
        is_moment = kind(named[-1]) if named and leaf.dtype == jnp.float32 else None
        return leaf if is_moment is None else encoder(leaf, is_moment == "positive")

    return jax.tree_util.tree_map_with_path(kept, state)


def _is_elementwise(inner: GradientTransformationExtraArgs, like: PyTree, chunk: int) -> bool:
    """Whether the optimizer treats a chunk as it treats a whole leaf."""

    def part(x: Any) -> jax.ShapeDtypeStruct:
        shape = row(x.shape, chunk) if x.size > chunk else x.shape
        return jax.ShapeDtypeStruct(shape, x.dtype)

    try:
        same = leaf_programs(inner, like) == leaf_programs(inner, jax.tree.map(part, like))
    except Exception:  # it is not elementwise, needs extra arguments, or fails on whole leaves too
        return False
    return same and _can_leave_out(inner, like)


def _can_leave_out(inner: GradientTransformationExtraArgs, like: PyTree) -> bool:
    """Whether a state without its parts for some leaves is the state of a tree without them.

    It is not if the state has a container for each leaf, such as a tuple with an entry per axis.
    """
    structure_of: Any = jax.tree.structure
    numbers, state = leaf_numbers(like), jax.eval_shape(inner.init, like)
    leaves, structure = jax.tree.leaves(like), structure_of(like)

    def can_keep(kept: set[int]) -> bool:
        is_kept = lambda path: owner_of(path, numbers)[0] in {None, *kept}
        some = structure.unflatten([x if i in kept else None for i, x in enumerate(leaves)])
        left = jax.tree.map_with_path(lambda path, x: x if is_kept(path) else None, state)
        return structure_of(left) == structure_of(jax.eval_shape(inner.init, some))

    return len(leaves) < 2 or (can_keep({0}) and can_keep(set(range(1, len(leaves)))))
