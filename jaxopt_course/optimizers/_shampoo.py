"""Shampoo: AdaGrad with one factor for each axis of a tensor instead of one full matrix.

For a matrix W (m, n) with gradients G_t and learning rate a_t,

    L_t = L_{t-1} + G_t G_t',    R_t = R_{t-1} + G_t' G_t,    L_0 = eps I, R_0 = eps I
    W  <- W - a_t L_t^(-1/4) G_t R_t^(-1/4)

A tensor of k axes has k factors, H_i = sum of G_(i) G_(i)' with G_(i) the matrix whose rows run
along axis i, and each is applied along its axis as H_i^(-1/(2k)). For vectors and scalars, and for
axes too long for a full factor, only the diagonal is kept: for vectors that is AdaGrad.

Reference: Gupta, Koren & Singer, "Shampoo: Preconditioned Stochastic Tensor Optimization",
2018, algorithms 1 and 2, and section 5 for the diagonal, https://arxiv.org/abs/1802.09568.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Inexact, Int, ScalarLike

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    ScalarOrSchedule,
    Updates,
    checks,
    numerics,
    on_auto_axes,
    placed_like,
    tree,
)
from jaxopt_course.transforms import chain, scale_by_learning_rate

from ._stacks import map_stacked


class ScaleByShampooState(NamedTuple):
    """State of the Shampoo transformation; each leaf has a tuple with an array for each axis.

    count: number of updates so far, int32[].
    factors: H_i, float32 or wider: a matrix, or its diagonal as a vector.
    roots: H_i^(-1/(2k)) when it was last computed, likewise.
    """

    count: Int[Array, ""]
    factors: Any
    roots: Any


def scale_by_shampoo(
    eps: ScalarLike = 1e-4,
    preconditioning_period: ScalarLike = 1,
    max_precond_dim: int = 1024,
) -> GradientTransformationExtraArgs:
    """Precondition gradients along each axis. Arguments are those of :func:`shampoo`."""
    checks.number("scale_by_shampoo", "eps", eps, "[0, inf)")
    checks.number("scale_by_shampoo", "preconditioning_period", preconditioning_period, "[1, inf)")
    checks.integer("scale_by_shampoo", "max_precond_dim", max_precond_dim, "[0, inf)")

    def starts(p: Any) -> tuple[Array, ...]:
        dtype = numerics.wide_dtype(jnp.result_type(p))
        start = jnp.asarray(eps, jnp.finfo(dtype).dtype)

        def factor(size: tuple[int, ...], full: bool) -> Array:
            if full:
                return start.astype(dtype) * jnp.eye(size[0], dtype=dtype)
            diagonal = jnp.full(size, start)
            return placed_like(diagonal, p) if jnp.ndim(p) == 1 else diagonal

        return tuple(factor(*kind) for kind in factor_sizes(jnp.shape(p), max_precond_dim))

    def init(params):
        factors, roots = (jax.tree.map(starts, params) for _ in range(2))
        return ScaleByShampooState(jnp.zeros((), jnp.int32), factors, roots)

    def update(updates, state, params=None, **extra_args):
        checks.state("scale_by_shampoo", state, ScaleByShampooState)
        if params is not None:
            checks.like("scale_by_shampoo", "gradient", updates, params)
        return on_auto_axes(step, updates, state, preconditioning_period, like=(updates, state))

    def step(
        updates: Updates, state: ScaleByShampooState, period: ScalarLike
    ) -> tuple[Updates, ScaleByShampooState]:
        grads = tree.widened(updates)
        factors = tree.running_sum(state.factors, jax.tree.map(grams, grads, state.factors), 1.0)
        roots_of = lambda g, own: tuple(inverse_root(h, 2 * len(own)) for h in own)
        roots = jax.lax.cond(
            numerics.is_due(state.count, period),
            lambda: map_stacked(roots_of, grads, factors),
            lambda: state.roots,
        )
        scaled = tree.cast_like(jax.tree.map(along_axes, grads, roots), updates)
        return scaled, ScaleByShampooState(numerics.safe_increment(state.count), factors, roots)

    return GradientTransformationExtraArgs(init, update)


def shampoo(
    learning_rate: ScalarOrSchedule,
    eps: ScalarLike = 1e-4,
    preconditioning_period: ScalarLike = 1,
    max_precond_dim: int = 1024,
) -> GradientTransformationExtraArgs:
    """Shampoo, AdaGrad with a matrix for each axis of a leaf.

    The momentum of the paper's experiments is ``trace(0.9)`` between :func:`scale_by_shampoo` and
    the learning rate.

    Args:
        learning_rate: the learning rate, in [0, inf), or a schedule of the step count; 0.1 to 2.
        eps: the factors start at ``eps`` times the identity, in [0, inf).
        preconditioning_period: number of steps between computations of the roots, in [1, inf),
            rounded. They take one eigendecomposition a factor.
        max_precond_dim: longest axis with a full factor, a static int in [0, inf).

    Examples:
        >>> tx = shampoo(0.1)
    """
    return chain(
        scale_by_shampoo(eps, preconditioning_period, max_precond_dim),
        scale_by_learning_rate(learning_rate),
    )


def factor_sizes(shape: tuple[int, ...], longest: int) -> list[tuple[tuple[int, ...], bool]]:
    """For each axis its size as a shape, and whether its factor is full. A scalar has one axis."""
    return [
        (shape[axis : axis + 1], len(shape) > 1 and 1 < shape[axis] <= longest)
        for axis in range(max(len(shape), 1))
    ]


def grams(
    x: Inexact[Array, "..."], factors: Sequence[Inexact[Array, "..."] | None]
) -> tuple[Inexact[Array, "..."] | None, ...]:
    """For each axis with a factor, the inner products of the slices of ``x`` across it.

    They are those of every two indices of the axis or, for a diagonal factor, of each with itself.
    """

    def gram(axis: int, factor: Inexact[Array, "..."]) -> Inexact[Array, "..."]:
        others = [i for i in range(x.ndim) if i != axis]
        if factor.ndim == 2:
            return jnp.tensordot(x, x.conj(), (others, others))
        return jnp.sum(numerics.abs_sq(x), others)

    return tuple(None if h is None else gram(axis, h) for axis, h in enumerate(factors))


def along_axes(
    x: Inexact[Array, "..."], factors: Sequence[Inexact[Array, "..."] | None]
) -> Inexact[Array, "..."]:
    """Multiply ``x`` along each axis by its factor: a matrix, the diagonal of one, or None."""
    for axis, factor in enumerate(factors):
        if factor is not None and factor.ndim == 2:
            x = jnp.moveaxis(jnp.tensordot(x, factor.astype(x.dtype), ((axis,), (1,))), -1, axis)
        elif factor is not None:
            others = [i for i in range(x.ndim) if i != axis]
            x = x * jnp.expand_dims(factor, others).astype(x.dtype)
    return x


def inverse_root(factor: Inexact[Array, "..."], degree: int) -> Inexact[Array, "..."]:
    """``H^(-1/degree)`` of a positive semidefinite matrix, or of the diagonal of one."""
    return _matrix_root(factor, degree) if factor.ndim == 2 else _root(factor, degree)


def _root(values: Array, degree: int) -> Array:
    """``values^(-1/degree)``, and 0 where they are 0, because no gradient was seen there."""
    positive = values > 0
    return jnp.where(positive, jnp.where(positive, values, 1) ** (-1 / degree), 0)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _matrix_root(matrix: Array, degree: int) -> Array:
    return _composed(*_spectrum(matrix, degree))


@_matrix_root.defjvp
def _matrix_root_jvp(degree, primals, tangents):  # type: ignore[no-untyped-def]
    """The exact derivative, also where eigenvalues coincide and their own is infinite.

    The derivative of f(H) = V f(D) V' along dH is V (F * V' dH V) V' with the divided differences
    F_ij = (f(d_i) - f(d_j)) / (d_i - d_j) (Daleckii & Krein). For f(d) = d^(-1/n), p = d_i^(1/n)
    and q = d_j^(1/n) these are -1 / (p q sum_k p^k q^(n-1-k)), without cancellation.
    """
    (matrix,), (tangent,) = primals, tangents
    roots, vectors = _spectrum(matrix, degree)
    inverse = numerics.safe_divide(jnp.ones_like(roots), roots)
    p, q = jnp.meshgrid(inverse, inverse, indexing="ij")
    powers = sum(p**k * q ** (degree - 1 - k) for k in range(degree))
    slopes = -numerics.safe_divide(jnp.ones_like(p), p * q * powers).astype(vectors.dtype)
    turned = slopes * (vectors.conj().T @ tangent @ vectors)
    return _composed(roots, vectors), vectors @ turned @ vectors.conj().T


def _spectrum(matrix: Array, degree: int) -> tuple[Array, Array]:
    """Inverse roots of the eigenvalues, and the eigenvectors.

    Eigenvalues below the rounding error of the largest are noise, possibly negative, and are raised
    to it.
    """
    values, vectors = jnp.linalg.eigh(matrix)
    noise = len(values) * jnp.finfo(values.dtype).eps * values[-1]
    return _root(jnp.maximum(values, noise), degree), vectors


def _composed(values: Array, vectors: Array) -> Array:
    """The matrix with these eigenvalues and eigenvectors."""
    return (vectors * jnp.expand_dims(values, 0).astype(vectors.dtype)) @ vectors.conj().T
