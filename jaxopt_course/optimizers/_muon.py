"""Muon: momentum whose matrices are replaced by the nearest orthogonal ones, roughly.

For a matrix W with gradients G_t and learning rate a_t, and U S V' the singular value
decomposition of X,

    M_t = b M_{t-1} + (1 - b) G_t                    running mean, its bias undone
    X   = b M_hat + (1 - b) G_hat                    one step ahead (Nesterov)
    O   = NewtonSchulz(X), about U V'                all singular values near 1
    W  <- W - a_t (sqrt(max(1, out / in)) O + d W)

Newton and Schulz are in :func:`orthogonalized`. Leaves that are no matrices are left to AdamW.

References: Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024,
its algorithm and ``newtonschulz5``, https://kellerjordan.github.io/posts/muon; Liu et al., "Muon
is Scalable for LLM Training", 2025, https://arxiv.org/abs/2502.16982, for the scale by shape.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Int, PyTree, ScalarLike

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
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
from ._dimension_numbers import Dimensions, MuonDimensionNumbers, fans, folded, specs_of, unfolded
from ._newton_schulz import (
    PRECONDITIONINGS,
    PRESETS,
    STANDARD,
    Coefficients,
    check_coefficients,
    orthogonalized,
    rows_of,
)
from ._stacks import map_stacked


class MuonState(NamedTuple):
    """What the next step needs from the past.

    count: how many updates have been made, int32[].
    mu: running mean of gradients, shaped like the params, float32 or wider.
    ns_coeffs: the coefficients of Newton and Schulz, three float[], or three a step.
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
    """Replace the running mean of each matrix by an orthogonal one.

    Matrices of equal shape, transposed or not, are worked on as one batch. On GPUs and TPUs they
    are multiplied in bfloat16, see :func:`orthogonalized`.

    Args:
        ns_coeffs: coefficients of the quintic: three numbers, or three for each step.
        ns_steps: steps of Newton and Schulz, a static int in [1, inf). With coefficients for
            each step there are as many as these, at most ``ns_steps``.
        beta: decay of the running mean, in [0, 1).
        eps: keeps the norm from 0, in [0, inf).
        mu_dtype: dtype in which the running mean is kept; float32 or wider by default.
        nesterov: the mean one step ahead.
        adaptive: multiply by the inner product of the mean and its orthogonal matrix.
        preconditioning: ``"frobenius"``, ``"spectral"``, ``"aol"`` or ``"schatten"``, see
            :func:`orthogonalized`.
        weight_dimension_numbers: :class:`MuonDimensionNumbers` for all leaves, or a tree of
            them shaped like (a prefix of) the params, or a function of the params that
            returns one. By default all leaves are matrices.

    Returns:
        A transformation whose updates point uphill, with singular values near 1.

    Raises:
        ValueError: if a number lies outside its range, or a leaf is no matrix.
    """
    checks.flag("scale_by_muon", "adaptive", adaptive)
    checks.flag("scale_by_muon", "nesterov", nesterov)
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
        checks.state("scale_by_muon", state, MuonState)
        checks.like("scale_by_muon", "gradient", updates, state.mu)
        count = numerics.safe_increment(state.count)
        mu = tree.update_moment(updates, state.mu, beta, 1)
        mean = mean_of_step(mu, updates, beta, count, nesterov)
        steps = tree.cast_like(
            on_auto_axes(directions, mean, state.ns_coeffs, eps, like=mean), updates
        )
        return steps, MuonState(count, tree.cast_like(mu, state.mu), state.ns_coeffs)

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
    """Multiply each matrix by a number that its shape gives, so that one rate suits all.

    The factor is sqrt(max(1, out / in)), under which the size of a layer's change does not
    depend on its width; or ``consistent_rms * sqrt(max(in, out))``, under which orthogonal
    updates have that root mean square.

    Args:
        weight_dimension_numbers: as in :func:`scale_by_muon`.
        consistent_rms: the root mean square, in [0, inf); 0.2 is about that of Adam.

    Raises:
        ValueError: if ``consistent_rms`` is negative or NaN.
    """
    if consistent_rms is not None:
        checks.number("scale_by_shape", "consistent_rms", consistent_rms, "[0, inf)")

    def scaled(x: Array, spec: MuonDimensionNumbers) -> Array:
        fan_in, fan_out = fans(x.shape, spec)
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
    weight_decay_mask: PyTree | Callable[[Params], PyTree] | None = None,
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
    """Muon for matrices, AdamW for all other leaves.

    Args:
        learning_rate: a_t, in [0, inf), or a schedule of the step count. 0.02 is usual.
        ns_coeffs: as in :func:`scale_by_muon`, or a preset: ``"standard"`` or ``"dion"``.
        ns_steps: as in :func:`scale_by_muon`.
        beta: decay of the running mean of matrices, in [0, 1).
        eps: keeps the norm from 0, and is Adam's eps, in [0, inf).
        weight_decay: d, in [0, inf), or a schedule; multiplied by the learning rate.
        weight_decay_mask: which matrices decay, as in :func:`adamw`.
        mu_dtype: dtype in which running means are kept; float32 or wider by default.
        nesterov: the mean one step ahead, for both.
        adaptive: as in :func:`scale_by_muon`.
        preconditioning: as in :func:`scale_by_muon`.
        adam_b1: Adam's decay of the running mean, in [0, 1).
        adam_b2: Adam's decay of the running mean of squares, in [0, 1).
        adam_eps_root: added to the squares inside Adam's root, in [0, inf).
        adam_weight_decay: weight decay of the other leaves, in [0, inf), or a schedule.
        adam_learning_rate: Adam's learning rate; by default ``learning_rate``.
        muon_weight_dimension_numbers: as in :func:`scale_by_muon`, with None for leaves that
            are Adam's. By default Muon takes all leaves of two axes.
        consistent_rms: as in :func:`scale_by_shape`.

    Returns:
        A transformation whose updates are to be added to the params; ``update`` needs them.

    Raises:
        ValueError: if a number lies outside its range.

    Examples:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from jaxopt_course.schedules import linear_schedule
        >>> params = {"kernel": jnp.array([[3.0, 1.0], [1.0, -2.0]]), "bias": jnp.ones(2)}
        >>> tx = muon(linear_schedule(0.2, 0.0, 200))
        >>> state, update = tx.init(params), jax.jit(tx.update)
        >>> for _ in range(200):
        ...     updates, state = update(params, state, params)  # gradient of |params|^2 / 2
        ...     params = jax.tree.map(jnp.add, params, updates)
        >>> all(bool(jnp.linalg.norm(p) < 1e-2) for p in params.values())
        True
    """
    checks.flag("muon", "adaptive", adaptive)
    checks.flag("muon", "nesterov", nesterov)
    checks.dtype("muon", "mu_dtype", mu_dtype)
    coefficients: Any = ns_coeffs
    if isinstance(ns_coeffs, str):
        checks.choice("muon", "ns_coeffs", ns_coeffs, PRESETS)
        coefficients = PRESETS[ns_coeffs]
    dimensions = muon_weight_dimension_numbers

    def labels(params: Params) -> PyTree:
        if dimensions is None:
            return jax.tree.map(lambda x: "muon" if jnp.ndim(x) == 2 else "adam", params)
        name = lambda x, spec: "adam" if spec is None else "muon"
        return jax.tree.map(name, params, specs_of(dimensions, params))

    of_matrices = chain(
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
    both = partition({"muon": of_matrices, "adam": of_others}, labels)

    def update(updates, state, params=None, **extra_args):
        if params is not None:  # here, for a wrong shape might go to the wrong group
            checks.like("muon", "gradient", updates, params)
        return both.update(updates, state, params, **extra_args)

    return GradientTransformationExtraArgs(both.init, update)
