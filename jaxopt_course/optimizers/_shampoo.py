"""Shampoo: AdaGrad with one factor for each axis of a tensor instead of one full matrix.

For a matrix W (m, n) with gradients G_t, learning rate a_t, decay rate b2 and exponent p,

    L_t = b2 L_{t-1} + c G_t G_t',    R_t = b2 R_{t-1} + c G_t' G_t,    L_0 = eps I, R_0 = eps I
    W  <- W - a_t L_t^(-p) G_t R_t^(-p)

with c = 1 - b2 for a running mean, and c = 1 for the sum, b2 = 1. A tensor of k axes has k factors,
H_i of G_(i) G_(i)' with G_(i) the matrix whose rows run along axis i, and each is applied along its
axis; by default p = 1 / (2k). For vectors and scalars, and for axes too long for a full factor,
only the diagonal is kept: for vectors, where p = 1/2, that is AdaGrad, or RMSProp with b2 < 1.

Today's Shampoo is a running mean whose steps have the norm of another method's (:func:`grafted`),
in blocks of large leaves, with momentum and decoupled weight decay. With b2 = 0, eps = 0 and
p = 1/4 the step is the orthogonal polar factor of the gradient.

References: Gupta, Koren & Singer, "Shampoo: Preconditioned Stochastic Tensor Optimization",
2018, algorithms 1 and 2, and section 5 for the diagonal, https://arxiv.org/abs/1802.09568; Anil et
al., "Scalable Second Order Optimization for Deep Learning", 2020,
https://arxiv.org/abs/2002.09018, for the running mean, grafting, blocks and the start; Shi et al.,
"A Distributed Data-Parallel PyTorch Implementation of the Distributed Shampoo Optimizer", 2023,
https://arxiv.org/abs/2309.06497, for other exponents.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Inexact, Int, ScalarLike

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    Mask,
    ScalarOrSchedule,
    Updates,
    checks,
    numerics,
    on_auto_axes,
    placed_like,
    tree,
)
from jaxopt_course.transforms import (
    add_decayed_weights,
    chain,
    grafted,
    scale_by_learning_rate,
    trace,
)

from ._matrices import in_blocks, map_stacked


class ScaleByShampooState(NamedTuple):
    """State of the Shampoo transformation; each leaf has a tuple with an array for each axis.

    count: number of updates so far, int32[].
    factors: H_i, float32 or wider: a matrix, or its diagonal as a vector.
    roots: H_i^(-p) when it was last computed, likewise.
    """

    count: Int[Array, ""]
    factors: Any
    roots: Any


def scale_by_shampoo(
    eps: ScalarLike = 1e-4,
    preconditioning_period: ScalarLike = 1,
    max_precond_dim: int = 1024,
    *,
    b2: ScalarLike = 1.0,
    exponent: ScalarLike | None = None,
    block_size: int | None = None,
) -> GradientTransformationExtraArgs:
    """Precondition gradients along each axis. Arguments are those of :func:`shampoo`.

    With ``block_size`` the state has, in the place of a leaf that is cut, a list of its blocks.
    """
    checks.number("scale_by_shampoo", "eps", eps, "[0, inf)")
    checks.number("scale_by_shampoo", "preconditioning_period", preconditioning_period, "[1, inf)")
    checks.integer("scale_by_shampoo", "max_precond_dim", max_precond_dim, "[0, inf)")
    checks.number("scale_by_shampoo", "b2", b2, "[0, 1]")
    if exponent is not None:
        checks.number("scale_by_shampoo", "exponent", exponent, "(0, inf)")
    if block_size is not None:
        checks.integer("scale_by_shampoo", "block_size", block_size, "[1, inf)")

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
        numbers = (preconditioning_period, b2, exponent)
        return on_auto_axes(_step, updates, state, numbers, like=(updates, state))

    whole = GradientTransformationExtraArgs(init, update)
    return whole if block_size is None else in_blocks(whole, block_size)


def shampoo(
    learning_rate: ScalarOrSchedule,
    eps: ScalarLike = 1e-4,
    preconditioning_period: ScalarLike = 1,
    max_precond_dim: int = 1024,
    *,
    b2: ScalarLike = 1.0,
    exponent: ScalarLike | None = None,
    block_size: int | None = None,
    grafting: optax.GradientTransformation | None = None,
    start_preconditioning_step: ScalarLike = 0,
    momentum: ScalarLike | None = None,
    nesterov: bool = False,
    weight_decay: ScalarOrSchedule | None = None,
    mask: Mask | None = None,
) -> GradientTransformationExtraArgs:
    """Shampoo, AdaGrad with a matrix for each axis of a leaf.

    The defaults are the algorithm of 2018. The second example is the one of today.

    Args:
        learning_rate: the learning rate, in [0, inf), or a schedule of the step count; 0.1 to 2, or
            that of ``grafting``.
        eps: the factors start at ``eps`` times the identity, in [0, inf).
        preconditioning_period: number of steps between computations of the roots, in [1, inf),
            rounded. They take one eigendecomposition a factor.
        max_precond_dim: longest axis with a full factor, a static int in [0, inf).
        b2: decay rate of the factors, in [0, 1]; with 1 they are sums.
        exponent: p for leaves with at least two axes, in (0, inf), such as 0.25 or 0.5; by default
            1 / (2k) for k axes.
        block_size: longest side of a block, a static int in [1, inf). Leaves with at least two axes
            are cut into blocks with factors of their own. By default they stay whole.
        grafting: transformation whose norm each leaf's step has, such as ``scale_by_adam()``,
            ``scale_by_rms()`` or ``identity()`` for that of the gradient. None: the step's own.
        start_preconditioning_step: number of first steps that are those of ``grafting`` alone, in
            [0, inf). Other values than 0 need ``grafting``.
        momentum: decay of the sum of the steps, in [0, 1]. None: no momentum.
        nesterov: whether the momentum is Nesterov's.
        weight_decay: decoupled weight decay, in [0, inf), or a schedule; times the learning rate.
        mask: leaves that decay, as for :func:`adamw`; all by default.

    Examples:
        >>> tx = shampoo(0.1)
        >>> steps = {"b2": 0.99, "block_size": 256, "momentum": 0.9, "weight_decay": 0.1}
        >>> tx = shampoo(1e-3, 1e-6, 10, grafting=optax.scale_by_adam(), **steps)
    """
    checks.flag("shampoo", "nesterov", nesterov)
    scaled = scale_by_shampoo(
        eps,
        preconditioning_period,
        max_precond_dim,
        b2=b2,
        exponent=exponent,
        block_size=block_size,
    )
    if grafting is not None:
        scaled = grafted(scaled, grafting, start_preconditioning_step)
    elif not (checks.are_known(start_preconditioning_step) and start_preconditioning_step == 0):
        raise ValueError("shampoo: `start_preconditioning_step` needs `grafting`, got None.")
    links = [scaled]
    if momentum is not None:
        links.append(trace(momentum, nesterov))
    if weight_decay is not None:
        links.append(add_decayed_weights(weight_decay, mask))
    return chain(*links, scale_by_learning_rate(learning_rate))


def _step(
    updates: Updates, state: ScaleByShampooState, numbers: tuple[Any, ...]
) -> tuple[Updates, ScaleByShampooState]:
    period, b2, exponent = numbers
    grads = tree.widened(updates)
    factors = _averaged(state.factors, jax.tree.map(grams, grads, state.factors), b2)

    def roots_of(g: Array, own: tuple[Array, ...]) -> tuple[Array, ...]:
        usual = g.ndim < 2 or exponent is None
        return tuple(inverse_root(h, 2 * len(own) if usual else 1 / exponent) for h in own)

    roots = jax.lax.cond(
        numerics.is_due(state.count, period),
        lambda: map_stacked(roots_of, grads, factors),
        lambda: state.roots,
    )
    scaled = tree.cast_like(jax.tree.map(along_axes, grads, roots), updates)
    return scaled, ScaleByShampooState(numerics.safe_increment(state.count), factors, roots)


def _averaged(factors: Any, products: Any, b2: ScalarLike) -> Any:
    """``b2`` of the old factors and the rest of the new ones, or all of both if ``b2`` is 1."""

    def mixed(old: Array, new: Array) -> Array:
        decay, rest = jnp.asarray(b2, old.dtype), numerics.complement(b2, old.dtype)
        return decay * old + jnp.where(decay == 1, 1, rest) * new.astype(old.dtype)

    return jax.tree.map(mixed, factors, products)


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


def inverse_root(factor: Inexact[Array, "..."], degree: ScalarLike) -> Inexact[Array, "..."]:
    """``H^(-1/degree)`` of a positive semidefinite matrix, or of the diagonal of one."""
    exponent = jnp.asarray(1 / degree, jnp.finfo(factor.dtype).dtype)
    return _matrix_root(factor, exponent) if factor.ndim == 2 else _root(factor, exponent)


def _root(values: Array, exponent: Array) -> Array:
    """``values^-exponent``, and 0 where they are 0, because no gradient was seen there."""
    positive = values > 0
    return jnp.where(positive, jnp.where(positive, values, 1) ** -exponent, 0)


@jax.custom_jvp
def _matrix_root(matrix: Array, exponent: Array) -> Array:
    values, vectors = _spectrum(matrix)
    return _composed(_root(values, exponent), vectors)


@_matrix_root.defjvp
def _matrix_root_jvp(primals, tangents):  # type: ignore[no-untyped-def]
    """The exact derivative, also where eigenvalues coincide and their own is infinite.

    The derivative of f(H) = V f(D) V' along dH is V (F * V' dH V) V' with the divided differences
    F_ij = (f(d_i) - f(d_j)) / (d_i - d_j) (Daleckii & Krein). For f(d) = d^-p, r = log(d_i / d_j),
    these are d_j^(-p-1) (e^(-p r) - 1) / (e^r - 1), without cancellation; -p d_j^(-p-1) at r = 0.
    """
    (matrix, exponent), (of_matrix, of_exponent) = primals, tangents
    values, vectors = _spectrum(matrix)
    positive = values > 0
    values = jnp.where(positive, values, 1)
    roots = jnp.where(positive, values**-exponent, 0)

    logs = jnp.log(values)
    ratio = jnp.expand_dims(logs, 1) - jnp.expand_dims(logs, 0)
    differ = ratio != 0
    nonzero = jnp.where(differ, ratio, 1)
    quotients = jnp.where(differ, jnp.expm1(-exponent * nonzero) / jnp.expm1(nonzero), -exponent)
    slopes = quotients * jnp.expand_dims(roots / values, 0)
    slopes = jnp.where(jnp.expand_dims(positive, 1), slopes, 0).astype(vectors.dtype)
    turned = slopes * (vectors.conj().T @ of_matrix @ vectors)
    by_matrix = vectors @ turned @ vectors.conj().T
    by_exponent = _composed(-of_exponent * logs * roots, vectors)
    return _composed(roots, vectors), by_matrix + by_exponent


def _spectrum(matrix: Array) -> tuple[Array, Array]:
    """Eigenvalues, and the eigenvectors.

    Eigenvalues below the rounding error of the largest are noise, possibly negative, and are raised
    to it.
    """
    values, vectors = jnp.linalg.eigh(matrix)
    noise = len(values) * jnp.finfo(values.dtype).eps * values[-1]
    return jnp.maximum(values, noise), vectors


def _composed(values: Array, vectors: Array) -> Array:
    """The matrix with these eigenvalues and eigenvectors."""
    return (vectors * jnp.expand_dims(values, 0).astype(vectors.dtype)) @ vectors.conj().T
