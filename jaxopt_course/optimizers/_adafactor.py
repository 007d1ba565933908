"""Adafactor: Adam's second moment of a matrix, stored as one number for each row and each column.

With gradients G_t of a matrix W and the decay rate d_t = 1 - t^(-decay_rate),

    R_t = d_t R_{t-1} + (1 - d_t) mean over columns of (G_t^2 + eps)         one number a row
    C_t = d_t C_{t-1} + (1 - d_t) mean over rows of (G_t^2 + eps)            one a column
    V_t = R_t C_t^T / mean(R_t)                                              never formed
    U_t = G_t / sqrt(V_t)
    W <- W - a_t max(1e-3, RMS(W)) U_t / max(1, RMS(U_t) / threshold)

Of a tensor the two longest axes are factored. Vectors, scalars and small matrices keep V_t itself.

Reference: Shazeer & Stern, "Adafactor: Adaptive Learning Rates with Sublinear Memory Cost",
2018, https://arxiv.org/abs/1804.04235, algorithms 4 and 5.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, DTypeLike, Float, Int, PyTree, ScalarLike

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    Mask,
    Params,
    ScalarOrSchedule,
    checks,
    numerics,
    shapes_of,
    tree,
)
from jaxopt_course.transforms import (
    add_decayed_weights,
    chain,
    clip_by_block_rms,
    ema,
    scale,
    scale_by_learning_rate,
    scale_by_param_block_rms,
)


class FactoredState(NamedTuple):
    """State of the Adafactor transformation; arrays are float32 or wider.

    A leaf has either ``v_row`` and ``v_col`` or ``v``; the others are ``zeros((1,))``, as in optax.

    count: number of updates so far, int32[].
    v_row: R, running mean of the squares' means over the longest axis.
    v_col: C, running mean of their means over the second longest axis.
    v: V, running mean of the squares of a leaf that is not factored.
    """

    count: Int[Array, ""]
    v_row: Params
    v_col: Params
    v: Params


def power_decay(step: Any, exponent: ScalarLike) -> Float[Array, ""]:
    """``1 - (step + 1)^(-exponent)``, which is 0 at the first step."""
    return 1 - jnp.maximum(numerics.as_float(step) + 1, 1) ** -numerics.as_float(exponent)


def scale_by_factored_rms(
    factored: bool = True,
    decay_rate: ScalarLike = 0.8,
    step_offset: ScalarLike = 0,
    min_dim_size_to_factor: int = 128,
    epsilon: ScalarLike = 1e-30,
    decay_rate_fn: Callable[[Any, Any], Any] = power_decay,
) -> GradientTransformationExtraArgs:
    """Divide each entry by the root of its factored second moment.

    Arguments are those of :func:`adafactor`, with ``step_offset`` for ``decay_offset`` and
    ``epsilon`` for ``eps``. ``decay_rate_fn(step - step_offset, decay_rate)`` returns the decay
    rate, in [0, 1).
    """
    owner = "scale_by_factored_rms"
    checks.flag(owner, "factored", factored)
    checks.numbers(owner, "[0, inf)", decay_rate=decay_rate, epsilon=epsilon)
    checks.number(owner, "step_offset", step_offset)
    checks.integer(owner, "min_dim_size_to_factor", min_dim_size_to_factor, "[0, inf)")
    least = min_dim_size_to_factor if factored else math.inf

    def init(params):
        means = lambda p: [_stored(jax.tree.map(numerics.abs_sq, p), i, least) for i in (0, 1)]
        row, column = map(tree.accumulator_like, shapes_of(means, params))
        whole = tree.real_accumulator_like(_stored(params, 2, least))
        return FactoredState(jnp.zeros((), jnp.int32), row, column, whole)

    def update(updates, state, params=None, **extra_args):
        checks.state(owner, state, FactoredState)
        checks.params(owner, params, updates)
        step = numerics.as_float(state.count) - numerics.as_float(step_offset)
        decay = decay_rate_fn(step, decay_rate)
        squares = jax.tree.map(lambda s: s + jnp.asarray(epsilon, s.dtype), tree.squared(updates))
        moments = [
            tree.update_moment(_stored(squares, i, least), old, decay, 1)
            for i, old in enumerate(state[1:])
        ]
        steps = jax.tree.map(functools.partial(_divided, least=least), updates, *moments)
        return steps, FactoredState(numerics.safe_increment(state.count), *moments)

    return GradientTransformationExtraArgs(init, update)


def _factored_axes(shape: tuple[int, ...], least: float) -> tuple[int, int] | None:
    """The longest and the second longest axis, or None for a leaf that is not factored."""
    if len(shape) < 2:
        return None
    *_, shorter, longest = (int(axis) for axis in np.argsort(shape, kind="stable"))
    return (longest, shorter) if shape[shorter] >= least else None


def _stored(squares: PyTree, which: int, least: float) -> PyTree:
    """For each leaf what ``v_row`` (0), ``v_col`` (1) or ``v`` (2) averages over time."""

    def part(x: Array) -> Array:
        axes = _factored_axes(x.shape, least)
        if (axes is None) != (which == 2):
            return jnp.zeros(1, x.dtype)
        return x if axes is None else jnp.mean(x, axes[which])

    return jax.tree.map(part, squares)


def _divided(g: Array, row: Array, column: Array, whole: Array, least: float) -> Array:
    """The gradient over the root of its second moment."""
    axes = _factored_axes(g.shape, least)
    if axes is None:
        return tree.divide_by_root(g, whole, 0.0, 0.0)
    longest, shorter = axes
    mean = jnp.mean(row, axis=shorter - (shorter > longest), keepdims=True)
    by_row = _inverse_root(numerics.safe_divide(row, jnp.broadcast_to(mean, row.shape)))
    factors = jnp.expand_dims(by_row, longest), jnp.expand_dims(_inverse_root(column), shorter)
    dtype = numerics.wide_dtype(g.dtype)
    first, second = (factor.astype(dtype) for factor in factors)
    return (g.astype(dtype) * first * second).astype(g.dtype)


def _inverse_root(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """``1 / sqrt(x)``, and 0 at 0; its derivative is finite where 1 / x^(3/2) would overflow."""
    return numerics.safe_divide(jnp.ones_like(x), numerics.safe_sqrt(x))


def adafactor(
    learning_rate: ScalarOrSchedule | None = None,
    min_dim_size_to_factor: int = 128,
    decay_rate: ScalarLike = 0.8,
    decay_offset: ScalarLike = 0,
    multiply_by_parameter_scale: bool = True,
    clipping_threshold: ScalarLike | None = 1.0,
    momentum: ScalarLike | None = None,
    dtype_momentum: DTypeLike | None = None,
    weight_decay_rate: ScalarOrSchedule | None = None,
    eps: ScalarLike = 1e-30,
    factored: bool = True,
    weight_decay_mask: Mask | None = None,
) -> GradientTransformationExtraArgs:
    """Adafactor, whose second moment is one number for each row and each column.

    Args:
        learning_rate: the learning rate, in [0, inf), or a schedule of the step count. None: 1.
        min_dim_size_to_factor: a leaf is factored if its second longest axis has at least this
            size, a static int in [0, inf).
        decay_rate: exponent of the decay rate, in [0, inf).
        decay_offset: step count at which the decay rate starts.
        multiply_by_parameter_scale: whether to multiply updates by max(1e-3, RMS(W)).
        clipping_threshold: largest RMS of a leaf's U_t, in [0, inf). None: no clipping.
        momentum: decay rate of a running mean of the updates, in [0, 1). None: no momentum.
        dtype_momentum: dtype of that mean; float32 or wider by default.
        weight_decay_rate: weight decay d, in [0, inf), or a schedule: W <- W - d W, which is not
            multiplied by the learning rate. None: no decay.
        eps: added to the squared gradients, in [0, inf).
        factored: whether to factor the second moment.
        weight_decay_mask: leaves that decay, as for :func:`adamw`; all by default.

    Examples:
        >>> tx = adafactor(0.01)
    """
    checks.flag("adafactor", "multiply_by_parameter_scale", multiply_by_parameter_scale)
    parts = [scale_by_factored_rms(factored, decay_rate, decay_offset, min_dim_size_to_factor, eps)]
    if clipping_threshold is not None:
        checks.number("adafactor", "clipping_threshold", clipping_threshold, "[0, inf)")
        parts.append(clip_by_block_rms(clipping_threshold))
    if learning_rate is not None:
        parts.append(scale_by_learning_rate(learning_rate, flip_sign=False))
    if multiply_by_parameter_scale:
        parts.append(scale_by_param_block_rms())
    if momentum is not None:
        checks.number("adafactor", "momentum", momentum, "[0, 1)")
        parts.append(ema(momentum, debias=False, accumulator_dtype=dtype_momentum))
    if weight_decay_rate is not None:
        checks.learning_rate("adafactor", weight_decay_rate, "weight_decay_rate")
        parts.append(add_decayed_weights(weight_decay_rate, weight_decay_mask))
    return chain(*parts, scale(-1.0))
