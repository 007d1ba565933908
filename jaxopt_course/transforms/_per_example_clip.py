"""Clipping of per-example gradients, the step that makes descent differentially private.

With gradients g_i of the examples of a batch and a bound C,

    sum_i g_i min(1, C / |g_i|)

References: Abadi et al., "Deep Learning with Differential Privacy", 2016,
https://arxiv.org/abs/1607.00133, algorithm 1; McMahan et al., "Learning Differentially Private
Recurrent Language Models", 2017, https://arxiv.org/abs/1710.06963, section 3.2, layer by layer.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PyTree, ScalarLike, Shaped

from jaxopt_course.core import Updates, checks, global_norm, tree


def per_example_global_norm_clip(
    grads: PyTree[Shaped[Array, "examples ..."]], l2_norm_clip: ScalarLike
) -> tuple[Updates, Int[Array, ""]]:
    """The sum of the examples' gradients, each shrunk to a joint L2 norm of ``l2_norm_clip``.

    Args:
        grads: gradients whose first axis is that of the examples.
        l2_norm_clip: the largest norm, in [0, inf].

    Returns:
        The sum, and how many gradients were shrunk.

    Raises:
        ValueError: if the first axes differ, or the bound is negative.

    Examples:
        >>> import jax.numpy as jnp
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
    """The same for each layer by itself, with bounds whose squares sum to the given one's.

    Args:
        grads: gradients whose first axis is that of the examples; a leaf is a layer.
        global_l2_norm_clip: C, the bound for all layers together, in [0, inf].
        uniform: whether all K layers get C / sqrt(K); else one with the share f of all
            entries gets C sqrt(f).

    Returns:
        The sum, and for each layer how many gradients were shrunk.

    Raises:
        ValueError: if the first axes differ, or the bound is negative.
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
