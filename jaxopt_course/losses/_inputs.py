"""The arguments of the losses: checks of kinds and shapes, widening, and products with infinity."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxopt_course.core import checks, numerics


Axis = int | tuple[int, ...] | None


def wide(owner: str, what: str, values: Any) -> tuple[Float[Array, "..."], Any]:
    """Floating-point ``values`` in float32 or wider, and the dtype they had."""
    values = checks.as_array(owner, what, values)
    if not jnp.issubdtype(values.dtype, jnp.floating):
        raise TypeError(f"{owner}: `{what}` must be floating-point, got {values.dtype}.")
    return values.astype(numerics.wide_dtype(values.dtype)), values.dtype


def wide_pair(
    owner: str, what: str, outputs: Any, targets: Any, aim: str = "targets"
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"], Any]:
    """Outputs and targets in one dtype, float32 or wider, and the dtype that the outputs had.

    ``what`` and ``aim`` are the names of the arguments in messages.

    Prevents a silent broadcast: outputs of shape (3,) and targets of shape (3, 1) would give a
    (3, 3) table of every output against every target.
    """
    wide_outputs, dtype = wide(owner, what, outputs)
    targets = checks.as_array(owner, aim, targets)
    checks.like(owner, f"`{aim}`", targets, wide_outputs, than=f"`{what}`")
    return wide_outputs, targets.astype(wide_outputs.dtype), dtype


def broadcast_pair(
    owner: str, what: str, outputs: Any, targets: Any, aim: str = "targets"
) -> tuple[Array, Array]:
    """Outputs and targets, broadcast to one shape."""
    a, b = checks.as_array(owner, what, outputs), checks.as_array(owner, aim, targets)
    try:
        shape = jnp.broadcast_shapes(a.shape, b.shape)
    except ValueError:
        raise ValueError(
            f"{owner}: `{aim}` must have a shape that broadcasts with {a.shape}, got {b.shape}."
        ) from None
    return jnp.broadcast_to(a, shape), jnp.broadcast_to(b, shape)


def check_axis(owner: str, x: Array, axis: Any, where: Any = None) -> None:
    """Raise unless ``axis`` names axes of ``x``, and ``where`` is None or broadcasts to ``x``."""
    checks.axes(owner, "axis", axis)
    axes = axis if isinstance(axis, tuple | list) else () if axis is None else (axis,)
    if not all(-x.ndim <= a < x.ndim for a in axes):
        raise ValueError(f"{owner}: `axis` must name axes of the shape {x.shape}, got {axis!r}.")
    check_where(owner, where)
    shape = () if where is None else where.shape
    pairs = zip(reversed(shape), reversed(x.shape), strict=False)
    if len(shape) > x.ndim or any(n not in (1, m) for n, m in pairs):
        raise ValueError(f"{owner}: `where` must broadcast to the shape {x.shape}, got {shape}.")


def check_where(owner: str, where: Any) -> None:
    """Raise unless ``where`` is an array of bools, or None."""
    if where is not None and not jnp.issubdtype(getattr(where, "dtype", object), jnp.bool_):
        raise TypeError(
            f"{owner}: `where` must be an array of bools or None, got {checks.shown(where)}."
        )


def nothing_times(
    weights: Float[Array, "*shape"], values: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """``weights * values``, which is 0 where the weight is 0 and the value is infinite.

    Prevents 0 * inf, which is NaN: a class of probability 0 and label 0 adds nothing to a loss.
    """
    left_out = (weights == 0) & jnp.isinf(values)
    return weights * jnp.where(left_out, 0, values)


def safe_logits(logits: Float[Array, "*shape"], axis: Axis) -> Float[Array, "*shape"]:
    """Logits with the same softmax and without +inf.

    Prevents inf - inf: a class of logit +inf has all the probability, so it gets the logit 0 and
    the other classes get -inf.
    """
    infinite = logits == jnp.inf
    among = jnp.any(infinite, axis, keepdims=True)
    return jnp.where(among, jnp.where(infinite, 0, -jnp.inf), logits)
