"""The last link of a proximal method: step, then solve for the penalty or the constraint.

With the update u_t of the links before, the learning rate a_t, a penalty R and a set C,

    proximal          w <- prox(w + u_t),  prox(x) = argmin over y of |y - x|^2 / 2 + a_t R(y)
    projected         w <- the point of C nearest to w + u_t
    scaled_proximal   the first, with the distance in the metric of a preconditioner

Which problem is solved depends on what stands before. Behind gradient descent, with or without
momentum, ``proximal`` stops only where -grad f lies in the slopes of R: at the minimum of f + R.
Behind a preconditioner D, whose update is -a D grad f, it stops where -D grad f does: at another
point. Behind Adam, where D is about 1 / |grad f|, every slope has size one: an L1 strength below
1 hardly acts, and one above 1 makes all entries zero. ``scaled_proximal`` measures the distance
as the step does, by sum (y_i - x_i)^2 / (2 a_t D_i), and stops at the minimum of f + R again.

References: Parikh & Boyd, "Proximal Algorithms", 2014, section 4.2,
https://web.stanford.edu/~boyd/papers/prox_algs.html; Yun, Lozano & Yang, "Adaptive Proximal
Gradient Methods for Structured Neural Networks", NeurIPS 2021, for the metric.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, PyTree

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    Params,
    ScalarOrSchedule,
    State,
    Updates,
    checks,
    if_applied,
    numerics,
    tree,
)
from jaxopt_course.regularizers import weights_only

from ._masked import masked
from ._stateless import stateless


class ProximalState(NamedTuple):
    """``step``: how many updates have been made, int32[]; a scheduled rate reads it."""

    step: Int[Array, ""]


def proximal(
    operator: Callable[..., Array],
    learning_rate: ScalarOrSchedule,
    mask: PyTree | Callable[[Params], PyTree] | None = weights_only,
) -> GradientTransformationExtraArgs:
    """Proximal step on each leaf: u <- prox(w + u) - w. It must be the last link.

    Args:
        operator: ``operator(x, scaling=a)`` solves argmin over y of |y - x|^2 / 2 + a R(y) for
            one array x: a proximal operator with its strength, such as
            ``functools.partial(prox_l1, strength=0.1)``.
        learning_rate: a_t, in [0, inf), or a schedule of the step count (from 0): the rate of
            the links before.
        mask: which leaves are penalized: a tree of bools shaped like (a prefix of) the params,
            or a function of the params that returns one; None for all. By default biases and
            the parameters of normalizations are left out. For a strength per layer, chain one
            link for each.

    Returns:
        The last link. Zeros are exact where gradients have at least the params' precision.

    Raises:
        ValueError: if the rate is negative or NaN; from ``update``, without ``params``.

    Examples:
        >>> import functools
        >>> import jax.numpy as jnp
        >>> from jaxopt_course.regularizers import prox_l1
        >>> lasso = functools.partial(prox_l1, strength=1.0)
        >>> tx = optax.chain(optax.sgd(0.5), proximal(lasso, 0.5))
        >>> params = jnp.array([2.0, -0.25])
        >>> updates, _ = tx.update(jnp.zeros(2), tx.init(params), params)
        >>> (params + updates).tolist()
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

    link = GradientTransformationExtraArgs(init, update)
    return link if mask is None else masked(link, mask)


def projected(projection: Callable[[Params], Params]) -> GradientTransformationExtraArgs:
    """Stay within a set: u <- P(w + u) - w. It must be the last link.

    Args:
        projection: P, a function of the whole tree of parameters, such as those of
            ``jaxopt_course.projections``, or ``project_l2_constraint`` with its limit. For some
            leaves only, see ``masked``.

    Raises:
        ValueError: from ``update``, without ``params``.

    Examples:
        >>> import jax.numpy as jnp
        >>> from jaxopt_course.regularizers import project_l2_constraint
        >>> tx = projected(lambda params: project_l2_constraint(params, limit=25.0))
        >>> params = jnp.array([3.0, 4.0])
        >>> updates, _ = tx.update(jnp.array([3.0, 4.0]), tx.init(params), params)
        >>> (params + updates).round(6).tolist()
        [3.0, 4.0]
    """
    return stateless(lambda updates, params: _towards("projected", projection, updates, params))


class ScaledProximalState(NamedTuple):
    """The preconditioner's state, and the age.

    step: how many updates have been made, int32[]; a scheduled rate reads it.
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
    ``inner`` makes D m of the gradients, with one positive D_i for each entry. Once m settles at
    grad f(w) this stops only at the minimum of f + R.

    Args:
        inner: a preconditioner whose updates point uphill, such as ``scale_by_adam()``.
        metric: D as a function of ``inner``'s new state: a tree shaped like the params.
        operator: ``operator(x, scaling=a D)`` for one array x, with an array of scalings: one
            of an entry-wise penalty, such as ``functools.partial(prox_l1, strength=0.1)``.
        learning_rate: a_t, in [0, inf), or a schedule of the step count (from 0).

    Returns:
        A transformation whose updates are to be added to the params; ``update`` needs them.

    Raises:
        ValueError: if the rate is negative or NaN; from ``update``, without ``params``.

    Examples:
        >>> import functools
        >>> import jax.numpy as jnp
        >>> from jaxopt_course.regularizers import prox_l1
        >>> twice = lambda state: jnp.array([2.0, 2.0])
        >>> lasso = functools.partial(prox_l1, strength=1.0)
        >>> tx = scaled_proximal(optax.scale(2.0), twice, lasso, 0.5)
        >>> params = jnp.array([4.0, -0.5])
        >>> updates, _ = tx.update(jnp.array([1.0, 0.0]), tx.init(params), params)
        >>> (params + updates).tolist()
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
        of_tree = lambda points: jax.tree.map(
            lambda x, scaling: operator(x, scaling=scaling), points, scalings
        )
        updates = _towards("scaled_proximal", of_tree, tree.scale(updates, -rate), params)
        zeros = jax.tree.map(jnp.zeros_like, updates)
        updates, step = if_applied(
            inner_state,
            state.inner_state,
            (updates, numerics.safe_increment(state.step)),
            (zeros, state.step),
        )
        return updates, ScaledProximalState(step, inner_state)

    return GradientTransformationExtraArgs(init, update)


def _towards(
    owner: str, operator: Callable[[Params], Params], updates: Updates, params: Params | None
) -> Updates:
    """``operator(params + updates) - params``, in the dtypes of ``updates``."""
    checks.params(owner, params)
    checks.like(owner, "gradient", updates, params)
    points = operator(tree.running_sum(params, updates, 1.0))
    checks.like(owner, "result of the operator", points, params)
    return tree.cast_like(tree.sub(points, params), updates)
