"""FISTA: proximal gradient descent from a point that looks ahead.

With d_t the last step, w_t - w_{t-1},

    y_t = w_t + c_t d_t                        where the gradient is taken
    w_{t+1} = prox(y_t - a_t grad f(y_t))
    k_{t+1} = (1 + sqrt(1 + 4 k_t^2)) / 2,     c_{t+1} = (k_t - 1) / k_{t+1},   k_1 = 1, c_1 = 0

so the caller evaluates the loss at ``lookahead_params(state, params)``, as for ``nesterov``, and
updates ``params``. f + R nears its minimum like 1/t^2, where that of ISTA does like 1/t. Near a
minimum with curvature in every direction the growing c_t overshoots, and ISTA may be as fast.

Reference: Beck & Teboulle, "A Fast Iterative Shrinkage-Thresholding Algorithm for Linear Inverse
Problems", 2009, https://doi.org/10.1137/080716542, section 4, FISTA with constant stepsize.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    Params,
    ScalarOrSchedule,
    State,
    checks,
    if_applied,
    numerics,
    tree,
)
from jaxopt_course.regularizers import weights_only
from jaxopt_course.transforms import apply_updates, lookahead_params

from ._ista import ista
from ._nesterov import NesterovState


class AcceleratedState(NamedTuple):
    """What the next step needs from the past.

    age: k_t, float[].
    velocity: c_t and d_t, which ``lookahead_params`` reads.
    inner_state: the state of the descent method.
    """

    age: Float[Array, ""]
    velocity: NesterovState
    inner_state: State


def accelerated(inner: optax.GradientTransformation) -> GradientTransformationExtraArgs:
    """Run the descent method ``inner`` from points that look ahead, as FISTA does.

    Args:
        inner: a method without momentum: gradient descent, or ``ista``.

    Returns:
        A transformation to be fed gradients at ``lookahead_params(state, params)``; ``update``
        needs the params themselves. It must be the outermost of what changes the updates.

    Raises:
        ValueError: from ``update``, without ``params``.
    """
    inner = checks.transformation("accelerated", "inner", inner)

    def init(params):
        velocity = NesterovState(numerics.as_float(0.0), tree.accumulator_like(params))
        return AcceleratedState(numerics.as_float(1.0), velocity, inner.init(params))

    def update(updates, state, params=None, **extra_args):
        checks.state("accelerated", state, AcceleratedState)
        checks.params("accelerated", params)
        checks.like("accelerated", "gradient", updates, params)
        ahead = lookahead_params(state.velocity, params)
        steps, inner_state = inner.update(updates, state.inner_state, ahead, **extra_args)
        # Through the new point, not step by step: so an entry that became 0 is exactly 0.
        moves = tree.sub(apply_updates(ahead, steps), params)
        age = (1 + jnp.sqrt(1 + 4 * jnp.square(state.age))) / 2
        velocity = NesterovState((state.age - 1) / age, tree.cast_like(moves, state.velocity.trace))
        new = tree.cast_like(moves, updates), age, velocity
        stays = jax.tree.map(jnp.zeros_like, updates), state.age, state.velocity
        moves, age, velocity = if_applied(inner_state, state.inner_state, new, stays)
        return moves, AcceleratedState(age, velocity, inner_state)

    return GradientTransformationExtraArgs(init, update)


def fista(
    operator: Callable[..., Array],
    learning_rate: ScalarOrSchedule,
    mask: PyTree | Callable[[Params], PyTree] | None = weights_only,
) -> GradientTransformationExtraArgs:
    """Accelerated proximal gradient descent: :func:`ista`, :func:`accelerated`.

    Args:
        operator: ``operator(x, scaling=a)`` of one array, as for ``proximal``: such as
            ``functools.partial(prox_l1, strength=0.1)``.
        learning_rate: a_t, in [0, inf), or a schedule of the step count; at most 1 / L.
        mask: which leaves are penalized: a tree of bools shaped like (a prefix of) the params,
            or a function of the params that returns one; None for all. By default biases and
            the parameters of normalizations are left out.

    Returns:
        A transformation to be fed gradients at ``lookahead_params(state, params)``.

    Raises:
        ValueError: if the rate is negative or NaN.

    Examples:
        >>> import functools, jax
        >>> import jax.numpy as jnp
        >>> from jaxopt_course.regularizers import prox_l1
        >>> params, tx = jnp.array([3.0, 2.0]), fista(functools.partial(prox_l1, strength=1.0), 0.1)
        >>> state, update = tx.init(params), jax.jit(tx.update)
        >>> for _ in range(200):
        ...     grads = lookahead_params(state, params) - jnp.array([2.0, 0.5])
        ...     updates, state = update(grads, state, params)
        ...     params = params + updates
        >>> params.round(4).tolist()
        [1.0, 0.0]
    """
    return accelerated(ista(operator, learning_rate, mask))
