"""NorMuon: Muon whose neurons get steps of equal size, as Adam gives them to parameters.

For a matrix W (out, in) with gradients G_t, learning rate a_t and weight decay d,

    O_t   = the orthogonalized mean of the gradients             as Muon's
    v_t,i = b2 v_{t-1},i + (1 - b2) mean_j O_t,ij^2              for each neuron, a row
    O'    = O_t,i / (sqrt(v_t,i) + eps)                          its row
    W    <- W - a_t (s |O_t| / |O'| O' + d W)

with Frobenius norms, which stay those of Muon, and Muon's factor s by the shape. Here a neuron is
an index of the output axis. Other leaves are optimized by AdamW.

Reference: Li et al., "NorMuon: Making Muon more efficient and scalable", 2025, algorithm 1,
https://arxiv.org/abs/2510.05491. Its step has a root mean square of 0.2. That of ours, as that of
its authors' code, keeps the norm of O_t; ``consistent_rms=0.2`` makes the two nearly equal.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, DTypeLike, PyTree, ScalarLike

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    Mask,
    Params,
    ScalarOrSchedule,
    checks,
    l2_norm,
    root_mean_square,
    shapes_of,
    tree,
)
from jaxopt_course.transforms import add_decayed_weights, chain, scale_by_learning_rate

from ._adam import adamw
from ._muon import (
    Dimensions,
    MuonDimensionNumbers,
    beside_others,
    scale_by_muon,
    scale_by_shape,
    specs_of,
)
from ._newton_schulz import STANDARD, Coefficients, coefficients_of


class ScaleByNormuonState(NamedTuple):
    """State of the normalization of neurons.

    nu: running mean of each neuron's mean square, float32 or wider, shaped like the params with
        size 1 along the axes of the inputs.
    """

    nu: Params


def scale_by_normuon(
    ns_coeffs: Coefficients = STANDARD,
    ns_steps: int = 5,
    beta: ScalarLike = 0.95,
    beta2: ScalarLike = 0.95,
    eps: ScalarLike = 1e-8,
    mu_dtype: DTypeLike | None = None,
    *,
    nesterov: bool = True,
    preconditioning: str = "frobenius",
    weight_dimension_numbers: Dimensions = None,
) -> GradientTransformationExtraArgs:
    """Orthogonalize as :func:`scale_by_muon` does, then give neurons steps of equal size.

    Arguments are those of :func:`normuon`; by default all leaves are matrices.
    """
    return chain(
        scale_by_muon(
            ns_coeffs,
            ns_steps,
            beta,
            eps,
            mu_dtype,
            nesterov=nesterov,
            preconditioning=preconditioning,
            weight_dimension_numbers=weight_dimension_numbers,
        ),
        _normalized_neurons(beta2, eps, weight_dimension_numbers),
    )


def _normalized_neurons(
    beta2: ScalarLike, eps: ScalarLike, dimensions: Dimensions
) -> GradientTransformationExtraArgs:
    """Divide each neuron by the root of its mean square, and keep the norm of the matrix."""
    checks.number("scale_by_normuon", "beta2", beta2, "[0, 1)")

    def mean_squares(updates: PyTree) -> PyTree:
        size = lambda x, spec: root_mean_square(x, several(spec.reduction_axis), keepdims=True)
        return tree.squared(jax.tree.map(size, updates, specs_of(dimensions, updates)))

    def init(params):
        return ScaleByNormuonState(tree.accumulator_like(shapes_of(mean_squares, params)))

    def update(updates, state, params=None, **extra_args):
        checks.state("scale_by_normuon", state, ScaleByNormuonState)
        wide = tree.widened(updates)
        nu = tree.update_moment(mean_squares(wide), state.nu, beta2, 1)
        steps = tree.divide_by_root(wide, nu, eps)
        kept = jax.tree.map(_of_norm, steps, wide, specs_of(dimensions, wide))
        return tree.cast_like(kept, updates), ScaleByNormuonState(nu)

    return GradientTransformationExtraArgs(init, update)


def _of_norm(step: Array, like: Array, spec: MuonDimensionNumbers) -> Array:
    """``step``, each of whose matrices gets the Frobenius norm that it has in ``like``."""
    axes = several(spec.reduction_axis) + several(spec.output_axis)
    now, wanted = (l2_norm(x, axes, keepdims=True) for x in (step, like))
    unit: Array = tree.divide(step, jnp.where(now > 0, now, 1))
    return unit * wanted.astype(unit.dtype)


def several(axes: int | Sequence[int]) -> tuple[int, ...]:
    return tuple(np.atleast_1d(axes).tolist())


def normuon(
    learning_rate: ScalarOrSchedule,
    ns_coeffs: Coefficients | str = STANDARD,
    ns_steps: int = 5,
    beta: ScalarLike = 0.95,
    beta2: ScalarLike = 0.95,
    eps: ScalarLike = 1e-8,
    weight_decay: ScalarOrSchedule = 0.0,
    weight_decay_mask: Mask | None = None,
    mu_dtype: DTypeLike | None = None,
    *,
    nesterov: bool = True,
    preconditioning: str = "frobenius",
    adam_b1: ScalarLike = 0.9,
    adam_b2: ScalarLike = 0.999,
    adam_weight_decay: ScalarOrSchedule = 0.0,
    adam_learning_rate: ScalarOrSchedule | None = None,
    weight_dimension_numbers: Dimensions = None,
    consistent_rms: ScalarLike | None = None,
) -> GradientTransformationExtraArgs:
    """NorMuon for matrices, AdamW for all other leaves.

    Args:
        learning_rate: the learning rate, in [0, inf), or a schedule of the step count; often 0.02.
        ns_coeffs: coefficients of the Newton-Schulz iteration, as for :func:`muon`.
        ns_steps: number of Newton-Schulz steps, a static int in [1, inf).
        beta: decay rate of the running mean of matrices, in [0, 1).
        beta2: b2, decay rate of the mean squares of neurons, in [0, 1).
        eps: added to the norm of matrices and to the root of a mean square, and Adam's ``eps``, in
            [0, inf).
        weight_decay: decoupled weight decay, in [0, inf), or a schedule; times the learning rate.
        weight_decay_mask: leaves that decay, as for :func:`adamw`; all by default.
        mu_dtype: dtype of the running means of gradients; float32 or wider by default.
        nesterov: whether to use Nesterov momentum, for matrices and for other leaves.
        preconditioning: how matrices are scaled before the iteration, see :func:`orthogonalized`.
        adam_b1: Adam's decay rate of the first moment, in [0, 1).
        adam_b2: Adam's decay rate of the second moment, in [0, 1).
        adam_weight_decay: weight decay of the other leaves, in [0, inf), or a schedule.
        adam_learning_rate: Adam's learning rate; ``learning_rate`` by default.
        weight_dimension_numbers: which leaves are matrices, and which of their axes are inputs and
            outputs, as ``muon_weight_dimension_numbers`` of :func:`muon`.
        consistent_rms: root mean square of updates, as for :func:`scale_by_shape`.

    Examples:
        >>> tx = normuon(0.02, adam_learning_rate=1e-3)
    """
    coefficients = coefficients_of("normuon", ns_coeffs, ns_steps)

    def of_matrices(dimensions: Dimensions) -> GradientTransformationExtraArgs:
        return chain(
            scale_by_normuon(
                coefficients,
                ns_steps,
                beta,
                beta2,
                eps,
                mu_dtype,
                nesterov=nesterov,
                preconditioning=preconditioning,
                weight_dimension_numbers=dimensions,
            ),
            scale_by_shape(dimensions, consistent_rms),
            add_decayed_weights(weight_decay, weight_decay_mask),
            scale_by_learning_rate(learning_rate),
        )

    rate = learning_rate if adam_learning_rate is None else adam_learning_rate
    moments = (adam_b1, adam_b2, eps, 0.0, mu_dtype)
    of_others = adamw(rate, *moments, adam_weight_decay, nesterov=nesterov)
    return beside_others("normuon", of_matrices, of_others, weight_dimension_numbers)
