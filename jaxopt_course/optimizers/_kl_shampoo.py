"""KL-Shampoo: Shampoo whose factors make a Gaussian nearest to the gradients' distribution.

For a matrix W (m, n) with gradients G_t, learning rate a_t and weight decay d, the factors L = E[G
R^-1 G'] / n and R = E[G' L^-1 G] / m minimize the Kullback-Leibler divergence from the second
moments of the gradients to the Kronecker product of L and R. For gradients A Z B with independent
standard normal entries in Z, they are A A' and B' B up to a number by which L is multiplied and R
divided. With l and r for estimates of their eigenvalues and H for Q_L' G_t Q_R,

    M_t = b1 M_{t-1} + (1 - b1) G_t                          first moment
    W  <- W - a_t (Q_L (Q_L' M_t Q_R / (sqrt(l r') + eps)) Q_R' + d W)
    L_t = b2 L_{t-1} + (1 - b2) Q_L H diag(1/r) H' Q_L' / n,   R_t likewise
    l_t = b2 l_{t-1} + (1 - b2) diag(H diag(1/r) H') / n,      r_t likewise
    every f steps:  Q_L = QR(L_t Q_L),   Q_R = QR(R_t Q_R)     one step of power iteration

The estimates of one step use the eigenvalues before it. The first gradient only determines the
first basis, as in SOAP, and moves nothing. Tensors have a factor for each axis, and all others
divide its estimate. The factors of vectors, scalars, and of axes that are too long are diagonal:
they have eigenvalues, but no basis.

Reference: Lin et al., "Understanding and Improving Shampoo and SOAP via Kullback-Leibler
Minimization", 2025, https://arxiv.org/abs/2509.03378. The start, the first moment without bias
correction and the eigenvalues' running mean are those of its authors' code,
https://github.com/yorkerlin/KL-Methods, which also bounds 1/sqrt(l) by the length of the axis.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PyTree, ScalarLike

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    Mask,
    Params,
    ScalarOrSchedule,
    Updates,
    checks,
    numerics,
    on_auto_axes,
    placed_like,
    tree,
)
from jaxopt_course.transforms import add_decayed_weights, chain, scale_by_learning_rate

from ._adam import check_moments
from ._shampoo import along_axes, factor_sizes, grams
from ._soap import identities, next_bases, rotated


class ScaleByKlShampooState(NamedTuple):
    """State of the KL-Shampoo transformation.

    count: number of updates so far, int32[].
    mu: running mean of gradients, shaped like the params, float32 or wider.
    factors: a tuple for each leaf: the factor of each axis, None for an axis without a basis.
    bases: Q_i, likewise: approximate eigenvectors of the factors, as columns.
    eigenvalues: a tuple for each leaf: those of the factor of each axis, real.
    """

    count: Int[Array, ""]
    mu: Params
    factors: Any
    bases: Any
    eigenvalues: Any


def scale_by_kl_shampoo(
    b1: ScalarLike = 0.9,
    b2: ScalarLike = 0.98,
    eps: ScalarLike = 1e-8,
    precondition_frequency: ScalarLike = 10,
    max_precond_dim: int = 10_000,
    initial_eigenvalue: ScalarLike = 0.1,
) -> GradientTransformationExtraArgs:
    """Divide gradients by the roots of KL-Shampoo's factors.

    Arguments are those of :func:`kl_shampoo`. The first update is 0. Derivatives of a whole
    training treat the bases as constants.
    """
    check_kl("scale_by_kl_shampoo", b1, b2, eps, precondition_frequency)
    checks.number("scale_by_kl_shampoo", "initial_eigenvalue", initial_eigenvalue, "(0, inf)")
    checks.integer("scale_by_kl_shampoo", "max_precond_dim", max_precond_dim, "[0, inf)")

    def init(params):
        mu, bases = tree.accumulator_like(params), identities(params, max_precond_dim)
        values = first_eigenvalues(params, initial_eigenvalue)
        factors = tree.accumulator_like(bases)
        return ScaleByKlShampooState(jnp.zeros((), jnp.int32), mu, factors, bases, values)

    def update(updates, state, params=None, **extra_args):
        checks.step("scale_by_kl_shampoo", updates, state, ScaleByKlShampooState, "mu")
        numbers = (b1, b2, eps, precondition_frequency)
        return on_auto_axes(_step, updates, state, numbers, like=(updates, state))

    return GradientTransformationExtraArgs(init, update)


def kl_shampoo(
    learning_rate: ScalarOrSchedule,
    b1: ScalarLike = 0.9,
    b2: ScalarLike = 0.98,
    eps: ScalarLike = 1e-8,
    weight_decay: ScalarOrSchedule = 0.01,
    mask: Mask | None = None,
    precondition_frequency: ScalarLike = 10,
    max_precond_dim: int = 10_000,
    initial_eigenvalue: ScalarLike = 0.1,
) -> GradientTransformationExtraArgs:
    """KL-Shampoo, Shampoo with factors of least KL divergence, with decoupled weight decay.

    Args:
        learning_rate: the learning rate, in [0, inf), or a schedule of the step count; often 1e-3.
        b1: decay rate of the first moment, in [0, 1).
        b2: decay rate of the factors and of their eigenvalues, in [0, 1).
        eps: added to the square root in the denominator, and the least eigenvalue by which the
            estimate of another axis is divided, in [0, inf).
        weight_decay: decoupled weight decay, in [0, inf), or a schedule; times the learning rate.
        mask: leaves that decay, as for :func:`adamw`; all by default.
        precondition_frequency: f, steps between updates of the bases, in [1, inf), rounded.
        max_precond_dim: longest axis with a basis, a static int in [0, inf).
        initial_eigenvalue: the eigenvalues of all factors before the first step, in (0, inf). For
            matrices its square should not be far below the gradients' squares, or the first steps
            are large.

    Examples:
        >>> tx = kl_shampoo(1e-3)
    """
    return chain(
        scale_by_kl_shampoo(
            b1, b2, eps, precondition_frequency, max_precond_dim, initial_eigenvalue
        ),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )


def _step(
    updates: Updates, state: ScaleByKlShampooState, numbers: tuple[ScalarLike, ...]
) -> tuple[Updates, ScaleByKlShampooState]:
    b1, b2, eps, frequency = numbers
    is_first = state.count == 0
    grads = tree.cast_like(updates, state.mu)
    used = jax.tree.map(lambda g: jnp.where(is_first, 0, g), grads)
    mu = tree.update_moment(used, state.mu, b1, 1)
    offset = numerics.in_dtype(eps)

    def divided(m: Array, values: tuple[Array, ...]) -> Array:
        inverse = along_axes(jnp.ones(m.shape, values[0].dtype), _inverse_roots(values, eps))
        return m * (inverse / (1 + offset(inverse.dtype) * inverse)).astype(m.dtype)

    steps = jax.tree.map(divided, rotated(mu, state.bases), state.eigenvalues)
    scaled = tree.cast_like(jax.tree.map(along_axes, steps, state.bases), updates)
    factors, values = kl_estimates(grads, state, b2, eps)
    bases = next_bases(factors, state.bases, state.count, frequency)
    count = numerics.safe_increment(state.count)
    return scaled, ScaleByKlShampooState(count, mu, factors, bases, values)


def check_kl(
    owner: str, b1: ScalarLike, b2: ScalarLike, eps: ScalarLike, frequency: ScalarLike
) -> None:
    """Raise unless the numbers lie in their intervals."""
    check_moments(owner, b1, b2, eps)
    checks.number(owner, "precondition_frequency", frequency, "[1, inf)")


def first_eigenvalues(params: Params, value: ScalarLike) -> PyTree:
    """For each leaf a tuple with the eigenvalues of each axis, all of them ``value``."""

    def of_leaf(p: Any) -> tuple[Array, ...]:
        sizes = factor_sizes(jnp.shape(p), longest=0)
        values = (jnp.full(size, value, tree.scalar_dtype(p)) for size, _ in sizes)
        return tuple(placed_like(own, p) if jnp.ndim(p) == 1 else own for own in values)

    return jax.tree.map(of_leaf, params)


def kl_estimates(
    grads: Updates, state: Any, b2: ScalarLike, eps: ScalarLike
) -> tuple[PyTree, PyTree]:
    """The new factors and eigenvalues of a state of KL-Shampoo or KL-SOAP."""
    is_first = state.count == 0

    def estimate(g: Array, bases: Any, values: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        inverse = [jnp.where(is_first, 1, r) for r in _inverse_roots(values, eps)]
        found = [_of_axis(axis, g, bases, values, inverse) for axis in range(len(values))]
        return tuple(new for new, _ in found), tuple(diagonal for _, diagonal in found)

    turned, structure = jax.tree.flatten(rotated(grads, state.bases))
    parts = (structure.flatten_up_to(own) for own in (state.bases, state.eigenvalues))
    found = [estimate(*leaf) for leaf in zip(turned, *parts, strict=True)]
    products, diagonals = (structure.unflatten([own[i] for own in found]) for i in range(2))
    factors = tree.update_moment(products, state.factors, b2, 1)
    values = tree.update_moment(diagonals, state.eigenvalues, b2, 1)
    kept = jax.tree.map(lambda old, new: jnp.where(is_first, old, new), state.eigenvalues, values)
    return factors, kept


def _of_axis(
    axis: int, g: Array, bases: Any, values: Any, inverse: list[Array]
) -> tuple[Array | None, Array]:
    """The estimate of a factor from ``g``, which is in the eigenbasis, and its diagonal there."""
    white = along_axes(g, [None if i == axis else r for i, r in enumerate(inverse)])
    basis, own = bases[axis], values[axis]
    kinds = [None] * axis + [own if basis is None else basis]
    gram = grams(white, kinds)[axis] * (own.size / max(g.size, 1))
    if basis is None:
        return None, gram
    return basis @ gram @ basis.conj().T, jnp.diagonal(gram).real


def _inverse_roots(values: tuple[Array, ...], eps: ScalarLike) -> list[Array]:
    """``1 / sqrt(max(values, eps))`` for each axis.

    The least eigenvalue is never 0: the product over all axes is finite even if ``eps`` is 0.
    """

    def of_axis(own: Array) -> Array:
        least = float(jnp.finfo(own.dtype).tiny) ** (1 / len(values))
        return jax.lax.rsqrt(jnp.maximum(own, jnp.maximum(jnp.asarray(eps, own.dtype), least)))

    return [of_axis(own) for own in values]
