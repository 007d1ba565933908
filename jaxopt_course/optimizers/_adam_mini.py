"""Adam-mini: Adam with one second moment for each block of parameters, not for each parameter.

With gradients g_t, learning rate a_t, and the mean taken over each block by itself,

    m_t = b1 m_{t-1} + (1 - b1) g_t
    v_t = b2 v_{t-1} + (1 - b2) mean(g_t^2)
    w  <- w - a_t (m_hat / (sqrt(v_hat) + eps) + d w)

Blocks are the parts of the Hessian that are dense: the weights into one output neuron, the
embedding of one token, a whole bias. The state is about half of Adam's.

Reference: Zhang et al., "Adam-mini: Use Fewer Learning Rates To Gain More", 2024, algorithm 1
and its partition of parameters, https://arxiv.org/abs/2406.16793.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Int, PyTree, ScalarLike

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
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
    """The axes along which each place is a block of its own; () is one block for the leaf.

    A kernel, of two axes or more, has a block for each place of its last axis, which is the
    output neuron or channel in Flax. A leaf that is called ``embedding`` has one for each place
    of its first axis, the token. Anything else is one block.

    Args:
        path: where the leaf lies, as of ``jax.tree_util``.
        leaf: an array.

    Returns:
        The axes to keep.

    Examples:
        >>> import jax.numpy as jnp
        >>> neuron_axes((), jnp.ones((3, 4))), neuron_axes((), jnp.ones(4))
        ((-1,), ())
    """
    if jnp.ndim(leaf) < 2:
        return ()
    return (0,) if jax.tree_util.keystr(path[-1:], simple=True) == "embedding" else (-1,)


class ScaleByAdamMiniState(NamedTuple):
    """What the next step needs from the past.

    count: how many updates have been made, int32[].
    mu: running mean of gradients, shaped like the params, float32 or wider.
    nu: running mean of the blocks' mean squares, likewise, with size 1 along axes not kept.
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
    """Rescale the gradient of each block by the history of its root mean square.

    Args:
        b1: decay of the running mean, in [0, 1).
        b2: decay of the running mean of squares, in [0, 1).
        eps: added to the root, in [0, inf).
        eps_root: added to the squares inside the root, in [0, inf).
        mu_dtype: dtype in which the running mean is kept; float32 or wider by default.
        kept_axes: path and leaf -> the axes along which each place is a block of its own.

    Returns:
        A transformation whose updates point uphill, with blocks of root mean square about one.

    Raises:
        ValueError: if a number lies outside its range.
    """
    checks.dtype("scale_by_adam_mini", "mu_dtype", mu_dtype)
    check_moments("scale_by_adam_mini", b1, b2, eps, eps_root)

    def mean_squares(grads: PyTree) -> PyTree:
        def mean(path: tuple[Any, ...], x: Any) -> Array:
            kept = {axis % x.ndim for axis in kept_axes(path, x)} if x.ndim else ()
            over = [axis for axis in range(x.ndim) if axis not in kept]
            size = max(math.prod(x.shape[axis] for axis in over), 1)
            return jnp.sum(x, over, keepdims=True) / size

        return jax.tree.map_with_path(mean, tree.squared(grads))

    def init(params):
        nu = tree.accumulator_like(shapes_of(mean_squares, params))
        return ScaleByAdamMiniState(
            jnp.zeros((), jnp.int32), tree.accumulator_like(params, mu_dtype), nu
        )

    def update(updates, state, params=None, **extra_args):
        checks.state("scale_by_adam_mini", state, ScaleByAdamMiniState)
        checks.like("scale_by_adam_mini", "gradient", updates, state.mu)
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
    mask: PyTree | Callable[[Params], PyTree] | None = None,
    *,
    kept_axes: Callable[[tuple[Any, ...], Any], Sequence[int]] = neuron_axes,
) -> GradientTransformationExtraArgs:
    """Adam-mini with decoupled weight decay.

    Args:
        learning_rate: a_t, in [0, inf), or a schedule of the step count. Adam's is usual.
        b1: decay of the running mean, in [0, 1).
        b2: decay of the running mean of squares, in [0, 1).
        eps: added to the root, in [0, inf).
        eps_root: added to the squares inside the root, in [0, inf).
        mu_dtype: dtype in which the running mean is kept; float32 or wider by default.
        weight_decay: d, in [0, inf), or a schedule; multiplied by the learning rate.
        mask: a tree of bools shaped like (a prefix of) the params, or a function of the
            params that returns one: which leaves decay. All by default.
        kept_axes: path and leaf -> the axes along which each place is a block of its own. For
            the heads of an attention, keep the axis of the heads.

    Returns:
        A transformation whose updates are to be added to the params; ``update`` needs them.

    Raises:
        ValueError: if a number lies outside its range.

    Examples:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> params, tx = jnp.array([[3.0, -2.0], [1.0, 0.5]]), adam_mini(0.1)
        >>> state, update = tx.init(params), jax.jit(tx.update)
        >>> for _ in range(200):
        ...     updates, state = update(2 * params, state, params)
        ...     params = params + updates
        >>> bool(jnp.linalg.norm(params) < 1e-2)
        True
    """
    return chain(
        scale_by_adam_mini(b1, b2, eps, eps_root, mu_dtype, kept_axes=kept_axes),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )
