"""PSGD Kron: gradients are whitened by triangular factors that are fitted as the training runs.

For a leaf of k axes with gradients G, its preconditioner is P = Q'Q with Q = Q_1 x ... x Q_k, where
Q_i is upper triangular. In a step that fits it, with V a tensor of independent normal numbers,

    A = Q G,   B = Q^(-T) V                                   each along all axes
    Q_i <- Q_i - r triu(A_(i) A_(i)' - B_(i) B_(i)') Q_i / |A_(i) A_(i)' + B_(i) B_(i)'|

A step of gradient descent on the group of triangular matrices for E[G' P G + V' P^(-1) V], whose
minimum is P = E[vec(G) vec(G)']^(-1/2) if that has the form of P. |.| is a lower bound of the
spectral norm. The updates are those of the momentum M_t,

    W <- W - a_t (P M_t / max(1, RMS(P M_t) / c) + d W)

Vectors, scalars, and axes that are too long have a diagonal Q_i. A little noise is added to G, so
that P stays finite; and the Q_i are rescaled to equal sizes, which leaves P as it is.

References: Li, "Preconditioned Stochastic Gradient Descent", 2018,
https://arxiv.org/abs/1512.04202; Pooladzandi & Li, "Curvature-Informed SGD via General Purpose
Lie-Group Preconditioners", 2024, https://arxiv.org/abs/2402.04553, the Kronecker-product
preconditioner for whitening. The fit of the momentum instead of the gradient, the bound c on the
root mean square and the falling probability of a fit are those of the package ``psgd-jax``.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key, ScalarLike

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    Mask,
    ScalarOrSchedule,
    Updates,
    checks,
    numerics,
    on_auto_axes,
    own_key,
    placed_like,
    tree,
)
from jaxopt_course.transforms import (
    add_decayed_weights,
    chain,
    clip_by_block_rms,
    ema,
    scale_by_learning_rate,
)

from ._matrices import map_stacked
from ._shampoo import along_axes, factor_sizes, grams


# Noise relative to the mean size of a gradient: the root of the rounding error of float32.
DAMPING = 2.0**-11.5


def falling_probability(count: Any) -> Any:
    """1 in the first 500 steps, which falls exponentially to 0.03 at step 4,000."""
    return jnp.clip(jnp.exp(-0.001 * (numerics.as_float(count) - 500)), 0.03, 1.0)


class ScaleByPsgdKronState(NamedTuple):
    """State of the PSGD Kron transformation.

    count: number of updates so far, int32[].
    since_fit: number of updates since the last fit, int32[].
    factors: a tuple for each leaf: Q_i of each axis, float32 or wider, or its diagonal as a vector.
    rng_key: the key of the next V.
    """

    count: Int[Array, ""]
    since_fit: Int[Array, ""]
    factors: Any
    rng_key: Key[Array, ""]


def scale_by_psgd_kron(
    preconditioner_update_probability: ScalarOrSchedule = falling_probability,
    preconditioner_lr: ScalarLike = 0.1,
    preconditioner_init_scale: ScalarLike = 1.0,
    max_size_triangular: int = 8192,
    *,
    key: jax.Array | int,
) -> GradientTransformationExtraArgs:
    """Whiten updates by a product of triangular factors. Arguments are those of :func:`psgd_kron`.

    The factors are fitted to the updates that arrive.
    """
    owner, probability = "scale_by_psgd_kron", preconditioner_update_probability
    if callable(probability):
        checks.schedule(owner, "preconditioner_update_probability", probability)
    else:
        checks.number(owner, "preconditioner_update_probability", probability, "[0, 1]")
    checks.number(owner, "preconditioner_lr", preconditioner_lr, "[0, inf)")
    checks.number(owner, "preconditioner_init_scale", preconditioner_init_scale, "(0, inf)")
    checks.integer(owner, "max_size_triangular", max_size_triangular, "[0, inf)")

    def starts(p: Any) -> tuple[Array, ...]:
        dtype = numerics.wide_dtype(jnp.result_type(p))
        sizes = factor_sizes(jnp.shape(p), max_size_triangular)
        own = jnp.asarray(preconditioner_init_scale, jnp.finfo(dtype).dtype) ** (1 / len(sizes))

        def factor(size: tuple[int, ...], full: bool) -> Array:
            if full:
                return own.astype(dtype) * jnp.eye(size[0], dtype=dtype)
            diagonal = jnp.full(size, own)
            return placed_like(diagonal, p) if jnp.ndim(p) == 1 else diagonal

        return tuple(factor(*kind) for kind in sizes)

    def init(params):
        count, since_fit = (jnp.zeros((), jnp.int32) for _ in range(2))
        factors = jax.tree.map(starts, params)
        return ScaleByPsgdKronState(count, since_fit, factors, own_key(key))

    def update(updates, state, params=None, **extra_args):
        checks.state(owner, state, ScaleByPsgdKronState)
        if params is not None:
            checks.like(owner, "gradient", updates, params)
        next_key, now = jax.random.split(state.rng_key)
        share = numerics.as_float(numerics.at_count(probability, state.count))
        since = numerics.safe_increment(state.since_fit)
        due = numerics.has_reached(since, numerics.safe_divide(jnp.ones_like(share), share))
        due &= share > 0
        numbers = (due, preconditioner_lr)
        scaled, factors = on_auto_axes(
            _step, updates, state.factors, now, numbers, like=(updates, state.factors)
        )
        count, since = numerics.safe_increment(state.count), jnp.where(due, 0, since)
        return scaled, ScaleByPsgdKronState(count, since, factors, next_key)

    return GradientTransformationExtraArgs(init, update)


def psgd_kron(
    learning_rate: ScalarOrSchedule,
    b1: ScalarLike = 0.9,
    weight_decay: ScalarOrSchedule = 0.0,
    mask: Mask | None = None,
    preconditioner_update_probability: ScalarOrSchedule = falling_probability,
    preconditioner_lr: ScalarLike = 0.1,
    preconditioner_init_scale: ScalarLike = 1.0,
    max_size_triangular: int = 8192,
    max_rms: ScalarLike = 1.1,
    *,
    key: jax.Array | int,
) -> GradientTransformationExtraArgs:
    """PSGD Kron, momentum that is whitened by triangular factors, with decoupled weight decay.

    Args:
        learning_rate: the learning rate, in [0, inf), or a schedule of the step count; often 3e-4
            to 1e-3, a third of Adam's.
        b1: decay rate of the momentum, a bias-corrected running mean, in [0, 1).
        weight_decay: decoupled weight decay, in [0, inf), or a schedule; times the learning rate.
        mask: leaves that decay, as for :func:`adamw`; all by default.
        preconditioner_update_probability: share p of the steps that fit the factors, in [0, 1], or
            a schedule of the step count. They are fitted once in 1 / p steps, rounded up. By
            default p falls from 1 to 0.03 between the steps 500 and 4,000.
        preconditioner_lr: r, the learning rate of the factors, in [0, inf).
        preconditioner_init_scale: Q starts as this multiple of the identity, in (0, inf).
        max_size_triangular: longest axis with a triangular factor, a static int in [0, inf).
        max_rms: c, the largest root mean square of a leaf's step, in [0, inf).
        key: a typed key, or an int as its seed.

    Examples:
        >>> tx = psgd_kron(1e-3, key=jax.random.key(0))
    """
    return chain(
        ema(b1),
        scale_by_psgd_kron(
            preconditioner_update_probability,
            preconditioner_lr,
            preconditioner_init_scale,
            max_size_triangular,
            key=key,
        ),
        clip_by_block_rms(max_rms),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )


def _step(
    updates: Updates, factors: Any, key: Key[Array, ""], numbers: tuple[Array, ScalarLike]
) -> tuple[Updates, Any]:
    due, rate = numbers
    grads = tree.widened(updates)

    def fit() -> Any:
        leaves, structure = jax.tree.flatten(grads)
        keys = jax.random.split(key, max(len(leaves), 1))
        normals = [
            jax.random.normal(own, x.shape, x.dtype)
            for own, x in zip(keys[: len(leaves)], leaves, strict=True)
        ]
        fitted = lambda g, v, own: _fitted(g, v, own, rate)
        return map_stacked(fitted, grads, jax.tree.unflatten(structure, normals), factors)

    factors = jax.lax.cond(due, fit, lambda: factors)
    turned = jax.tree.map(along_axes, grads, factors)
    whitened = jax.tree.map(along_axes, turned, jax.tree.map(lambda q: q.conj().T, factors))
    return tree.cast_like(whitened, updates), factors


def _fitted(g: Array, v: Array, factors: tuple[Array, ...], rate: ScalarLike) -> tuple[Array, ...]:
    """The factors after one step of their fit to the gradient ``g``, with normal numbers ``v``."""
    if not g.size:
        return factors
    size = DAMPING * jnp.mean(numerics.magnitude(g))
    a = along_axes(g + size.astype(g.dtype) * v, factors)
    b = along_axes(v, tuple(map(_inverse, factors)))
    pairs = zip(factors, grams(a, factors), grams(b, factors), strict=True)
    return _balanced([_moved(q, of_a, of_b, rate) for q, of_a, of_b in pairs])


def _inverse(factor: Array) -> Array:
    """``Q^(-H)``."""
    if factor.ndim < 2:
        return 1 / factor.conj()
    eye = jnp.eye(len(factor), dtype=factor.dtype)
    return jax.scipy.linalg.solve_triangular(factor, eye).conj().T


def _moved(q: Array, of_a: Any, of_b: Any, rate: ScalarLike) -> Array:
    """One step of a factor; ``of_a`` and ``of_b`` are A_(i) A_(i)' and B_(i) B_(i)'."""
    total = of_a + of_b
    size = jnp.max(total) if q.ndim < 2 else _norm_bound(total)
    step = jnp.asarray(rate, size.dtype) / jnp.maximum(size, float(jnp.finfo(size.dtype).tiny))
    if q.ndim < 2:
        return q - (step * (of_a - of_b)).astype(q.dtype) * q
    return q - step.astype(q.dtype) * jnp.triu(of_a - of_b) @ q


def _norm_bound(matrix: Array) -> Array:
    """A lower bound of the spectral norm of a positive semidefinite matrix, often close to it.

    It is the growth of the largest column under the matrix, after one step of power iteration.
    """
    largest = jnp.max(numerics.magnitude(matrix))
    unit = matrix / jnp.where(largest > 0, largest, 1).astype(matrix.dtype)
    column = jnp.argmax(jnp.sum(numerics.abs_sq(unit), 0))
    x = unit @ jnp.take(unit, column, 1)
    x = unit @ (
        x / jnp.maximum(_length(x), math.sqrt(jnp.finfo(largest.dtype).tiny)).astype(x.dtype)
    )
    return largest * _length(x)


def _length(x: Array) -> Array:
    return numerics.safe_sqrt(jnp.sum(numerics.abs_sq(x)))


def _balanced(factors: list[Array]) -> tuple[Array, ...]:
    """The factors with equal largest entries, and the same product."""
    sizes = jnp.stack([jnp.max(numerics.magnitude(q)) for q in factors])
    mean = jnp.exp(jnp.mean(jnp.log(sizes)))
    return tuple(q * (mean / own).astype(q.dtype) for q, own in zip(factors, sizes, strict=True))
