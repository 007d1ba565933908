"""SOAP: Adam in the eigenbasis of Shampoo's factors, which is updated every few steps.

For a matrix W (m, n) with gradients G_t, learning rate a_t and weight decay d,

    M_t = b1 M_{t-1} + (1 - b1) G_t                          first moment
    G'  = Q_L' G_t Q_R,   M' = Q_L' M_t Q_R                  in the eigenbasis
    V_t = b2 V_{t-1} + (1 - b2) G'^2                         second moment, in the eigenbasis
    W  <- W - a_t (Q_L (M'_hat / (sqrt(V_hat) + eps)) Q_R' + d W)
    L_t = b2 L_{t-1} + (1 - b2) G_t G_t',   R_t likewise of G_t' G_t
    every f steps:  Q_L = QR(L_t Q_L),   Q_R = QR(R_t Q_R)   one step of power iteration

M_hat and V_hat are bias-corrected, as in Adam. The first gradient only determines the first basis,
the eigenvectors of its own factors, and moves nothing. Tensors have a basis for each axis. Vectors,
scalars, and axes that are too long have none: they are optimized as by Adam.

Reference: Vyas et al., "SOAP: Improving and Stabilizing Shampoo using Adam", 2024, algorithms 3
and 4, https://arxiv.org/abs/2409.11321. The start and the bias correction, which the paper omits,
are those of its authors' code.
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
    tree,
)
from jaxopt_course.transforms import add_decayed_weights, chain, scale_by_learning_rate

from ._adam import check_moments
from ._matrices import map_stacked
from ._shampoo import along_axes, factor_sizes, grams


class ScaleBySoapState(NamedTuple):
    """State of the SOAP transformation.

    count: number of updates so far, int32[].
    mu: running mean of gradients, shaped like the params, float32 or wider.
    nu: running mean of squared gradients in the eigenbasis, likewise.
    factors: a tuple for each leaf: the running mean of G_(i) G_(i)' for each axis, None for an axis
        without a basis.
    bases: Q_i, likewise: approximate eigenvectors of the factors, as columns.
    """

    count: Int[Array, ""]
    mu: Params
    nu: Params
    factors: Any
    bases: Any


def scale_by_soap(
    b1: ScalarLike = 0.95,
    b2: ScalarLike = 0.95,
    eps: ScalarLike = 1e-8,
    precondition_frequency: ScalarLike = 10,
    max_precond_dim: int = 10_000,
) -> GradientTransformationExtraArgs:
    """Rescale gradients as Adam does, in an eigenbasis. Arguments are those of :func:`soap`.

    The first update is 0. Derivatives of a whole training treat the bases as constants.
    """
    check_moments("scale_by_soap", b1, b2, eps)
    checks.number("scale_by_soap", "precondition_frequency", precondition_frequency, "[1, inf)")
    checks.integer("scale_by_soap", "max_precond_dim", max_precond_dim, "[0, inf)")

    def init(params):
        bases = identities(params, max_precond_dim)
        mu, nu = tree.accumulator_like(params), tree.real_accumulator_like(params)
        factors = tree.accumulator_like(bases)
        return ScaleBySoapState(jnp.zeros((), jnp.int32), mu, nu, factors, bases)

    def update(updates, state, params=None, **extra_args):
        checks.step("scale_by_soap", updates, state, ScaleBySoapState, "mu")
        numbers = (b1, b2, eps, precondition_frequency)
        return on_auto_axes(_step, updates, state, numbers, like=(updates, state))

    return GradientTransformationExtraArgs(init, update)


def soap(
    learning_rate: ScalarOrSchedule,
    b1: ScalarLike = 0.95,
    b2: ScalarLike = 0.95,
    eps: ScalarLike = 1e-8,
    weight_decay: ScalarOrSchedule = 0.01,
    mask: Mask | None = None,
    precondition_frequency: ScalarLike = 10,
    max_precond_dim: int = 10_000,
) -> GradientTransformationExtraArgs:
    """SOAP, Adam in the eigenbasis of Shampoo's factors, with decoupled weight decay.

    Args:
        learning_rate: the learning rate, in [0, inf), or a schedule of the step count; often 3e-3.
        b1: decay rate of the first moment, in [0, 1).
        b2: decay rate of the second moment and of the factors, in [0, 1).
        eps: added to the square root in the denominator, in [0, inf).
        weight_decay: decoupled weight decay, in [0, inf), or a schedule; times the learning rate.
        mask: leaves that decay, as for :func:`adamw`; all by default.
        precondition_frequency: f, steps between updates of the bases, in [1, inf), rounded.
        max_precond_dim: longest axis with a basis, a static int in [0, inf).

    Examples:
        >>> tx = soap(3e-3)
    """
    return chain(
        scale_by_soap(b1, b2, eps, precondition_frequency, max_precond_dim),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )


def _step(
    updates: Updates, state: ScaleBySoapState, numbers: tuple[ScalarLike, ...]
) -> tuple[Updates, ScaleBySoapState]:
    b1, b2, eps, frequency = numbers
    grads = tree.cast_like(updates, state.mu)
    steps, mu, nu = adam_in_bases(grads, state, b1, b2, eps)
    products = jax.tree.map(grams, grads, state.factors)
    factors = tree.update_moment(products, state.factors, b2, 1)
    bases = next_bases(factors, state.bases, state.count, frequency)
    count = numerics.safe_increment(state.count)
    return tree.cast_like(steps, updates), ScaleBySoapState(count, mu, nu, factors, bases)


def identities(params: Params, longest: int) -> PyTree:
    """For each leaf a tuple with the first basis of each axis, None for one without a basis."""

    def of_leaf(p: Any) -> tuple[Array | None, ...]:
        dtype = numerics.wide_dtype(jnp.result_type(p))
        sizes = factor_sizes(jnp.shape(p), longest)
        return tuple(jnp.eye(n[0], dtype=dtype) if full else None for n, full in sizes)

    return jax.tree.map(of_leaf, params)


def adam_in_bases(
    grads: Updates, state: Any, b1: ScalarLike, b2: ScalarLike, eps: ScalarLike
) -> tuple[Updates, Params, Params]:
    """Adam's steps in the bases of ``state``, turned back, and the new ``mu`` and ``nu``.

    The first gradient, which only determines the bases, moves nothing.
    """
    is_first, t = state.count == 0, jnp.maximum(state.count, 1)
    used = lambda tree: jax.tree.map(lambda g: jnp.where(is_first, 0, g), tree)
    mu = tree.update_moment(used(grads), state.mu, b1, 1)
    nu = tree.update_moment(used(rotated(grads, state.bases)), state.nu, b2, 2)
    m, v = tree.bias_correction(mu, b1, t), tree.bias_correction(nu, b2, t)
    steps = tree.divide_by_root(rotated(m, state.bases), v, eps, 0.0)
    return jax.tree.map(along_axes, steps, state.bases), mu, nu


def next_bases(
    factors: PyTree, bases: PyTree, count: Int[Array, ""], frequency: ScalarLike
) -> PyTree:
    """The eigenvectors of the first factors; later one step of iteration where it is due."""
    is_due = numerics.is_due(count, frequency).astype(jnp.int32)
    return jax.lax.switch(
        jnp.where(count == 0, 2, is_due),
        [
            lambda: bases,
            lambda: map_stacked(_iterated, factors, bases),
            lambda: map_stacked(_eigenvectors, factors),
        ],
    )


def rotated(tree: PyTree, bases: PyTree) -> PyTree:
    """Every leaf in its eigenbasis: Q_i' along axis i."""
    return jax.tree.map(along_axes, tree, jax.tree.map(lambda q: q.conj().T, bases))


def _iterated(factor: Array, basis: Array) -> Array:
    """One step of orthogonal iteration (algorithm 4)."""
    return jax.lax.stop_gradient(jnp.linalg.qr(jax.lax.stop_gradient(factor) @ basis)[0])


def _eigenvectors(factor: Array) -> Array:
    """Eigenvectors in descending order of eigenvalues, to which the iteration converges."""
    return jax.lax.stop_gradient(jnp.linalg.eigh(jax.lax.stop_gradient(factor))[1][:, ::-1])
