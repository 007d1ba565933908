"""Muon: momentum whose matrices are replaced by nearly orthogonal ones.

For a matrix W with gradients G_t, learning rate a_t and weight decay d, and U S V' the singular
value decomposition of X,

    M_t = b M_{t-1} + (1 - b) G_t                    running mean, bias-corrected to M_hat
    X   = b M_hat + (1 - b) G_hat                    Nesterov momentum
    O   = NewtonSchulz(X), about U V'                all singular values near 1
    W  <- W - a_t (sqrt(max(1, out / in)) O + d W)

:func:`orthogonalized` is the Newton-Schulz iteration. Other leaves are optimized by AdamW.

References: Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024,
its algorithm and ``newtonschulz5``, https://kellerjordan.github.io/posts/muon; Liu et al., "Muon
is Scalable for LLM Training", 2025, https://arxiv.org/abs/2502.16982, for the scale by shape.
"""

import functools
import math
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, DTypeLike, Int, PyTree, ScalarLike

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
    partition,
    scale_by_learning_rate,
    stateless,
)

from ._adam import adamw, mean_of_step
from ._matrices import map_stacked
from ._muon_dimensions import MuonDimensionNumbers as MuonDimensionNumbers
from ._muon_dimensions import ambiguous, describe_muon, muon_dimensions
from ._newton_schulz import (
    PRECONDITIONINGS,
    STANDARD,
    Coefficients,
    check_coefficients,
    coefficients_of,
    orthogonalized,
    rows_of,
)


Dimensions: TypeAlias = MuonDimensionNumbers | Mask | None


def specs_of(dimensions: Dimensions, params: PyTree) -> PyTree:
    """The dimension numbers, or None, of each leaf of ``params``."""
    if not jax.tree.leaves(params):
        return params
    is_spec = lambda x: x is None or isinstance(x, MuonDimensionNumbers)
    specs = MuonDimensionNumbers() if dimensions is None else tree.for_tree(dimensions, params)
    return jax.tree.map(
        lambda spec, below: jax.tree.map(lambda _: spec, below), specs, params, is_leaf=is_spec
    )


def folded(x: Array, spec: MuonDimensionNumbers) -> Array:
    """``x`` as one matrix, or as a batch of them, with the shorter side as rows.

    Only for functions that commute with transposition, f(X') = f(X)'.
    """
    batch, rows, columns = axes = _wide_axes(x.shape, spec)
    kinds = axes if batch else (rows, columns)
    return x.transpose(batch + rows + columns).reshape([_size(x.shape, own) for own in kinds])


def unfolded(matrices: Array, shape: tuple[int, ...], spec: MuonDimensionNumbers) -> Array:
    """The inverse of :func:`folded`."""
    order = sum(_wide_axes(shape, spec), ())
    return matrices.reshape([shape[i] for i in order]).transpose(np.argsort(order))


def _axes(shape: tuple[int, ...], spec: MuonDimensionNumbers) -> tuple[tuple[int, ...], ...]:
    """The axes of the batch, of the rows and of the columns, as nonnegative numbers."""
    n = len(shape)
    rows, columns = (
        tuple(axis % n if n else axis for axis in np.atleast_1d(axes).tolist()) for axes in spec
    )
    if n < 2 or len({*rows, *columns}) < len(rows + columns):
        raise ValueError(
            "MuonDimensionNumbers: a leaf must have two axes or more, and its rows and columns "
            f"must not share one, got shape {shape} with {spec}."
        )
    return tuple(i for i in range(n) if i not in rows + columns), rows, columns


def _wide_axes(shape: tuple[int, ...], spec: MuonDimensionNumbers) -> tuple[tuple[int, ...], ...]:
    """As :func:`_axes`, with the shorter side as rows."""
    batch, rows, columns = _axes(shape, spec)
    is_tall = _size(shape, rows) > _size(shape, columns)
    return (batch, columns, rows) if is_tall else (batch, rows, columns)


def _size(shape: tuple[int, ...], axes: tuple[int, ...]) -> int:
    return math.prod(shape[i] for i in axes)


class MuonState(NamedTuple):
    """State of the Muon transformation.

    count: number of updates so far, int32[].
    mu: running mean of gradients, shaped like the params, float32 or wider.
    ns_coeffs: coefficients of the Newton-Schulz iteration, three float[] or three for each step.
    """

    count: Int[Array, ""]
    mu: Params
    ns_coeffs: tuple[Any, ...]


