"""SPlus: the signs of the momentum in the eigenbasis of Shampoo's factors.

For a matrix W (m, n) with gradients G_t, learning rate a_t and weight decay d,

    M_t = b1 M_{t-1} + (1 - b1) G_t
    U   = Q_L sign(Q_L' M_t Q_R) Q_R'
    W  <- W - a_t s (U + d W)                                s = 2 / (m + n)
    L_t = b2 L_{t-1} + (1 - b2) G_t G_t',   R_t likewise of G_t' G_t
    after the first and every k-th step:  Q_L, Q_R = eigenvectors of L_t, R_t

The bases start as identities. The entries of sign(.) are bounded whatever the basis, so that it may
be older than in Shampoo. Leaves without two axes have no basis, nor do axes that are too long; for
both s is a constant. The parameters to evaluate are the running mean of W (:func:`ema_params`).

Where a factor has an eigenvalue several times, as that of 0 before its gradients span the space,
the eigenvectors are arbitrary, and so are the signs of the momentum along them.

Reference: Frans, Levine & Abbeel, "A Stable Whitening Optimizer for Efficient Neural Network
Training", 2025, algorithm 1, https://arxiv.org/abs/2506.07254.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Inexact, Int, ScalarLike

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
from jaxopt_course.transforms import (
    add_decayed_weights,
    chain,
    ema_params,
    scale_by_learning_rate,
    stateless,
)

from ._matrices import map_stacked
from ._shampoo import along_axes, factor_sizes, grams


class ScaleBySplusState(NamedTuple):
    """State of the SPlus transformation.

    count: number of updates so far, int32[].
    mu: running mean of gradients, shaped like the params, float32 or wider.
    factors: a tuple for each leaf: the running mean of G G' and of G' G, None for an axis without a
        basis.
    bases: Q_L and Q_R, likewise: eigenvectors of the factors, as columns.
    """

    count: Int[Array, ""]
    mu: Params
    factors: Any
    bases: Any


def scale_by_splus(
    b1: ScalarLike = 0.9,
    b2: ScalarLike = 0.999,
    inverse_every: ScalarLike = 100,
    max_precond_dim: int = 10_000,
) -> GradientTransformationExtraArgs:
    """Replace the running mean of gradients by its signs in an eigenbasis.

    Arguments are those of :func:`splus`. Derivatives of a whole training treat the bases as
    constants.
    """
    checks.numbers("scale_by_splus", "[0, 1)", b1=b1, b2=b2)
    checks.number("scale_by_splus", "inverse_every", inverse_every, "[1, inf)")
    checks.integer("scale_by_splus", "max_precond_dim", max_precond_dim, "[0, inf)")

    def identities(p: Any) -> tuple[Array | None, ...]:
        dtype, shape = numerics.wide_dtype(jnp.result_type(p)), jnp.shape(p)
        sizes = factor_sizes(shape, max_precond_dim if len(shape) == 2 else 0)
        return tuple(jnp.eye(n[0], dtype=dtype) if full else None for n, full in sizes)

    def init(params):
        bases = jax.tree.map(identities, params)
        mu, factors = tree.accumulator_like(params), tree.accumulator_like(bases)
        return ScaleBySplusState(jnp.zeros((), jnp.int32), mu, factors, bases)

    def update(updates, state, params=None, **extra_args):
        checks.step("scale_by_splus", updates, state, ScaleBySplusState, "mu")
        numbers = (b1, b2, inverse_every)
        return on_auto_axes(_step, updates, state, numbers, like=(updates, state))

    return GradientTransformationExtraArgs(init, update)


def splus(
    learning_rate: ScalarOrSchedule,
    b1: ScalarLike = 0.9,
    b2: ScalarLike = 0.999,
    ema_rate: ScalarLike = 0.999,
    inverse_every: ScalarLike = 100,
    nonstandard_constant: ScalarLike = 1e-3,
    weight_decay: ScalarOrSchedule = 0.01,
    mask: Mask | None = None,
    max_precond_dim: int = 10_000,
) -> GradientTransformationExtraArgs:
    """SPlus, the signs of the momentum in the eigenbasis of Shampoo's factors, with averaging.

    Evaluate the parameters that :func:`evaluation_params` returns; trainings of this library do.
    The authors use the constant for embeddings too: train them apart by :func:`partition`.

    Args:
        learning_rate: the learning rate, in [0, inf), or a schedule of the step count; often 0.1.
            The rate that suits one width suits others.
        b1: decay rate of the momentum, in [0, 1).
        b2: decay rate of the factors, in [0, 1).
        ema_rate: decay rate of the mean of the parameters, in [0, 1).
        inverse_every: k, steps between computations of the bases, in [1, inf), rounded.
        nonstandard_constant: s of leaves without two axes, in [0, inf).
        weight_decay: decoupled weight decay, in [0, inf), or a schedule; times the learning rate
            and s.
        mask: leaves that decay, as for :func:`adamw`; all by default.
        max_precond_dim: longest axis with a basis, a static int in [0, inf).

    Examples:
        >>> tx = splus(0.1)
    """
    checks.number("splus", "nonstandard_constant", nonstandard_constant, "[0, inf)")

    def by_shape(u: Inexact[Array, "*shape"]) -> Array:
        is_matrix = u.ndim == 2 and max(u.shape) <= max_precond_dim
        return tree.scale(u, 2 / max(sum(u.shape), 1) if is_matrix else nonstandard_constant)

    steps = chain(
        scale_by_splus(b1, b2, inverse_every, max_precond_dim),
        add_decayed_weights(weight_decay, mask),
        stateless(lambda updates, params: jax.tree.map(by_shape, updates)),
        scale_by_learning_rate(learning_rate),
    )
    return ema_params(steps, ema_rate)


def _step(
    updates: Updates, state: ScaleBySplusState, numbers: tuple[ScalarLike, ...]
) -> tuple[Updates, ScaleBySplusState]:
    b1, b2, inverse_every = numbers
    grads = tree.cast_like(updates, state.mu)
    mu = tree.update_moment(grads, state.mu, b1, 1)
    turned = jax.tree.map(along_axes, mu, jax.tree.map(lambda q: q.conj().T, state.bases))
    steps = jax.tree.map(along_axes, jax.tree.map(jnp.sign, turned), state.bases)

    factors = tree.update_moment(jax.tree.map(grams, grads, state.factors), state.factors, b2, 1)
    count = numerics.safe_increment(state.count)
    bases = jax.lax.cond(
        (state.count == 0) | numerics.is_due(count, inverse_every),
        lambda: map_stacked(_eigenvectors, factors),
        lambda: state.bases,
    )
    return tree.cast_like(steps, updates), ScaleBySplusState(count, mu, factors, bases)


def _eigenvectors(factor: Array) -> Array:
    return jax.lax.stop_gradient(jnp.linalg.eigh(jax.lax.stop_gradient(factor))[1])
