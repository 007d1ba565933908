"""Shampoo: AdaGrad with one factor for each axis of a tensor, in place of one full matrix.

For a matrix W (m, n) with gradients G_t and learning rate a_t,

    L_t = L_{t-1} + G_t G_t',    R_t = R_{t-1} + G_t' G_t,    L_0 = eps I, R_0 = eps I
    W  <- W - a_t L_t^(-1/4) G_t R_t^(-1/4)

A tensor of k axes has k factors, H_i = sum of G_(i) G_(i)' with G_(i) the matrix whose rows run
over axis i, and each is applied along its axis as H_i^(-1/(2k)). Of vectors and scalars, and of
axes too long for a full factor, only the factor's diagonal is kept: for vectors that is AdaGrad.

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
    """What the next step needs from the past; each leaf has a tuple with one array for each axis.

    count: how many updates have been made, int32[].
    factors: H_i, float32 or wider: a matrix, or its diagonal as a vector.
    roots: H_i^(-1/(2k)) as of the last time that they were computed, likewise.
    """

    count: Int[Array, ""]
    factors: Any
    roots: Any


def scale_by_shampoo(
    eps: ScalarLike = 1e-4,
    preconditioning_period: ScalarLike = 1,
    max_precond_dim: int = 1024,
) -> GradientTransformationExtraArgs:
    """Multiply each gradient along each of its axes by an inverse root of what was seen there.

    Args:
        eps: what the factors start from, times the identity, in [0, inf).
        preconditioning_period: steps from one computation of the roots to the next, in
            [1, inf), rounded. The roots cost one eigenvalue decomposition a factor.
        max_precond_dim: the longest axis that has a full factor, a static int in [0, inf).

    Returns:
        A transformation whose updates point uphill.

    Raises:
        ValueError: if a number lies outside its range.
    """
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
        roots = jax.lax.cond(
            numerics.is_due(state.count, period),
            lambda: _recomputed(grads, factors),
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
    """Shampoo, as a chain of :func:`scale_by_shampoo` and the learning rate.

    Momentum, as in the paper's experiments, is a link between the two: ``trace(0.9)``.

    Args:
        learning_rate: a_t, in [0, inf), or a schedule of the step count. 0.1 to 2 is usual.
        eps: what the factors start from, times the identity, in [0, inf).
        preconditioning_period: steps from one computation of the roots to the next, in
            [1, inf), rounded.
        max_precond_dim: the longest axis that has a full factor, a static int in [0, inf).

    Returns:
        A transformation whose updates are to be added to the params.

    Raises:
        ValueError: if a number lies outside its range.

    Examples:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> curvature = jnp.array([[1.0, 10.0], [100.0, 1000.0]])
        >>> params, tx = jnp.ones((2, 2)), shampoo(2.0)
        >>> state, update = tx.init(params), jax.jit(tx.update)
        >>> for _ in range(300):
        ...     updates, state = update(curvature * params, state)
        ...     params = params + updates
        >>> bool(jnp.max(jnp.abs(params)) < 1e-2)
        True
    """
    return chain(
        scale_by_shampoo(eps, preconditioning_period, max_precond_dim),
        scale_by_learning_rate(learning_rate),
    )


def factor_sizes(shape: tuple[int, ...], longest: int) -> list[tuple[tuple[int, ...], bool]]:
    """For each axis its size as a shape, and whether its factor is full; a scalar has one axis."""
    return [
        (shape[axis : axis + 1], len(shape) > 1 and 1 < shape[axis] <= longest)
        for axis in range(max(len(shape), 1))
    ]


def grams(
    x: Inexact[Array, "..."], factors: Sequence[Inexact[Array, "..."] | None]
) -> tuple[Inexact[Array, "..."] | None, ...]:
    """For each axis with a factor the inner products of the slices of ``x`` across it.

    They are those at each two places of the axis, or, for a diagonal factor, at each one.
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


def _recomputed(grads: Updates, factors: Any) -> Any:
    return map_stacked(
        lambda g, own: tuple(inverse_root(h, 2 * len(own)) for h in own), grads, factors
    )


def inverse_root(factor: Inexact[Array, "..."], degree: int) -> Inexact[Array, "..."]:
    """``H^(-1/degree)`` of a positive semidefinite matrix, or of the diagonal of one."""
    return _matrix_root(factor, degree) if factor.ndim == 2 else _root(factor, degree)


def _root(values: Array, degree: int) -> Array:
    """``values^(-1/degree)``, and 0 where they are 0: no gradient was seen there."""
    positive = values > 0
    return jnp.where(positive, jnp.where(positive, values, 1) ** (-1 / degree), 0)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _matrix_root(matrix: Array, degree: int) -> Array:
    return _composed(*_spectrum(matrix, degree))


@_matrix_root.defjvp
def _matrix_root_jvp(degree, primals, tangents):  # type: ignore[no-untyped-def]
    """Exact also where eigenvalues coincide, where those of the eigenvectors are infinite.

    The slope of f(H) = V f(D) V' by dH is V (F * V' dH V) V' with the divided differences
    F_ij = (f(d_i) - f(d_j)) / (d_i - d_j) (Daleckii & Krein). For f(d) = d^(-1/n), p = d_i^(1/n)
    and q = d_j^(1/n) these are -1 / (p q sum_k p^k q^(n-1-k)), without a cancellation.
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

    Eigenvalues below the rounding of the largest are noise, perhaps negative: they are raised
    to it.
    """
    values, vectors = jnp.linalg.eigh(matrix)
    noise = len(values) * jnp.finfo(values.dtype).eps * values[-1]
    return _root(jnp.maximum(values, noise), degree), vectors


def _composed(values: Array, vectors: Array) -> Array:
    """The matrix with these eigenvalues and eigenvectors."""
    return (vectors * jnp.expand_dims(values, 0).astype(vectors.dtype)) @ vectors.conj().T