def scale_by_muon(
    ns_coeffs: Coefficients = STANDARD,
    ns_steps: int = 5,
    beta: ScalarLike = 0.95,
    eps: ScalarLike = 1e-8,
    mu_dtype: DTypeLike | None = None,
    *,
    nesterov: bool = True,
    adaptive: bool = False,
    preconditioning: str = "frobenius",
    weight_dimension_numbers: Dimensions = None,
) -> GradientTransformationExtraArgs:
    """Replace the running mean of each matrix by a nearly orthogonal one.

    Arguments are those of :func:`muon`; by default all leaves are matrices. Matrices of equal
    shape, transposed or not, are computed as one batch.
    """
    checks.flags("scale_by_muon", nesterov=nesterov, adaptive=adaptive)
    checks.dtype("scale_by_muon", "mu_dtype", mu_dtype)
    checks.integer("scale_by_muon", "ns_steps", ns_steps, "[1, inf)")
    check_coefficients("scale_by_muon", ns_coeffs, ns_steps)
    checks.number("scale_by_muon", "beta", beta, "[0, 1)")
    checks.number("scale_by_muon", "eps", eps, "[0, inf)")
    checks.choice("scale_by_muon", "preconditioning", preconditioning, PRECONDITIONINGS)

    def init(params):
        mu = tree.accumulator_like(params, mu_dtype)
        coefficients = jax.tree.map(numerics.as_float, rows_of(ns_coeffs))
        return MuonState(jnp.zeros((), jnp.int32), mu, coefficients)

    def update(updates, state, params=None, **extra_args):
        checks.step("scale_by_muon", updates, state, MuonState, "mu")
        count = numerics.safe_increment(state.count)
        mu = tree.update_moment(updates, state.mu, beta, 1)
        mean = mean_of_step(mu, updates, beta, count, nesterov)
        steps = on_auto_axes(directions, mean, state.ns_coeffs, eps, like=mean)
        new_state = MuonState(count, tree.cast_like(mu, state.mu), state.ns_coeffs)
        return tree.cast_like(steps, updates), new_state

    def directions(mean: Updates, ns_coeffs: Any, eps: ScalarLike) -> Updates:
        coefficients = functools.cache(jnp.array(ns_coeffs).astype)

        def orthogonal(matrices: Array) -> Array:
            own = coefficients(jnp.finfo(matrices.dtype).dtype)
            return orthogonalized(matrices, own, ns_steps, preconditioning, eps)

        def scaled(matrices: Array, x: Array, spec: MuonDimensionNumbers) -> Array:
            y = unfolded(matrices, x.shape, spec)
            return jnp.sum(x.conj() * y) * y if adaptive else y

        specs = specs_of(weight_dimension_numbers, mean)
        matrices = map_stacked(orthogonal, jax.tree.map(folded, mean, specs))
        return jax.tree.map(scaled, matrices, mean, specs)

    return GradientTransformationExtraArgs(init, update)


def scale_by_shape(
    weight_dimension_numbers: Dimensions = None, consistent_rms: ScalarLike | None = None
) -> GradientTransformationExtraArgs:
    """Multiply each matrix by a number that depends on its shape, so that one rate suits all.

    The factor is sqrt(max(1, out / in)), so that the size of a layer's change does not depend on
    its width; or ``consistent_rms * sqrt(max(in, out))``, so that orthogonal updates have that root
    mean square.

    Args:
        weight_dimension_numbers: as ``muon_weight_dimension_numbers`` of :func:`muon`; by default
            all leaves are matrices.
        consistent_rms: the root mean square, in [0, inf); 0.2 is about that of Adam.
    """
    if consistent_rms is not None:
        checks.number("scale_by_shape", "consistent_rms", consistent_rms, "[0, inf)")

    def scaled(x: Array, spec: MuonDimensionNumbers) -> Array:
        _, rows, columns = _axes(x.shape, spec)
        fan_in, fan_out = _size(x.shape, rows), _size(x.shape, columns)
        if consistent_rms is None:
            return tree.scale(x, math.sqrt(max(1, fan_out / max(fan_in, 1))))
        return tree.scale(x, math.sqrt(max(fan_in, fan_out)) * numerics.as_float(consistent_rms))

    def scaled_tree(updates: Updates, params: Params | None) -> Updates:
        checks.floats("scale_by_shape", "gradient", updates)
        return jax.tree.map(scaled, updates, specs_of(weight_dimension_numbers, updates))

    return stateless(scaled_tree)


