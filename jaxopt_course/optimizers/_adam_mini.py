"""Adam-mini: Adam with one second moment for each block of parameters.

With gradients g_t, learning rate a_t, weight decay d, and the mean taken over each block,

    m_t = b1 m_{t-1} + (1 - b1) g_t
    v_t = b2 v_{t-1} + (1 - b2) mean(g_t^2)
    w  <- w - a_t (m_hat / (sqrt(v_hat + eps_root) + eps) + d w)

Blocks are the dense parts of the Hessian: the weights of one output neuron, the embedding of one
token, a whole bias. The state takes about half the memory of Adam's.

Reference: Zhang et al., "Adam-mini: Use Fewer Learning Rates To Gain More", 2024, algorithm 1,
https://arxiv.org/abs/2406.16793.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Int, PyTree, ScalarLike

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
from jaxopt_course.transforms import add_decayed_weights, chain, scale_by_learning_rate

from ._adam import check_moments


def neuron_axes(path: tuple[Any, ...], leaf: Any) -> tuple[int, ...]:
    """The axes of a leaf along which every index is a block of its own; () for a single block.

    A kernel with at least two axes has a block for each index of its last axis, the output neuron
    or channel in Flax. A leaf named ``embedding`` has one for each index of its first axis, the
    token. Any other leaf is a single block.

    Args:
        path: path of the leaf, as in ``jax.tree_util``.
        leaf: an array.

    Examples:
        >>> neuron_axes((), jnp.ones((3, 4))), neuron_axes((), jnp.ones(4))
        ((-1,), ())
    """
    if jnp.ndim(leaf) < 2:
        return ()
    return (0,) if jax.tree_util.keystr(path[-1:], simple=True) == "embedding" else (-1,)


class ScaleByAdamMiniState(NamedTuple):
    """State of the Adam-mini transformation.

    count: number of updates so far, int32[].
    mu: running mean of gradients, shaped like the params, float32 or wider.
    nu: running mean of each block's mean square, likewise, with size 1 along the other axes.
    """

    count: Int[Array, ""]
    mu: Params
    nu: Params


def scale_by_adam_mini(
    b1: ScalarLike = 0.9,
    b2: ScalarLike = 0.999,
    eps: ScalarLike = 1e-8,
    eps_root: ScalarLike = 0.0,
    mu_dtype: DTypeLike | None = None,
    *,
    kept_axes: Callable[[tuple[Any, ...], Any], Sequence[int]] = neuron_axes,
) -> GradientTransformationExtraArgs:
    """Rescale gradients by the moments of blocks. Arguments are those of :func:`adam_mini`."""
    check_moments("scale_by_adam_mini", b1, b2, eps, eps_root, mu_dtype)

    def mean_squares(grads: PyTree) -> PyTree:
        def mean(path: tuple[Any, ...], x: Any) -> Array:
            kept = {axis % x.ndim for axis in kept_axes(path, x)} if x.ndim else ()
            over = [axis for axis in range(x.ndim) if axis not in kept]
            size = max(math.prod(x.shape[axis] for axis in over), 1)
            return jnp.sum(x, over, keepdims=True) / size

        return jax.tree.map_with_path(mean, tree.squared(grads))

    def init(params):
        mu = tree.accumulator_like(params, mu_dtype)
        nu = tree.accumulator_like(shapes_of(mean_squares, params))
        return ScaleByAdamMiniState(jnp.zeros((), jnp.int32), mu, nu)

    def update(updates, state, params=None, **extra_args):
        checks.step("scale_by_adam_mini", updates, state, ScaleByAdamMiniState, "mu")
        count = numerics.safe_increment(state.count)
        mu = tree.update_moment(updates, state.mu, b1, 1)
        nu = tree.update_moment(mean_squares(updates), state.nu, b2, 1)
        m, v = tree.bias_correction(mu, b1, count), tree.bias_correction(nu, b2, count)
        scaled = tree.cast_like(tree.divide_by_root(m, v, eps, eps_root), updates)
        return scaled, ScaleByAdamMiniState(count, tree.cast_like(mu, state.mu), nu)

    return GradientTransformationExtraArgs(init, update)


def adam_mini(
    learning_rate: ScalarOrSchedule,
    b1: ScalarLike = 0.9,
    b2: ScalarLike = 0.999,
    eps: ScalarLike = 1e-8,
    eps_root: ScalarLike = 0.0,
    mu_dtype: DTypeLike | None = None,
    weight_decay: ScalarOrSchedule = 0.0,
    mask: Mask | None = None,
    *,
    kept_axes: Callable[[tuple[Any, ...], Any], Sequence[int]] = neuron_axes,
) -> GradientTransformationExtraArgs:
    """Adam-mini, with one second moment for each block, and decoupled weight decay.

    Args:
        learning_rate: the learning rate, in [0, inf), or a schedule of the step count; as for Adam.
        b1: decay rate of the first moment, in [0, 1).
        b2: decay rate of the second moment, in [0, 1).
        eps: added to the square root in the denominator, in [0, inf).
        eps_root: added to the second moment inside the square root, in [0, inf).
        mu_dtype: dtype of the first moment; float32 or wider by default.
        weight_decay: decoupled weight decay, in [0, inf), or a schedule; times the learning rate.
        mask: leaves that decay, as for :func:`adamw`; all by default.
        kept_axes: maps a path and a leaf to the axes along which every index is a block of its own.
            For attention, keep the axis of the heads.

    Examples:
        >>> tx = adam_mini(1e-3)
    """
    return chain(
        scale_by_adam_mini(b1, b2, eps, eps_root, mu_dtype, kept_axes=kept_axes),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )
