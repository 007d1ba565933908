"""KL-SOAP: Adam in the eigenbasis of KL-Shampoo's factors, which is updated every few steps.

M, V and W follow the formulas of SOAP. The bases Q_L and Q_R are those of KL-Shampoo's factors L
and R: each factor is estimated from gradients that are whitened along the other axes, by means of
the eigenvalues l and r, which have no other use here.

Reference: Lin et al., "Understanding and Improving Shampoo and SOAP via Kullback-Leibler
Minimization", 2025, https://arxiv.org/abs/2509.03378. The moments are bias-corrected, as in SOAP;
in the code of its authors they are not.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Int, ScalarLike

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

from ._kl_shampoo import check_kl, first_eigenvalues, kl_estimates
from ._soap import adam_in_bases, identities, next_bases


class ScaleByKlSoapState(NamedTuple):
    """State of the KL-SOAP transformation.

    count: number of updates so far, int32[].
    mu: running mean of gradients, shaped like the params, float32 or wider.
    nu: running mean of squared gradients in the eigenbasis, likewise.
    factors: a tuple for each leaf: the factor of each axis, None for an axis without a basis.
    bases: Q_i, likewise: approximate eigenvectors of the factors, as columns.
    eigenvalues: a tuple for each leaf: those of the factor of each axis, real.
    """

    count: Int[Array, ""]
    mu: Params
    nu: Params
    factors: Any
    bases: Any
    eigenvalues: Any


def scale_by_kl_soap(
    b1: ScalarLike = 0.9,
    b2: ScalarLike = 0.98,
    eps: ScalarLike = 1e-8,
    precondition_frequency: ScalarLike = 10,
    max_precond_dim: int = 10_000,
    initial_eigenvalue: ScalarLike = 0.1,
) -> GradientTransformationExtraArgs:
    """Rescale gradients as Adam does, in the eigenbasis of KL-Shampoo.

    Arguments are those of :func:`kl_soap`. The first update is 0. Derivatives of a whole training
    treat the bases as constants.
    """
    check_kl("scale_by_kl_soap", b1, b2, eps, precondition_frequency)
    checks.number("scale_by_kl_soap", "initial_eigenvalue", initial_eigenvalue, "(0, inf)")
    checks.integer("scale_by_kl_soap", "max_precond_dim", max_precond_dim, "[0, inf)")

    def init(params):
        mu, nu = tree.accumulator_like(params), tree.real_accumulator_like(params)
        bases = identities(params, max_precond_dim)
        values = first_eigenvalues(params, initial_eigenvalue)
        factors = tree.accumulator_like(bases)
        return ScaleByKlSoapState(jnp.zeros((), jnp.int32), mu, nu, factors, bases, values)

    def update(updates, state, params=None, **extra_args):
        checks.step("scale_by_kl_soap", updates, state, ScaleByKlSoapState, "mu")
        numbers = (b1, b2, eps, precondition_frequency)
        return on_auto_axes(_step, updates, state, numbers, like=(updates, state))

    return GradientTransformationExtraArgs(init, update)


def kl_soap(
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
    """KL-SOAP, Adam in the eigenbasis of KL-Shampoo's factors, with decoupled weight decay.

    Args:
        learning_rate: the learning rate, in [0, inf), or a schedule of the step count; often 3e-3.
        b1: decay rate of the first moment, in [0, 1).
        b2: decay rate of the second moment, of the factors and of their eigenvalues, in [0, 1).
        eps: added to the square root in the denominator, and the least eigenvalue by which the
            estimate of another axis is divided, in [0, inf).
        weight_decay: decoupled weight decay, in [0, inf), or a schedule; times the learning rate.
        mask: leaves that decay, as for :func:`adamw`; all by default.
        precondition_frequency: f, steps between updates of the bases, in [1, inf), rounded.
        max_precond_dim: longest axis with a basis, a static int in [0, inf).
        initial_eigenvalue: the eigenvalues of all factors before the first step, in (0, inf).

    Examples:
        >>> tx = kl_soap(3e-3)
    """
    return chain(
        scale_by_kl_soap(b1, b2, eps, precondition_frequency, max_precond_dim, initial_eigenvalue),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )


def _step(
    updates: Updates, state: ScaleByKlSoapState, numbers: tuple[ScalarLike, ...]
) -> tuple[Updates, ScaleByKlSoapState]:
    b1, b2, eps, frequency = numbers
    grads = tree.cast_like(updates, state.mu)
    steps, mu, nu = adam_in_bases(grads, state, b1, b2, eps)
    factors, values = kl_estimates(grads, state, b2, eps)
    bases = next_bases(factors, state.bases, state.count, frequency)
    count = numerics.safe_increment(state.count)
    scaled = tree.cast_like(steps, updates)
    return scaled, ScaleByKlSoapState(count, mu, nu, factors, bases, values)