def muon(
    learning_rate: ScalarOrSchedule,
    ns_coeffs: Coefficients | str = STANDARD,
    ns_steps: int = 5,
    beta: ScalarLike = 0.95,
    eps: ScalarLike = 1e-8,
    weight_decay: ScalarOrSchedule = 0.0,
    weight_decay_mask: Mask | None = None,
    mu_dtype: DTypeLike | None = None,
    *,
    nesterov: bool = True,
    adaptive: bool = False,
    preconditioning: str = "frobenius",
    adam_b1: ScalarLike = 0.9,
    adam_b2: ScalarLike = 0.999,
    adam_eps_root: ScalarLike = 0.0,
    adam_weight_decay: ScalarOrSchedule = 0.0,
    adam_learning_rate: ScalarOrSchedule | None = None,
    muon_weight_dimension_numbers: Dimensions = None,
    consistent_rms: ScalarLike | None = None,
) -> GradientTransformationExtraArgs:
    """Muon for the hidden weights of a network, AdamW for all other leaves.

    By default :func:`muon_dimensions` recognizes which leaves are hidden weights, and a warning
    names those that it does not recognize; ``print(describe_muon(params))`` shows the result.
    optax's default, Muon for every leaf with two axes, is
    ``muon_weight_dimension_numbers=two_axis_dimensions``.

    Args:
        learning_rate: the learning rate, in [0, inf), or a schedule of the step count; often 0.02.
        ns_coeffs: coefficients of the Newton-Schulz iteration: three numbers, three numbers for
            each of at most ``ns_steps`` steps, or a preset: ``"standard"``, ``"dion"``, or
            ``"polar_express"``, which converges to 1 and has coefficients for any number of steps.
        ns_steps: number of Newton-Schulz steps, a static int in [1, inf).
        beta: decay rate of the running mean of matrices, in [0, 1).
        eps: added to the norm of matrices, and Adam's ``eps``, in [0, inf).
        weight_decay: decoupled weight decay, in [0, inf), or a schedule; times the learning rate.
        weight_decay_mask: leaves that decay, as for :func:`adamw`; all by default.
        mu_dtype: dtype of the running means; float32 or wider by default.
        nesterov: whether to use Nesterov momentum, for matrices and for other leaves.
        adaptive: whether to multiply by the inner product of the mean and its orthogonal matrix.
        preconditioning: how matrices are scaled before the iteration, see :func:`orthogonalized`.
        adam_b1: Adam's decay rate of the first moment, in [0, 1).
        adam_b2: Adam's decay rate of the second moment, in [0, 1).
        adam_eps_root: Adam's ``eps_root``, in [0, inf).
        adam_weight_decay: weight decay of the other leaves, in [0, inf), or a schedule.
        adam_learning_rate: Adam's learning rate; ``learning_rate`` by default.
        muon_weight_dimension_numbers: :class:`MuonDimensionNumbers` for all leaves, or a tree of
            them (None for leaves of Adam) shaped like a prefix of the params, or a function
            of the params that returns one; :func:`muon_dimensions` by default.
        consistent_rms: root mean square of orthogonal updates, as for :func:`scale_by_shape`.

    Examples:
        >>> tx = muon(0.02, adam_learning_rate=1e-3)
    """
    coefficients = coefficients_of("muon", ns_coeffs, ns_steps)

    def of_matrices(dimensions: Dimensions) -> GradientTransformationExtraArgs:
        return chain(
            scale_by_muon(
                coefficients,
                ns_steps,
                beta,
                eps,
                mu_dtype,
                nesterov=nesterov,
                adaptive=adaptive,
                preconditioning=preconditioning,
                weight_dimension_numbers=dimensions,
            ),
            scale_by_shape(dimensions, consistent_rms),
            add_decayed_weights(weight_decay, weight_decay_mask),
            scale_by_learning_rate(learning_rate),
        )

    rate = learning_rate if adam_learning_rate is None else adam_learning_rate
    moments = (adam_b1, adam_b2, eps, adam_eps_root, mu_dtype)
    of_others = adamw(rate, *moments, adam_weight_decay, nesterov=nesterov)
    return beside_others("muon", of_matrices, of_others, muon_weight_dimension_numbers)


def beside_others(
    owner: str,
    of_matrices: Callable[[Dimensions], GradientTransformationExtraArgs],
    of_others: GradientTransformationExtraArgs,
    dimensions: Dimensions,
) -> GradientTransformationExtraArgs:
    """One transformation for the leaves with dimension numbers, another for all others.

    Each init and update finds the dimension numbers from the whole tree, and builds the
    transformation of matrices with them: a group of the partition has not all leaves.

    Args:
        owner: the function that messages name.
        of_matrices: builds the transformation of matrices from a tree of dimension numbers.
        of_others: the transformation of all other leaves.
        dimensions: ``muon_weight_dimension_numbers`` of :func:`muon`.
    """
    of_matrices(MuonDimensionNumbers())  # so that it checks its arguments now

    def both(tree: PyTree) -> GradientTransformationExtraArgs:
        specs = specs_of(muon_dimensions if dimensions is None else dimensions, tree)
        label = lambda x, spec: "adam" if spec is None else "muon"
        labels = jax.tree.map(label, tree, specs)
        return partition({"muon": of_matrices(specs), "adam": of_others}, labels)

    def init(params):
        text = ambiguous(owner, describe_muon(params)) if dimensions is None else None
        if text is not None:
            warnings.warn(text, stacklevel=2)
        return both(params).init(params)

    def update(updates, state, params=None, **extra_args):
        if params is not None:  # a wrong shape might select the wrong group
            checks.like(owner, "gradient", updates, params)
        return both(updates).update(updates, state, params, **extra_args)

    return GradientTransformationExtraArgs(init, update)
