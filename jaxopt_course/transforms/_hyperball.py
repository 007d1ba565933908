"""Hyperball: matrices move on spheres, so that no step changes their norm.

With the update U of an optimizer (added to the parameters), the rate a_t, and |.| the Frobenius
norm, every matrix W of norm R = |W| takes the step

    W' = W + a_t R U / |U|
    W <- R W' / |W'|

The rate is the length of the step relative to the matrix, whatever the size of U, and the norm of
the matrix is what it was. A matrix of zeros stays zero, and an update of zero moves nothing.

Reference: Wen et al., "Fantastic Pretraining Optimizers and Where to Find Them II: Hyperball
Optimization", 2026, https://arxiv.org/abs/2606.16899. There R is the norm at the start, which
differs by rounding only.
"""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Inexact, PyTree

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    Mask,
    ScalarOrSchedule,
    checks,
    global_norm,
    tree,
)

from ._chain import chain
from ._masked import masked
from ._scale import scale_by_learning_rate


def hyperball(
    inner: optax.GradientTransformation,
    learning_rate: ScalarOrSchedule,
    mask: Mask | None = None,
) -> GradientTransformationExtraArgs:
    """Use only the direction of an optimizer's update, and keep the norm of each matrix.

    Of the inner update of a matrix the length does not matter, so neither does the inner learning
    rate. It is the rate of all other leaves, which get the inner update unchanged. Weight decay of
    a matrix has no use: it points along the matrix, and is undone. ``update`` needs the parameters.

    Args:
        inner: a complete optimizer, whose updates descend, such as ``muon(1e-3)``.
        learning_rate: a_t, the length of a step relative to the norm of the matrix, in [0, inf),
            or a schedule of the step count; often 0.01.
        mask: leaves that move on spheres, as in :func:`masked`. By default they are those with two
            axes or more; embeddings, and matrices that start at zero, are better left out.

    Examples:
        >>> tx, w = hyperball(optax.sgd(1.0), 0.75), jnp.array([[0.0, 2.0]])
        >>> updates, _ = tx.update(jnp.array([[-9.0, 0.0]]), tx.init(w), w)
        >>> [round(float(x), 3) for x in (w + updates)[0]]
        [1.2, 1.6]
    """
    of_matrices = masked(_on_spheres(learning_rate), _matrices if mask is None else mask)
    return chain(checks.transformation("hyperball", "inner", inner), of_matrices)


def _on_spheres(learning_rate: ScalarOrSchedule) -> GradientTransformationExtraArgs:
    """Replace the update of each leaf by the step of this length on the leaf's sphere."""
    rate = scale_by_learning_rate(learning_rate, flip_sign=False)

    def update(updates, state, params=None, **extra_args):
        checks.params("hyperball", params, updates)
        checks.floats("hyperball", "update", updates)
        wide = tree.widened(updates)
        radii = jax.tree.map(lambda u, w: _norm_like(w, u), wide, params)
        steps = jax.tree.map(lambda u, r: r * _unit(u, _norm_like(u, u)), wide, radii)
        steps, state = rate.update(steps, state)
        moves = jax.tree.map(_retracted, steps, params, radii)
        return tree.cast_like(moves, updates), state

    return GradientTransformationExtraArgs(rate.init, update)


def _retracted(
    step: Inexact[Array, "*shape"], w: Inexact[Array, "*shape"], radius: Float[Array, ""]
) -> Array:
    """The update that leads from ``w`` to the point of its sphere nearest to ``w + step``."""
    start = w.astype(step.dtype)
    end = start + step
    norm = _norm_like(end, end)
    return jnp.where(norm > 0, radius * _unit(end, norm) - start, 0)  # 0 has no nearest point


def _unit(x: Inexact[Array, "*shape"], norm: Float[Array, ""]) -> Array:
    """``x / norm``, and 0 where the norm is 0."""
    unit: Array = tree.divide(x, jnp.where(norm > 0, norm, 1))
    return unit


def _norm_like(x: Inexact[Array, "*shape"], like: Inexact[Array, "*shape"]) -> Float[Array, ""]:
    """The norm of ``x`` in the real dtype of ``like``."""
    return global_norm(x).astype(jnp.finfo(like.dtype).dtype)


def _matrices(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda x: jnp.ndim(x) >= 2, tree)
