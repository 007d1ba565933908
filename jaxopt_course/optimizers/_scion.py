"""Scion: steps of a given length in a norm that suits the layer, without a second moment.

For a leaf W with gradients G_t, learning rate a_t, radius r and weight decay d,

    M_t = b M_{t-1} + (1 - b) G_t
    W  <- W - a_t (r D(M_t) + d W)

where D(M) has norm 1, and of all such directions the largest inner product with M. For U S V' the
singular value decomposition of M (out, in), the norms and directions are

    spectral    sqrt(in / out) times the largest singular value    sqrt(out / in) U V'
    sign        in times the largest entry                         sign(M) / in
    embedding   the largest root mean square of a row, a token's   row_i / RMS(row_i)
    rms         the root mean square of all entries                M / RMS(M)

Without weight decay the method is unconstrained. With d = 1 it is the constrained one, a
conditional gradient method: a leaf that starts with norm r or less stays there, for a_t <= 1.

Reference: Pethick et al., "Training Deep Learning Models with Norm-Constrained LMOs", 2025,
algorithms 1 and 2 and table 2, https://arxiv.org/abs/2502.07529. There ``alpha`` is 1 - b.
"""

import functools
import math
from typing import Any

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
    on_auto_axes,
    root_mean_square,
    tree,
)
from jaxopt_course.transforms import (
    add_decayed_weights,
    chain,
    ema,
    scale,
    scale_by_learning_rate,
    stateless,
)

from ._matrices import map_stacked
from ._muon import Dimensions, MuonDimensionNumbers, folded, specs_of, unfolded
from ._newton_schulz import (
    STANDARD,
    Coefficients,
    check_coefficients,
    coefficients_of,
    orthogonalized,
    rows_of,
)
from ._normuon import several


NORMS = ("spectral", "sign", "embedding", "rms")


def scion(
    learning_rate: ScalarOrSchedule,
    norm: str = "spectral",
    radius: ScalarLike = 1.0,
    beta: ScalarLike = 0.9,
    weight_decay: ScalarOrSchedule = 0.0,
    mask: Mask | None = None,
    ns_coeffs: Coefficients | str = STANDARD,
    ns_steps: int = 5,
    *,
    weight_dimension_numbers: Dimensions = None,
) -> GradientTransformationExtraArgs:
    """Scion, descent by steps of a given length in the norm of each layer.

    The authors use ``"spectral"`` for hidden layers, ``"sign"`` for the last layer and for a table
    that it shares, and ``"embedding"`` for other tables, each with a radius of its own.

    Args:
        learning_rate: the learning rate, in [0, inf), or a schedule of the step count.
        norm: one of those above, for all leaves with dimension numbers; others, such as biases and
            gains, have ``"rms"``. ``partition`` gives groups of leaves their own norm and radius.
        radius: r, the norm of a step over the learning rate, in [0, inf).
        beta: decay rate of the running mean, in [0, 1).
        weight_decay: 0 for the unconstrained method, 1 for the constrained one, or any number d in
            [0, inf), for which the radius of the constraint is r / d, or a schedule.
        mask: leaves that decay, as for :func:`adamw`; all by default.
        ns_coeffs: coefficients of the Newton-Schulz iteration for U V', as for :func:`muon`. With
            the standard ones the singular values are near 1, and so is the norm of D.
        ns_steps: number of Newton-Schulz steps, a static int in [1, inf).
        weight_dimension_numbers: which axes are inputs and outputs, as
            ``muon_weight_dimension_numbers`` of :func:`muon`. By default the last axis of a leaf
            with two or more is that of the outputs, and all others are inputs.

    Examples:
        >>> from jaxopt_course.transforms import partition
        >>> groups = {"hidden": scion(0.01, radius=50.0), "head": scion(0.01, "sign", 3000.0)}
        >>> tx = partition(groups, {"Dense_0": "hidden", "Dense_1": "head"})
    """
    checks.choice("scion", "norm", norm, NORMS)
    checks.number("scion", "radius", radius, "[0, inf)")
    checks.number("scion", "beta", beta, "[0, 1)")
    checks.integer("scion", "ns_steps", ns_steps, "[1, inf)")
    coefficients = coefficients_of("scion", ns_coeffs, ns_steps)
    check_coefficients("scion", coefficients, ns_steps)
    dimensions = _last_axes if weight_dimension_numbers is None else weight_dimension_numbers
    return chain(
        ema(beta, debias=False),
        _directions(norm, rows_of(coefficients), ns_steps, dimensions),
        scale(radius),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )


def _directions(
    norm: str, coefficients: tuple[Any, ...], ns_steps: int, dimensions: Dimensions
) -> GradientTransformationExtraArgs:
    """Replace each leaf by its direction D."""

    def directions(updates: Updates, coefficients: tuple[Any, ...]) -> Updates:
        rows = functools.cache(jnp.array(coefficients).astype)

        def polar(matrices: Array) -> Array:
            return orthogonalized(matrices, rows(jnp.finfo(matrices.dtype).dtype), ns_steps, eps=0)

        wide, specs = tree.widened(updates), specs_of(dimensions, updates)
        matrices = jax.tree.map(functools.partial(_matrix, norm), wide, specs)
        found = jax.tree.map(
            functools.partial(_direction, norm), wide, specs, map_stacked(polar, matrices)
        )
        return tree.cast_like(found, updates)

    def directed(updates: Updates, params: Params | None) -> Updates:
        checks.floats("scion", "gradient", updates)
        return on_auto_axes(directions, updates, coefficients, like=updates)

    return stateless(directed)


def _matrix(norm: str, x: Array, spec: MuonDimensionNumbers | None) -> Array | None:
    """The leaf as a matrix, if its direction is that of the spectral norm."""
    return None if spec is None or norm != "spectral" else folded(x, spec)


def _direction(
    norm: str, x: Array, spec: MuonDimensionNumbers | None, polar: Array | None
) -> Array:
    """D of a leaf ``x``, whose polar factor U V' is given if the norm is spectral."""
    if spec is None or norm == "rms":
        return _over(x, root_mean_square(x))
    inputs, outputs = (several(axes) for axes in spec)
    fan_in, fan_out = (math.prod(x.shape[i] for i in axes) for axes in (inputs, outputs))
    if polar is not None:
        return math.sqrt(fan_out / max(fan_in, 1)) * unfolded(polar, x.shape, spec)
    if norm == "sign":
        return jnp.sign(x) / max(fan_in, 1)
    return _over(x, root_mean_square(x, outputs, keepdims=True))


def _over(x: Array, size: Array) -> Array:
    """``x / size``, and 0 where the size is 0."""
    unit: Array = tree.divide(x, jnp.where(size > 0, size, 1))
    return unit


def _last_axes(params: PyTree) -> PyTree:
    """The last axis of each leaf is that of the outputs, and all others are inputs."""
    spec = lambda n: MuonDimensionNumbers(tuple(range(n - 1)), n - 1) if n > 1 else None
    return jax.tree.map(lambda x: spec(jnp.ndim(x)), params)
