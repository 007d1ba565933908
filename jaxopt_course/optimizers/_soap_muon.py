"""SOAP-Muon: SOAP's steps of matrices are replaced by nearly orthogonal ones.

For a matrix W with learning rate a_t and weight decay d,

    X   = Q_L (M'_hat / (sqrt(V_hat) + eps)) Q_R'    SOAP's step: Adam's in an eigenbasis
    O   = NewtonSchulz(X), about U V'                with U S V' the decomposition of X
    W  <- W - a_t (sqrt(max(1, out / in)) O + d W)

SOAP whitens gradients on average over the steps, and Newton and Schulz whiten each step. Other
leaves are optimized by AdamW. The first gradient only determines the first eigenbasis of matrices.

Reference: Vyas et al., "Improving SOAP using Iterative Whitening and Muon", 2025,
https://nikhilvyas.github.io/SOAP_Muon.pdf. Implementations differ around these formulas. The code
of the authors, https://github.com/nikhilvyas/SOAP_MUON, also takes the signed square root of the
entries of O in the eigenbasis in its second version, and scales all entries to a root mean square
of 1 in its first; the records of modded-nanogpt take the second moment of Nesterov's momentum
instead of that of gradients. None of these changes is made here. ``consistent_rms=1`` gives the
first version's scale.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree, ScalarLike

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
    scale_by_learning_rate,
    stateless,
)

from ._adam import adamw
from ._matrices import map_stacked
from ._muon import Dimensions, beside_others, folded, scale_by_shape, specs_of, unfolded
from ._newton_schulz import (
    STANDARD,
    Coefficients,
    check_coefficients,
    coefficients_of,
    orthogonalized,
    rows_of,
)
from ._soap import scale_by_soap


def soap_muon(
    learning_rate: ScalarOrSchedule,
    b1: ScalarLike = 0.95,
    b2: ScalarLike = 0.95,
    eps: ScalarLike = 1e-8,
    weight_decay: ScalarOrSchedule = 0.0,
    mask: Mask | None = None,
    precondition_frequency: ScalarLike = 10,
    max_precond_dim: int = 10_000,
    *,
    ns_coeffs: Coefficients | str = STANDARD,
    ns_steps: int = 5,
    adam_b1: ScalarLike = 0.9,
    adam_b2: ScalarLike = 0.999,
    adam_weight_decay: ScalarOrSchedule = 0.0,
    adam_learning_rate: ScalarOrSchedule | None = None,
    muon_weight_dimension_numbers: Dimensions = None,
    consistent_rms: ScalarLike | None = None,
) -> GradientTransformationExtraArgs:
    """SOAP with orthogonal steps for matrices, AdamW for all other leaves.

    Args:
        learning_rate: the learning rate, in [0, inf), or a schedule of the step count; often 0.02.
        b1: SOAP's decay rate of the first moment, in [0, 1).
        b2: SOAP's decay rate of the second moment and of the factors, in [0, 1).
        eps: added to square roots and norms in denominators, in [0, inf).
        weight_decay: decoupled weight decay of matrices, in [0, inf), or a schedule; times the
            learning rate.
        mask: matrices that decay, as for :func:`adamw`; all by default.
        precondition_frequency: steps between updates of the bases, in [1, inf), rounded.
        max_precond_dim: longest axis with a basis, a static int in [0, inf).
        ns_coeffs: coefficients of the Newton-Schulz iteration, as for :func:`muon`.
        ns_steps: number of Newton-Schulz steps, a static int in [1, inf).
        adam_b1: Adam's decay rate of the first moment, in [0, 1).
        adam_b2: Adam's decay rate of the second moment, in [0, 1).
        adam_weight_decay: weight decay of the other leaves, in [0, inf), or a schedule.
        adam_learning_rate: Adam's learning rate; ``learning_rate`` by default.
        muon_weight_dimension_numbers: which leaves are matrices, and how, as for :func:`muon`.
        consistent_rms: root mean square of orthogonal updates, as for :func:`scale_by_shape`.

    Examples:
        >>> tx = soap_muon(0.02, adam_learning_rate=1e-3)
    """
    checks.integer("soap_muon", "ns_steps", ns_steps, "[1, inf)")
    coefficients = coefficients_of("soap_muon", ns_coeffs, ns_steps)
    check_coefficients("soap_muon", coefficients, ns_steps)

    def of_matrices(dimensions: Dimensions) -> GradientTransformationExtraArgs:
        return chain(
            scale_by_soap(b1, b2, eps, precondition_frequency, max_precond_dim),
            _orthogonalize(coefficients, ns_steps, eps, dimensions),
            scale_by_shape(dimensions, consistent_rms),
            add_decayed_weights(weight_decay, mask),
            scale_by_learning_rate(learning_rate),
        )

    rate = learning_rate if adam_learning_rate is None else adam_learning_rate
    of_others = adamw(rate, adam_b1, adam_b2, eps, weight_decay=adam_weight_decay)
    return beside_others("soap_muon", of_matrices, of_others, muon_weight_dimension_numbers)


def _orthogonalize(
    ns_coeffs: Coefficients, ns_steps: int, eps: ScalarLike, dimensions: Dimensions
) -> GradientTransformationExtraArgs:
    """Replace each matrix by a nearly orthogonal one, as Muon does without momentum."""

    def directions(updates: Updates, coefficients: PyTree, eps: ScalarLike) -> Updates:
        def orthogonal(matrix: Array) -> Array:
            own = jnp.array(coefficients, jnp.finfo(matrix.dtype).dtype)
            return orthogonalized(matrix, own, ns_steps, eps=eps)

        specs = specs_of(dimensions, updates)
        matrices = map_stacked(orthogonal, jax.tree.map(folded, tree.widened(updates), specs))
        whole = lambda matrix, x, spec: unfolded(matrix, x.shape, spec)
        return tree.cast_like(jax.tree.map(whole, matrices, updates, specs), updates)

    def of_updates(updates: Updates, params: Params | None) -> Updates:
        coefficients = jax.tree.map(numerics.as_float, rows_of(ns_coeffs))
        return on_auto_axes(directions, updates, coefficients, eps, like=updates)

    return stateless(of_updates)
