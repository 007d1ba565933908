"""Proximal and projected steps, and parameters that stay nonnegative.

With the update u_t of the preceding transformations, the learning rate a_t, a penalty R and a set
C,

    proximal          w <- prox(w + u_t),  prox(x) = argmin over y of |y - x|^2 / 2 + a_t R(y)
    projected         w <- the point of C nearest to w + u_t
    scaled_proximal   the first, with the distance in the metric of a preconditioner

Which problem is solved depends on the preceding transformations. After gradient descent, with or
without momentum, the fixed points of ``proximal`` are the minima of f + R. After a preconditioner
D, whose update is -a D grad f, they are not. After Adam, where D is about 1 / |grad f|, every slope
has size one, so that an L1 strength below 1 has little effect, and one above 1 makes all entries
zero. ``scaled_proximal`` measures the distance as the step does, by sum (y_i - x_i)^2 / (2 a_t
D_i), and its fixed points are again the minima of f + R.

References: Parikh & Boyd, "Proximal Algorithms", 2014, section 4.2,
https://web.stanford.edu/~boyd/papers/prox_algs.html; Yun, Lozano & Yang, "Adaptive Proximal
Gradient Methods for Structured Neural Networks", NeurIPS 2021, for the metric.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Int, PyTree

from jaxopt_course.core import (
    EmptyState,
    GradientTransformationExtraArgs,
    Mask,
    Params,
    ScalarOrSchedule,
    State,
    Updates,
    checks,
    numerics,
    states,
    tree,
)
from jaxopt_course.regularizers import weights_only

from ._masked import masked
from ._stateless import beside_params, stateless


class ProximalState(NamedTuple):
    """State of :func:`proximal`. ``step``: number of updates, int32[], for a scheduled rate."""

    step: Int[Array, ""]


def proximal(
    operator: Callable[..., Array],
    learning_rate: ScalarOrSchedule,
    mask: Mask | None = weights_only,
) -> GradientTransformationExtraArgs:
    """Proximal step on each leaf: u <- prox(w + u) - w. It must be the last transformation.

    Zeros are exact if gradients have at least the precision of the params, which ``update`` needs.

    Args:
        operator: ``operator(x, scaling=a)`` returns argmin over y of |y - x|^2 / 2 + a R(y) for one
            array x: a proximal operator with its strength, such as ``functools.partial(prox_l1,
            strength=0.1)``.
        learning_rate: a_t, the rate of the preceding transformations, in [0, inf), or a schedule
            of the step count (from 0).
        mask: which leaves are penalized, as in :func:`add_l1`. For different strengths, chain
            several.

    Examples:
        >>> from jaxopt_course.regularizers import prox_l1
        >>> tx = optax.chain(optax.sgd(0.5), proximal(prox_l1, 0.5))
        >>> params = jnp.array([2.0, -0.25])
        >>> (params + tx.update(jnp.zeros(2), tx.init(params), params)[0]).tolist()
        [1.5, 0.0]
    """
    checks.function("proximal", "operator", operator)
    checks.learning_rate("proximal", learning_rate)

    def init(params):
        return ProximalState(step=jnp.zeros((), jnp.int32))

    def update(updates, state, params=None, **extra_args):
        checks.state("proximal", state, ProximalState)
        rate = numerics.at_count(learning_rate, state.step)
        of_tree = lambda points: jax.tree.map(lambda x: operator(x, scaling=rate), points)
        updates = _towards("proximal", of_tree, updates, params)
        return updates, ProximalState(step=numerics.safe_increment(state.step))

    step = GradientTransformationExtraArgs(init, update)
    return step if mask is None else masked(step, mask)


def projected(projection: Callable[[Params], Params]) -> GradientTransformationExtraArgs:
    """Projection onto a set: u <- P(w + u) - w. It must be the last transformation.

    Args:
        projection: P, a function of the whole tree of parameters, such as those of
            ``jaxopt_course.projections``, or ``project_l2_constraint`` with its limit. For some
            leaves only, wrap it in ``masked``.

    Examples:
        >>> from jaxopt_course.regularizers import project_l2_constraint
        >>> tx = projected(lambda params: project_l2_constraint(params, limit=25.0))
        >>> params = jnp.array([3.0, 4.0])
        >>> (params + tx.update(params, tx.init(params), params)[0]).round(6).tolist()
        [3.0, 4.0]
    """
    return stateless(lambda updates, params: _towards("projected", projection, updates, params))


class ScaledProximalState(NamedTuple):
    """State of :func:`scaled_proximal`.

    step: number of updates, int32[], for a scheduled rate.
    inner_state: the state of the preconditioner.
    """

    step: Int[Array, ""]
    inner_state: State


def scaled_proximal(
    inner: optax.GradientTransformation,
    metric: Callable[[State], PyTree],
    operator: Callable[..., Array],
    learning_rate: ScalarOrSchedule,
) -> GradientTransformationExtraArgs:
    """Proximal descent in the metric of the preconditioner ``inner``.

    w <- argmin over y of  sum_i (y_i - x_i)^2 / (2 a_t D_i) + R(y),  x = w - a_t D m, where
    ``inner`` makes D m of the gradients, with one positive D_i for each entry. Its fixed points are
    the minima of f + R if m converges to grad f(w). ``update`` needs the parameters.

    Args:
        inner: a preconditioner whose updates are in the gradient direction, such as
            ``scale_by_adam()``.
        metric: D as a function of the new state of ``inner``: a tree shaped like the params.
        operator: ``operator(x, scaling=a D)`` for one array x, with an array of scalings, of an
            entrywise penalty, such as ``functools.partial(prox_l1, strength=0.1)``.
        learning_rate: a_t, in [0, inf), or a schedule of the step count (from 0).

    Examples:
        >>> from jaxopt_course.regularizers import prox_l1
        >>> params, metric = jnp.array([4.0, -0.5]), lambda state: jnp.array([2.0, 2.0])
        >>> tx = scaled_proximal(optax.scale(2.0), metric, prox_l1, 0.5)
        >>> (params + tx.update(jnp.array([1.0, 0.0]), tx.init(params), params)[0]).tolist()
        [2.0, 0.0]
    """
    checks.function("scaled_proximal", "operator", operator)
    checks.learning_rate("scaled_proximal", learning_rate)
    inner = checks.transformation("scaled_proximal", "inner", inner)

    def init(params):
        return ScaledProximalState(jnp.zeros((), jnp.int32), inner.init(params))

    def update(updates, state, params=None, **extra_args):
        checks.state("scaled_proximal", state, ScaledProximalState)
        rate = numerics.at_count(learning_rate, state.step)
        updates, inner_state = inner.update(updates, state.inner_state, params, **extra_args)
        scalings = tree.scale(metric(inner_state), rate)
        of_leaf = lambda x, scaling: operator(x, scaling=scaling)
        of_tree = lambda points: jax.tree.map(of_leaf, points, scalings)
        updates = _towards("scaled_proximal", of_tree, tree.scale(updates, -rate), params)
        moved = updates, numerics.safe_increment(state.step)
        stayed = jax.tree.map(jnp.zeros_like, updates), state.step
        updates, step = states.if_applied(inner_state, state.inner_state, moved, stayed)
        return updates, ScaledProximalState(step, inner_state)

    return GradientTransformationExtraArgs(init, update)


def _towards(
    owner: str, operator: Callable[[Params], Params], updates: Updates, params: Params | None
) -> Updates:
    """``operator(params + updates) - params``, in the dtypes of ``updates``."""
    checks.params(owner, params, updates)
    points = operator(tree.running_sum(params, updates, 1.0))
    checks.like(owner, "result of the operator", points, params)
    return tree.cast_like(tree.sub(points, params), updates)


NonNegativeParamsState = EmptyState


def keep_params_nonnegative() -> GradientTransformationExtraArgs:
    """Shorten updates that would make a parameter negative: u <- max(u, -w).

    It must be the last transformation. A negative parameter becomes zero. ``update`` needs the
    params.

    Examples:
        >>> tx, params = keep_params_nonnegative(), jnp.array([0.5, 2.0])
        >>> tx.update(jnp.array([-1.0, -1.0]), tx.init(params), params)[0].tolist()
        [-0.5, -1.0]
    """

    def kept(u: Array, p: Array) -> Array:
        u, p = jnp.asarray(u), jnp.asarray(p)
        dtype = np.promote_types(u.dtype, p.dtype)
        wide, to_zero = p.astype(dtype), (-p).astype(u.dtype)
        if u.dtype != dtype:  # rounding may have moved -p beyond zero
            nearer = jnp.nextafter(jax.lax.stop_gradient(to_zero), jnp.full_like(u, jnp.inf))
            to_zero = jnp.where(wide + to_zero.astype(dtype) < 0, nearer, to_zero)
        return jnp.where(wide + u.astype(dtype) < 0, to_zero, u)

    return beside_params("keep_params_nonnegative", kept)
