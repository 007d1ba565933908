"""Proximal gradient methods: ISTA, FISTA and proximal Adam, for a smooth loss f plus a penalty R.

ISTA, with learning rate a_t:

    w <- prox(w - a_t grad f(w)),   prox(x) = argmin over y of |y - x|^2 / 2 + a_t R(y)

For the L1 penalty s sum |w|, prox is the soft threshold a_t s. f + R decreases in every step if
a_t <= 1 / L, with L the largest curvature of f, and approaches its minimum like 1/t. FISTA takes
the gradient at a look-ahead point, and approaches the minimum like 1/t^2:

    y_t = w_t + c_t (w_t - w_{t-1}),           w_{t+1} = prox(y_t - a_t grad f(y_t))
    k_{t+1} = (1 + sqrt(1 + 4 k_t^2)) / 2,     c_{t+1} = (k_t - 1) / k_{t+1},   k_1 = 1, c_1 = 0

If f has positive curvature in every direction, the growing c_t overshoots near the minimum, and
ISTA may be as fast. Proximal Adam, with D = 1 / (sqrt(v_hat + eps_root) + eps) for each entry:

    w <- argmin over y of  sum_i (y_i - x_i)^2 / (2 a_t D_i) + R(y),   x = w - a_t D m_hat

For the L1 penalty the threshold of entry i is a_t s D_i, so the only fixed points are minima of
f + R. ``chain(adam(a), proximal(operator, a))`` has one threshold for all entries, and therefore
other fixed points.

References: Daubechies, Defrise & De Mol, "An iterative thresholding algorithm for linear inverse
problems with a sparsity constraint", 2004, https://arxiv.org/abs/math/0307152; Beck & Teboulle, "A
Fast Iterative Shrinkage-Thresholding Algorithm for Linear Inverse Problems", 2009, section 4, FISTA
with constant stepsize, https://doi.org/10.1137/080716542; Yun, Lozano & Yang, "Adaptive Proximal
Gradient Methods for Structured Neural Networks", NeurIPS 2021.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree, ScalarLike

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    Mask,
    ScalarOrSchedule,
    State,
    checks,
    if_applied,
    numerics,
    tree,
)
from jaxopt_course.regularizers import weights_only
from jaxopt_course.transforms import (
    apply_updates,
    chain,
    lookahead_params,
    partition,
    proximal,
    scaled_proximal,
)

from ._adam import ScaleByAdamState, adam, scale_by_adam
from ._momentum import NesterovState, sgd


def ista(
    operator: Callable[..., Array],
    learning_rate: ScalarOrSchedule,
    mask: Mask | None = weights_only,
) -> GradientTransformationExtraArgs:
    """ISTA, gradient descent followed by a proximal operator.

    Args:
        operator: proximal operator of one array, called as ``operator(x, scaling=a)``, such as
            ``functools.partial(prox_l1, strength=0.1)``.
        learning_rate: the learning rate, in [0, inf), or a schedule of the step count.
        mask: leaves that are penalized: a tree of bools shaped like (a prefix of) the params, or a
            function of the params that returns one; None for all. By default biases and the
            parameters of normalizations are not.

    Examples:
        >>> import functools
        >>> from jaxopt_course.regularizers import prox_l1
        >>> tx = ista(functools.partial(prox_l1, strength=0.1), 0.01)
    """
    return chain(sgd(learning_rate), proximal(operator, learning_rate, mask))


class AcceleratedState(NamedTuple):
    """State of an accelerated descent method.

    age: k_t, float[].
    velocity: c_t and the last step w_t - w_{t-1}.
    inner_state: state of the descent method.
    """

    age: Float[Array, ""]
    velocity: NesterovState
    inner_state: State


def accelerated(inner: optax.GradientTransformation) -> GradientTransformationExtraArgs:
    """Accelerate a descent method by taking its gradients at look-ahead points, as FISTA does.

    Evaluate the gradient at ``lookahead_params(state, params)`` and add the updates to ``params``.
    No transformation outside may change the updates.

    Args:
        inner: a method without momentum: gradient descent, or :func:`ista`.

    Examples:
        >>> tx = accelerated(sgd(0.1))
    """
    inner = checks.transformation("accelerated", "inner", inner)

    def init(params):
        velocity = NesterovState(numerics.as_float(0.0), tree.accumulator_like(params))
        return AcceleratedState(numerics.as_float(1.0), velocity, inner.init(params))

    def update(updates, state, params=None, **extra_args):
        checks.state("accelerated", state, AcceleratedState)
        checks.params("accelerated", params, updates)
        ahead = lookahead_params(state.velocity, params)
        steps, inner_state = inner.update(updates, state.inner_state, ahead, **extra_args)
        # The difference of two points, so that an entry that becomes 0 is exactly 0.
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
    mask: Mask | None = weights_only,
) -> GradientTransformationExtraArgs:
    """FISTA, accelerated proximal gradient descent.

    Evaluate the gradient at ``lookahead_params(state, params)`` and add the updates to ``params``.

    Args:
        operator: as for :func:`ista`.
        learning_rate: the learning rate, in [0, inf), or a schedule of the step count; up to 1/L.
        mask: as for :func:`ista`.

    Examples:
        >>> tx, params = fista(lambda x, scaling: x / (1 + scaling), 0.01), jnp.ones(3)
        >>> grads = jax.grad(jnp.sum)(lookahead_params(tx.init(params), params))
    """
    return accelerated(ista(operator, learning_rate, mask))


def proximal_adam(
    operator: Callable[..., Array],
    learning_rate: ScalarOrSchedule,
    b1: ScalarLike = 0.9,
    b2: ScalarLike = 0.999,
    eps: ScalarLike = 1e-8,
    eps_root: ScalarLike = 0.0,
    mask: Mask | None = weights_only,
) -> GradientTransformationExtraArgs:
    """Adam for a smooth loss plus a penalty that is a sum over entries.

    Args:
        operator: proximal operator of one array, called as ``operator(x, scaling=a D)`` with an
            array of scalings.
        learning_rate: the learning rate, in [0, inf), or a schedule of the step count; often 1e-3.
        b1: decay rate of the first moment, in [0, 1).
        b2: decay rate of the second moment, in [0, 1).
        eps: added to the square root in the denominator, in [0, inf).
        eps_root: added to the second moment inside the square root, in [0, inf).
        mask: as for :func:`ista`; plain Adam trains the other leaves.

    Examples:
        >>> import functools
        >>> from jaxopt_course.regularizers import prox_l1
        >>> tx = proximal_adam(functools.partial(prox_l1, strength=0.1), 1e-3)
    """

    def metric(state: ScaleByAdamState) -> PyTree:
        ones = jax.tree.map(jnp.ones_like, state.nu)
        nu_hat = tree.bias_correction(state.nu, b2, state.count)
        return tree.divide_by_root(ones, nu_hat, eps, eps_root)

    scaled = scale_by_adam(b1, b2, eps, eps_root)
    penalized = scaled_proximal(scaled, metric, operator, learning_rate)
    if mask is None:
        return penalized
    free = adam(learning_rate, b1, b2, eps, eps_root)
    return partition({True: penalized, False: free}, mask)
