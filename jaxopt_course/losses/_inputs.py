"""What every loss does with its arguments first: check their kinds and shapes, and widen them."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxopt_course.core import checks, numerics


def wide(owner: str, what: str, values: Any) -> tuple[Float[Array, "..."], Any]:
    """``values`` in float32 or wider, and the dtype they came in.

    Raises:
        TypeError: if they are not real floating-point numbers.
    """
    values = checks.as_array(owner, what, values)
    if not jnp.issubdtype(values.dtype, jnp.floating):
        raise TypeError(f"{owner}: `{what}` must be floating-point, got {values.dtype}.")
    return values.astype(numerics.wide_dtype(values.dtype)), values.dtype


def check_reduction(owner: str, x: Array, axis: Any, where: Any = None) -> None:
    """Raise unless ``axis`` names axes of ``x``, and ``where`` is a mask that fits it, or None.

    Raises:
        TypeError: if one of them is something else.
        ValueError: if ``x`` has no such axis, or the mask has a shape that does not fit.
    """
    checks.axes(owner, "axis", axis)
    axes = axis if isinstance(axis, tuple | list) else () if axis is None else (axis,)
    if not all(-x.ndim <= a < x.ndim for a in axes):
        raise ValueError(f"{owner}: `axis` must name axes of the shape {x.shape}, got {axis!r}.")
    check_where(where)
    if where is not None and not _broadcasts(jnp.shape(where), x.shape):
        raise ValueError(
            f"{owner}: `where` must broadcast to the shape {x.shape}, got {jnp.shape(where)}."
        )


def broadcast_pair(owner: str, what: str, outputs: Any, targets: Any) -> tuple[Array, Array]:
    """Outputs and targets in the shape that both broadcast to.

    Raises:
        TypeError: if one of them is not an array of numbers.
        ValueError: if their shapes do not broadcast.
    """
    a, b = checks.as_array(owner, what, outputs), checks.as_array(owner, "targets", targets)
    try:
        shape = jnp.broadcast_shapes(a.shape, b.shape)
    except ValueError:
        raise ValueError(
            f"{owner}: `targets` must have a shape that broadcasts with {a.shape}, got {b.shape}."
        ) from None
    return jnp.broadcast_to(a, shape), jnp.broadcast_to(b, shape)


def _broadcasts(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    """Whether an array of ``shape`` broadcasts to the shape ``to``."""
    pairs = zip(reversed(shape), reversed(to), strict=False)
    return len(shape) <= len(to) and all(n in (1, m) for n, m in pairs)


def check_where(where: Any) -> None:
    """Raise unless ``where`` is an array of bools, or None.

    Raises:
        TypeError: if it is anything else.
    """
    if where is None or jnp.issubdtype(getattr(where, "dtype", object), jnp.bool_):
        return
    raise TypeError(f"`where` must be an array of bools or None, got {checks.shown(where)}.")


def wide_pair(
    owner: str, what: str, outputs: Any, targets: Any
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"], Any]:
    """Outputs and targets in one dtype, float32 or wider, and the dtype the outputs came in.

    Prevents the silent broadcast: outputs (3,) against targets (3, 1) would give a (3, 3) table
    of every output against every target.

    Raises:
        TypeError: if the outputs are not real floating-point numbers.
        ValueError: if the shapes differ.
    """
    wide_outputs, dtype = wide(owner, what, outputs)
    targets = checks.as_array(owner, "targets", targets)
    checks.like(owner, "`targets`", targets, wide_outputs, than=f"`{what}`")
    return wide_outputs, targets.astype(wide_outputs.dtype), dtype


def nothing_times(
    weights: Float[Array, "*shape"], values: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """``weights * values``, where a weight of 0 leaves nothing of an infinite value.

    Prevents 0 * inf, which is NaN: a class of probability 0 and label 0 costs nothing.
    """
    left_out = (weights == 0) & jnp.isinf(values)
    return weights * jnp.where(left_out, 0, values)


def infinite_alone(
    logits: Float[Array, "*shape"], axis: int | tuple[int, ...] | None
) -> Float[Array, "*shape"]:
    """Logits of the same softmax without +inf: where there is one, the others become -inf.

    Prevents inf - inf: a class of logit +inf has all the probability.
    """
    infinite = logits == jnp.inf
    among = jnp.any(infinite, axis, keepdims=True)
    return jnp.where(among, jnp.where(infinite, 0, -jnp.inf), logits)
