"""QK-Clip: weights of queries and keys shrink where attention logits have become too large.

With S_h the largest logit of head h in the last batch, the threshold T, and the query and key
weights W of that head after the update,

    g_h = min(1, T / S_h)
    W_query <- g_h^p W_query,    W_key <- g_h^(1 - p) W_key

so that the same inputs would have the largest logit T. Muon with this clip is MuonClip.

Reference: Kimi Team, "Kimi K2: Open Agentic Intelligence", 2025, algorithm 1, with p = 0.5,
https://arxiv.org/abs/2507.20534.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ScalarLike

from jaxopt_course.core import (
    EmptyState,
    GradientTransformationExtraArgs,
    Params,
    Updates,
    checks,
    numerics,
    on_auto_axes,
    tree,
)


ROLES = ("query", "key", "rotary")


def heads_in_flax(path: str, leaf: Any) -> tuple[str, str, int] | None:
    """Layer, role and axis of the heads of a leaf beneath ``query`` or ``key``, else None.

    The heads are the last axis but one, as in Flax's attention. In kernels with two axes and biases
    with one they are blocks of the last axis.

    Examples:
        >>> heads_in_flax("block_0/attention/query/kernel", jnp.zeros((8, 2, 4)))
        ('block_0/attention', 'query', -2)
        >>> heads_in_flax("block_0/dense/kernel", jnp.zeros((8, 8)))
    """
    names = path.split("/")
    found = [i for i, name in enumerate(names) if name in ("query", "key")]
    if not found:
        return None
    least = 2 if "bias" in names else 3  # axes of a leaf whose heads have an axis of their own
    return "/".join(names[: found[-1]]), names[found[-1]], -2 if jnp.ndim(leaf) >= least else -1


def qk_clip(
    threshold: ScalarLike = 100.0,
    alpha: ScalarLike = 0.5,
    *,
    heads_of: Callable[[str, Any], tuple[str, str, int] | None] = heads_in_flax,
) -> GradientTransformationExtraArgs:
    """Shrink the queries and keys of heads whose attention logits exceed a threshold.

    It is the last member of a chain, because it shrinks the weights that the whole update gives. It
    keeps no state; ``update`` needs the parameters and ``max_logits``: a dictionary from layers to
    S, f[heads] (or f[layers, heads] for stacked layers), the largest logits over the whole batch.
    Layers that are left out, and logits that are NaN or infinite, clip nothing.

    Args:
        threshold: T, in (0, inf).
        alpha: p, the share of the queries, in [0, 1].
        heads_of: maps the path of a leaf, such as ``"block_0/attention/query/kernel"``, and the
            leaf to its layer, its role and the axis of its heads, or to None. An axis longer than
            the number of heads consists of equal blocks, one for each head. The roles are
            ``"query"``, ``"key"``, and ``"rotary"`` for queries whose keys all heads share, which
            alone take the whole factor.

    Examples:
        >>> tx, weights = qk_clip(100.0), {"query": jnp.ones((3, 2, 4)), "key": jnp.ones((3, 2, 4))}
        >>> logits, still = {"": jnp.array([400.0, 50.0])}, jax.tree.map(jnp.zeros_like, weights)
        >>> updates, _ = tx.update(still, tx.init(weights), weights, max_logits=logits)
        >>> updates["key"][0, :, 0].tolist()
        [-0.5, 0.0]
    """
    checks.number("qk_clip", "threshold", threshold, "(0, inf)")
    checks.number("qk_clip", "alpha", alpha, "[0, 1]")
    checks.function("qk_clip", "heads_of", heads_of)

    def init(params):
        return EmptyState()

    def update(updates, state, params=None, *, max_logits=None, **extra_args):
        checks.empty_state("qk_clip", state)
        checks.params("qk_clip", params, updates)
        checks.floats("qk_clip", "update", updates)
        if not isinstance(max_logits, Mapping):
            raise TypeError(
                "qk_clip reads the largest logits: call `update(updates, state, params, "
                f"max_logits={{layer: logits}})`; got {checks.shown(max_logits)}."
            )
        numbers = (threshold, alpha)
        return on_auto_axes(
            clipped, updates, params, dict(max_logits), numbers, like=updates
        ), state

    def clipped(
        updates: Updates, params: Params, max_logits: dict[str, Any], numbers: tuple[Any, Any]
    ) -> Updates:
        seen = set()

        def moved(path: Any, u: Any, w: Any) -> Any:
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            own = heads_of(name, w)
            if own is None:
                return u
            layer, role, axis = own
            seen.add(layer)
            if layer not in max_logits:
                return u
            checks.choice("qk_clip", f"role of {name}", role, ROLES)
            wide = tree.widened(u)
            factor = _factors(jnp.asarray(max_logits[layer]), *numbers, role, wide.dtype)
            less = _along(name, 1 - factor, wide.shape, axis)
            return (wide - less * (wide + jnp.asarray(w, wide.dtype))).astype(u.dtype)

        found = jax.tree.map_with_path(moved, updates, params)
        if unknown := sorted(set(max_logits) - seen):
            raise ValueError(
                f"qk_clip: `max_logits` must name layers of the params, {sorted(seen)}, "
                f"got {unknown}."
            )
        return found

    return GradientTransformationExtraArgs(init, update)


def _factors(
    logits: Array, threshold: ScalarLike, alpha: ScalarLike, role: str, dtype: Any
) -> Array:
    """The factor of each head, 1 where it is not clipped."""
    real = jnp.finfo(dtype).dtype
    logits, limit = logits.astype(real), jnp.asarray(threshold, real)
    query = jnp.asarray(alpha, real)
    exponent = {"query": query, "key": numerics.complement(alpha, real)}.get(role, 1)
    exceeds = (logits > limit) & jnp.isfinite(logits)
    return jnp.where(exceeds, (limit / jnp.where(exceeds, logits, limit)) ** exponent, 1)


def _along(name: str, factors: Array, shape: tuple[int, ...], axis: int) -> Array:
    """``factors`` in a shape that broadcasts with ``shape``: the heads along ``axis``.

    Axes of the factors before that of the heads are those of a stack, the first ones of the leaf.
    """
    *stack, heads = factors.shape
    if not shape or shape[axis] % heads:
        raise ValueError(
            f"qk_clip: the heads of {name} must divide its axis {axis}, "
            f"got {checks.counted(heads, 'logit')} for shape {shape}."
        )
    blocks = jnp.repeat(factors, shape[axis] // heads, axis=-1)
    wanted = [*stack, *[1] * (len(shape) - len(stack))]
    wanted[axis] = shape[axis]
    return blocks.reshape(wanted)
