"""Gradient clipping: of entries, leaves, units, examples, or of the whole update.

A NaN stays where it is: it neither spreads to other entries nor disappears.

References: Pascanu et al., "On the difficulty of training recurrent neural networks", 2013,
https://arxiv.org/abs/1211.5063, algorithm 1, for the norm; Brock et al., "High-Performance
Large-Scale Image Recognition Without Normalization", 2021, https://arxiv.org/abs/2102.06171,
equation 3, for units; Abadi et al., "Deep Learning with Differential Privacy", 2016,
https://arxiv.org/abs/1607.00133, algorithm 1, for examples; McMahan et al., "Learning
Differentially Private Recurrent Language Models", 2017, https://arxiv.org/abs/1710.06963,
section 3.2, layer by layer.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Inexact, Int, PyTree, ScalarLike, Shaped

from jaxopt_course.core import (
    EmptyState,
    GradientTransformationExtraArgs,
    Updates,
    checks,
    global_norm,
    l2_norm,
    numerics,
    placed_like,
    root_mean_square,
    shrink_to,
    tree,
)

from ._stateless import beside_params, of_floats


def clip(max_delta: ScalarLike) -> GradientTransformationExtraArgs:
    """Clip each entry to [-max_delta, max_delta].

    Args:
        max_delta: the bound, in [0, inf). The course suggests 5.

    Examples:
        >>> tx = clip(5.0)
        >>> tx.update(jnp.array([-1e9, 3.0]), tx.init(jnp.zeros(2)))[0].tolist()
        [-5.0, 3.0]
    """
    checks.number("clip", "max_delta", max_delta, "[0, inf)")

    def clipped(u: Array) -> Array:
        bound = jnp.asarray(max_delta, numerics.wide_dtype(u.dtype))
        bound = jnp.minimum(bound, float(jnp.finfo(u.dtype).max)).astype(u.dtype)  # is finite
        return jnp.clip(u, -bound, bound)

    return of_floats(lambda updates, params: jax.tree.map(clipped, updates))


def clip_by_global_norm(max_norm: ScalarLike) -> GradientTransformationExtraArgs:
    """Shrink all updates together so that their joint L2 norm is at most ``max_norm``.

    u <- u min(1, max_norm / |u|), with the norm over all leaves, in float32 or wider.

    Args:
        max_norm: the largest norm, in [0, inf).

    Examples:
        >>> tx = clip_by_global_norm(1.0)
        >>> updates, _ = tx.update(jnp.array([3.0, 4.0]), tx.init(jnp.zeros(2)))
        >>> [round(float(u), 3) for u in updates]
        [0.6, 0.8]
    """
    checks.number("clip_by_global_norm", "max_norm", max_norm, "[0, inf)")

    return of_floats(lambda updates, params: shrink_to(updates, global_norm(updates), max_norm))


def clip_by_block_rms(threshold: ScalarLike) -> GradientTransformationExtraArgs:
    """Shrink each leaf so that its root mean square is at most ``threshold``.

    u <- u min(1, threshold / RMS(u)) for each leaf u (Shazeer & Stern, "Adafactor", 2018,
    https://arxiv.org/abs/1804.04235, section 6).

    Args:
        threshold: the largest root mean square, in [0, inf).

    Examples:
        >>> tx = clip_by_block_rms(1.0)
        >>> tx.update(jnp.array([2.0, 2.0]), tx.init(jnp.zeros(2)))[0].tolist()
        [1.0, 1.0]
    """
    checks.number("clip_by_block_rms", "threshold", threshold, "[0, inf)")

    def clipped(u: Inexact[Array, "*shape"]) -> Updates:
        return shrink_to(u, root_mean_square(u), threshold) if u.size else u

    return of_floats(lambda updates, params: jax.tree.map(clipped, updates))


AdaptiveGradClipState = EmptyState
UNIT_AXES = {2: (0,), 3: (0,), 4: (0, 1, 2), 5: (0, 1, 2, 3)}  # dense, heads, HWIO, DHWIO


def unitwise_norm(
    x: Inexact[Array, "*shape"], axis: int | tuple[int, ...] | None = None
) -> Float[Array, "*shape"]:
    """The L2 norm of the unit that each entry belongs to, in float32 or wider.

    Args:
        x: weights or updates.
        axis: the axes that run over one unit. The default is all axes of a scalar or vector, the
            first of a dense kernel, and all but the last of a convolution kernel (HWIO, DHWIO). It
            must be given for arrays of more than 5 axes.

    Examples:
        >>> unitwise_norm(jnp.array([[3.0, 0.0], [4.0, 1.0]])).tolist()
        [[5.0, 1.0], [5.0, 1.0]]
    """
    checks.array("unitwise_norm", "x", x)
    checks.axes("unitwise_norm", "axis", axis)
    if axis is None and sum(n != 1 for n in x.shape) > 1:
        if x.ndim not in UNIT_AXES:
            raise ValueError(
                f"unitwise_norm: `axis` must be given for an array of {x.ndim} axes, got None."
            )
        axis = UNIT_AXES[x.ndim]
    norms = l2_norm(x, axis, keepdims=True)
    return placed_like(jnp.broadcast_to(norms, x.shape), x)


def unitwise_clip(
    g_norm: Float[Array, "*shape"],
    max_norm: Float[Array, "*shape"],
    grad: Inexact[Array, "*shape"],
    div_eps: ScalarLike = 1e-6,
) -> Inexact[Array, "*shape"]:
    """Shrink each unit of ``grad`` whose norm exceeds ``max_norm`` to that norm.

    Args:
        g_norm: norms of the units, as returned by :func:`unitwise_norm`.
        max_norm: the largest norms.
        grad: the updates.
        div_eps: the smallest divisor, in (0, inf).
    """
    dtype = numerics.wide_dtype(grad.dtype)
    divisor = jnp.maximum(g_norm, jnp.asarray(div_eps, g_norm.dtype))
    clipped = (tree.divide(grad, divisor) * max_norm.astype(dtype)).astype(grad.dtype)
    return jnp.where(g_norm < max_norm, grad, clipped)


def adaptive_grad_clip(
    clipping: ScalarLike, eps: ScalarLike = 1e-3, axis: int | tuple[int, ...] | None = None
) -> GradientTransformationExtraArgs:
    """Clip each unit's update to ``clipping`` times the norm of the unit's weights.

    u_i <- u_i min(1, clipping max(|w_i|, eps) / |u_i|) for each unit i, such as a column of a
    kernel. ``update`` needs the parameters.

    Args:
        clipping: the largest ratio of the norms, in [0, inf).
        eps: smallest norm of a unit's weights, in [0, inf), with which zero weights can move.
        axis: the axes that run over one unit, as in :func:`unitwise_norm`.

    Examples:
        >>> tx, params = adaptive_grad_clip(0.5), jnp.array([3.0, 4.0])
        >>> tx.update(jnp.array([30.0, 40.0]), tx.init(params), params)[0].tolist()
        [1.5, 2.0]
    """
    checks.numbers("adaptive_grad_clip", "[0, inf)", clipping=clipping, eps=eps)

    def clipped(u: Inexact[Array, "*shape"], w: Inexact[Array, "*shape"]) -> Array:
        norm = unitwise_norm(u, axis)
        ratio, smallest = (jnp.asarray(x, norm.dtype) for x in (clipping, eps))
        of_weights = unitwise_norm(w, axis).astype(norm.dtype)
        return unitwise_clip(norm, ratio * jnp.maximum(of_weights, smallest), u)

    return beside_params("adaptive_grad_clip", clipped)


def per_example_global_norm_clip(
    grads: PyTree[Shaped[Array, "examples ..."]], l2_norm_clip: ScalarLike
) -> tuple[Updates, Int[Array, ""]]:
    """The sum of the gradients of the examples, each shrunk to a joint L2 norm of ``l2_norm_clip``.

    sum_i g_i min(1, C / |g_i|), the step that makes gradient descent differentially private.

    Args:
        grads: gradients whose first axis is that of the examples.
        l2_norm_clip: C, the largest norm, in [0, inf].

    Returns:
        The sum, and the number of gradients that were shrunk.

    Examples:
        >>> total, shrunk = per_example_global_norm_clip([jnp.array([[3.0, 4.0], [0.0, 1.0]])], 1.0)
        >>> [round(float(x), 3) for x in total[0]], int(shrunk)
        ([0.6, 1.8], 1)
    """
    checks.number("per_example_global_norm_clip", "l2_norm_clip", l2_norm_clip, "[0, inf]")
    _check_examples("per_example_global_norm_clip", grads)
    return _clipped_sum(grads, l2_norm_clip)


def per_example_layer_norm_clip(
    grads: PyTree[Shaped[Array, "examples ..."]],
    global_l2_norm_clip: ScalarLike,
    uniform: bool = True,
) -> tuple[Updates, PyTree[Int[Array, ""]]]:
    """The sum of the gradients of the examples, in which each layer is clipped separately.

    Args:
        grads: gradients whose first axis is that of the examples; each leaf is a layer.
        global_l2_norm_clip: C, the bound for all layers together, in [0, inf].
        uniform: whether each of K layers gets the bound C / sqrt(K). Otherwise a layer with the
            share f of all entries gets C sqrt(f).

    Returns:
        The sum, and for each layer the number of gradients that were shrunk.
    """
    owner = "per_example_layer_norm_clip"
    checks.number(owner, "global_l2_norm_clip", global_l2_norm_clip, "[0, inf]")
    _check_examples(owner, grads)
    layers, structure = jax.tree.flatten(grads)
    sizes = [1 if uniform else math.prod(layer.shape[1:]) for layer in layers]
    results = [
        _clipped_sum(layer, global_l2_norm_clip * math.sqrt(size / sum(sizes)))
        for layer, size in zip(layers, sizes, strict=True)
    ]
    totals, shrunk = zip(*results, strict=True)
    return jax.tree.unflatten(structure, totals), jax.tree.unflatten(structure, shrunk)


def _clipped_sum(grads: PyTree, bound: ScalarLike) -> tuple[Updates, Int[Array, ""]]:
    norms = jax.vmap(global_norm)(grads)
    bounds = jnp.asarray(bound, norms.dtype)
    exceed = norms > bounds
    units = jax.vmap(tree.divide)(grads, jnp.where(exceed, norms, 1))
    factors = jnp.where(exceed, bounds, 1)

    def total(g: Array, unit: Array) -> Array:
        summed = jnp.tensordot(factors.astype(unit.dtype), unit, axes=1)
        return summed.astype(g.dtype if jnp.issubdtype(g.dtype, jnp.inexact) else unit.dtype)

    return jax.tree.map(total, grads, units), jnp.sum(exceed)


def _check_examples(owner: str, grads: PyTree) -> None:
    shapes = [jnp.shape(g) for g in jax.tree.leaves(grads)]
    if not shapes or any(shape[:1] != shapes[0][:1] or not shape for shape in shapes):
        raise ValueError(
            f"{owner}: `grads` must have one first axis, that of the examples, got {shapes}."
        )
