"""Dion: orthonormal updates of low rank, by one step of power iteration and error feedback.

For a matrix W with gradients G_t, learning rate a_t, weight decay d and rank r, whose shorter side
is that of the rows (W is transposed if it is not), and a basis Q_t of r columns,

    B   = M_{t-1} + G_t
    P   = QR(B Q_{t-1})                       orthonormal columns
    R   = B' P                                so that B is about P R'
    M_t = B - (1 - b) P R'                    what the approximation lacks is kept
    Q_t = R with columns of length 1
    W  <- W - a_t (sqrt(out / in) P Q_t' + d W)

With the full rank, B = P R'. The first basis is that of the discrete cosine transform, so no
random numbers are needed; the authors draw it. Other leaves are optimized by AdamW.

Reference: Ahn et al., "Dion: Distributed Orthonormalized Updates", 2025, algorithm 1,
https://arxiv.org/abs/2504.05295. There W is not transposed.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, ScalarLike

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    Mask,
    Params,
    ScalarOrSchedule,
    Updates,
    checks,
    l2_norm,
    numerics,
    on_auto_axes,
    tree,
)
from jaxopt_course.transforms import add_decayed_weights, chain, scale_by_learning_rate

from ._adam import adamw
from ._matrices import map_stacked
from ._muon import Dimensions, MuonDimensionNumbers, beside_others, folded, specs_of, unfolded
from ._normuon import several


class ScaleByDionState(NamedTuple):
    """State of the Dion transformation.

    mu: M, the sum of gradients without what was applied, shaped like the params, float32 or wider.
    bases: Q for each leaf, [longer side, rank], or one for each of its matrices.
    """

    mu: Params
    bases: Any


def scale_by_dion(
    rank: int = 64,
    beta: ScalarLike = 0.95,
    mu_dtype: DTypeLike | None = None,
    *,
    weight_dimension_numbers: Dimensions = None,
) -> GradientTransformationExtraArgs:
    """Replace each matrix by sqrt(out / in) P Q'. Arguments are those of :func:`dion`.

    By default all leaves are matrices. Derivatives of a whole training treat P as constant.
    """
    checks.integer("scale_by_dion", "rank", rank, "[1, inf)")
    checks.number("scale_by_dion", "beta", beta, "[0, 1)")
    checks.dtype("scale_by_dion", "mu_dtype", mu_dtype)

    def first_basis(p: Any, spec: MuonDimensionNumbers) -> Array:
        dtype = numerics.wide_dtype(jnp.result_type(p))
        whole = jax.ShapeDtypeStruct(jnp.shape(p), dtype)
        *batch, short, long = jax.eval_shape(lambda x: folded(x, spec), whole).shape
        basis = _cosines(long, min(rank, short), jnp.finfo(dtype).dtype)
        return jnp.broadcast_to(basis.astype(dtype), (*batch, *basis.shape))

    def init(params):
        bases = jax.tree.map(first_basis, params, specs_of(weight_dimension_numbers, params))
        return ScaleByDionState(tree.accumulator_like(params, mu_dtype), bases)

    def update(updates, state, params=None, **extra_args):
        checks.step("scale_by_dion", updates, state, ScaleByDionState, "mu")
        return on_auto_axes(step, updates, state, beta, like=(updates, state))

    def step(
        updates: Updates, state: ScaleByDionState, beta: ScalarLike
    ) -> tuple[Updates, ScaleByDionState]:
        total = tree.running_sum(state.mu, updates, 1.0)
        specs = specs_of(weight_dimension_numbers, total)
        found = map_stacked(_factors, jax.tree.map(folded, total, specs), state.bases)

        def direction(x: Array, spec: MuonDimensionNumbers, own: tuple[Array, ...]) -> Array:
            p, q, _ = own
            fan_in, fan_out = (math.prod(x.shape[i] for i in several(axes)) for axes in spec)
            return math.sqrt(fan_out / max(fan_in, 1)) * unfolded(p @ q.conj().mT, x.shape, spec)

        def remaining(x: Array, spec: MuonDimensionNumbers, own: tuple[Array, ...]) -> Array:
            p, q, lengths = own
            applied = unfolded(p @ (lengths * q).conj().mT, x.shape, spec)
            return x - numerics.complement(beta, x.dtype) * applied

        mu = tree.cast_like(jax.tree.map(remaining, total, specs, found), state.mu)
        steps = tree.cast_like(jax.tree.map(direction, total, specs, found), updates)
        kept = lambda _, own, old: jnp.where(own[2] > 0, own[1], old)  # a column of 0 has none
        return steps, ScaleByDionState(mu, jax.tree.map(kept, total, found, state.bases))

    return GradientTransformationExtraArgs(init, update)


def _factors(matrix: Array, basis: Array) -> tuple[Array, Array, Array]:
    """P, the unit columns of R, and the lengths of these columns."""
    p = jnp.linalg.qr(jax.lax.stop_gradient(matrix @ basis))[0]
    r = matrix.conj().mT @ p
    lengths = l2_norm(r, -2, keepdims=True)
    return p, tree.divide(r, jnp.where(lengths > 0, lengths, 1)), lengths


def _cosines(size: int, rank: int, dtype: Any) -> Array:
    """The first columns of the orthogonal matrix of the discrete cosine transform."""
    row, column = (jnp.arange(n, dtype=dtype) for n in (size, rank))
    waves = jnp.cos(jnp.pi / size * (row[:, None] + 0.5) * column[None])
    return waves * jnp.sqrt(jnp.where(column > 0, 2, 1).astype(dtype) / size)[None]


def dion(
    learning_rate: ScalarOrSchedule,
    rank: int = 64,
    beta: ScalarLike = 0.95,
    weight_decay: ScalarOrSchedule = 0.0,
    weight_decay_mask: Mask | None = None,
    mu_dtype: DTypeLike | None = None,
    *,
    adam_b1: ScalarLike = 0.9,
    adam_b2: ScalarLike = 0.999,
    adam_eps: ScalarLike = 1e-8,
    adam_weight_decay: ScalarOrSchedule = 0.0,
    adam_learning_rate: ScalarOrSchedule | None = None,
    weight_dimension_numbers: Dimensions = None,
) -> GradientTransformationExtraArgs:
    """Dion for matrices, AdamW for all other leaves.

    Args:
        learning_rate: the learning rate, in [0, inf), or a schedule of the step count; often 0.01.
        rank: r, a static int in [1, inf); at most the shorter side of a matrix is used.
        beta: b, decay rate of what was applied, in [0, 1).
        weight_decay: decoupled weight decay, in [0, inf), or a schedule; times the learning rate.
        weight_decay_mask: leaves that decay, as for :func:`adamw`; all by default.
        mu_dtype: dtype of the sums of gradients; float32 or wider by default.
        adam_b1: Adam's decay rate of the first moment, in [0, 1).
        adam_b2: Adam's decay rate of the second moment, in [0, 1).
        adam_eps: Adam's ``eps``, in [0, inf).
        adam_weight_decay: weight decay of the other leaves, in [0, inf), or a schedule.
        adam_learning_rate: Adam's learning rate; ``learning_rate`` by default.
        weight_dimension_numbers: which leaves are matrices, and which of their axes are inputs and
            outputs, as ``muon_weight_dimension_numbers`` of :func:`muon`.

    Examples:
        >>> tx = dion(0.01, rank=16, adam_learning_rate=1e-3)
    """

    def of_matrices(dimensions: Dimensions) -> GradientTransformationExtraArgs:
        return chain(
            scale_by_dion(rank, beta, mu_dtype, weight_dimension_numbers=dimensions),
            add_decayed_weights(weight_decay, weight_decay_mask),
            scale_by_learning_rate(learning_rate),
        )

    rate = learning_rate if adam_learning_rate is None else adam_learning_rate
    of_others = adamw(rate, adam_b1, adam_b2, adam_eps, weight_decay=adam_weight_decay)
    return beside_others("dion", of_matrices, of_others, weight_dimension_numbers)
