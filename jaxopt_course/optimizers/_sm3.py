"""SM3: AdaGrad whose sums are kept for each row and each column instead of each entry.

For an entry i of a leaf, let r run over the slices that contain i (its row, its column, ...). With
gradients g_t, learning rate a_t and momentum b,

    nu_t(i) = min over r of mu_{t-1}(r) + g_t(i)^2           at least AdaGrad's sum
    mu_t(r) = max over the entries i of slice r of nu_t(i)
    m_t     = b m_{t-1} + (1 - b) g_t / sqrt(nu_t + eps)
    w <- w - a_t m_t

Vectors keep a sum for each entry, so for vectors SM3 is AdaGrad with momentum.

Reference: Anil, Gupta, Koren & Singer, "Memory-Efficient Adaptive Optimization", 2019,
https://arxiv.org/abs/1901.11150, algorithm SM3-II.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, ScalarLike

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
from jaxopt_course.transforms import chain, scale_by_learning_rate

from ._decay import decayed


class ScaleBySM3State(NamedTuple):
    """State of the SM3 transformation; arrays are float32 or wider.

    mu: for each leaf a list with an array for each axis: one number for each slice across it.
    nu: running mean of the scaled updates, shaped like the params.
    """

    mu: Params
    nu: Params


def scale_by_sm3(
    b1: ScalarLike = 0.9, b2: ScalarLike = 1.0, eps: ScalarLike = 1e-8
) -> GradientTransformationExtraArgs:
    """Divide each entry by the root of the smallest of its sums, then average over time.

    Arguments are those of :func:`sm3`, with ``b1`` for ``momentum``, and ``eps``, added to the sum
    inside the square root, in [0, inf). Squares are summed if ``b2`` is 1, and averaged with this
    decay rate if it is in [0, 1).
    """
    checks.number("scale_by_sm3", "b1", b1, "[0, 1)")
    checks.number("scale_by_sm3", "b2", b2, "[0, 1]")
    checks.number("scale_by_sm3", "eps", eps, "[0, inf)")

    def init(params):
        peaks = lambda tree: jax.tree.map(lambda x: _peaks(numerics.abs_sq(x)), tree)
        mu = tree.accumulator_like(shapes_of(peaks, params))  # shapes and shardings alone
        return ScaleBySM3State(mu, tree.accumulator_like(params))

    def update(updates, state, params=None, **extra_args):
        checks.step("scale_by_sm3", updates, state, ScaleBySM3State, "nu")
        keep = numerics.in_dtype(b2)

        @functools.cache
        def add(dtype: Any) -> Array:
            return jnp.where(keep(dtype) == 1, jnp.ones((), dtype), numerics.complement(b2, dtype))

        def summed(square: Array, peaks: list[Array]) -> Array:
            dtype = square.dtype
            return add(dtype) * square + keep(dtype) * _lowest(peaks, square.shape).astype(dtype)

        sums = jax.tree.map(summed, tree.squared(updates), state.mu)
        scaled = tree.divide_by_root(tree.cast_like(updates, state.nu), sums, 0.0, eps)
        nu = tree.update_moment(scaled, state.nu, b1, 1)
        mu = tree.cast_like(jax.tree.map(_peaks, sums), state.mu)
        return tree.cast_like(nu, updates), ScaleBySM3State(mu, nu)

    return GradientTransformationExtraArgs(init, update)


def sm3(
    learning_rate: ScalarOrSchedule,
    momentum: ScalarLike = 0.9,
    *,
    weight_decay: ScalarOrSchedule | None = None,
    mask: Mask | None = None,
) -> GradientTransformationExtraArgs:
    """SM3, AdaGrad with momentum and with one sum for each row and each column.

    Args:
        learning_rate: the learning rate, in [0, inf), or a schedule of the step count.
        momentum: b, decay rate of the running mean of updates, in [0, 1).
        weight_decay: decoupled weight decay, in [0, inf), or a schedule; times the learning rate.
            None: no decay.
        mask: leaves that decay, as for :func:`adamw`; all by default.

    Examples:
        >>> tx = sm3(1.0, momentum=0.5)
    """
    checks.number("sm3", "momentum", momentum, "[0, 1)")
    return chain(
        scale_by_sm3(momentum),
        *decayed("sm3", weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )


def _peaks(x: Float[Array, "*shape"]) -> list[Array]:
    """For each axis the largest entry of each slice across it. A scalar is its own slice."""
    if x.ndim < 2:
        return [x]
    others = ([other for other in range(x.ndim) if other != axis] for axis in range(x.ndim))
    return [jnp.max(x, axis=axes) for axes in others]


def _lowest(peaks: list[Array], shape: tuple[int, ...]) -> Float[Array, "*shape"]:
    """For each entry the smallest of its slices' numbers."""
    if len(shape) < 2:
        return peaks[0]
    columns = (jax.lax.broadcast_in_dim(p, shape, (axis,)) for axis, p in enumerate(peaks))
    return functools.reduce(jnp.minimum, columns)
