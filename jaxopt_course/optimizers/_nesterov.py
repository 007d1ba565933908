"""Nesterov's accelerated gradient, literally: the gradient is taken at the look-ahead point.

With velocity V, momentum d and learning rate a_t,

    g_t = gradient at w - d V,   V <- d V + a_t g_t,   w <- w - V

so the caller evaluates the loss at ``lookahead_params(state, params)`` and updates ``params``.
The look-ahead points themselves move as the parameters of ``sgd(nesterov=True)`` do (at a
constant rate): that reparametrised form needs no second point, and is the usual one.

Reference: Nesterov, "A method for solving the convex programming problem with convergence rate
O(1/k^2)", 1983; Sutskever et al., 2013, https://proceedings.mlr.press/v28/sutskever13.html,
equations 3 and 4.
"""

from typing import NamedTuple

from jaxtyping import Array, Float, ScalarLike

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    Params,
    ScalarOrSchedule,
    checks,
    numerics,
    tree,
)
from jaxopt_course.transforms import apply_updates, chain, scale_by_learning_rate


class NesterovState(NamedTuple):
    """The velocity, and how much of it the look-ahead anticipates.

    momentum: the weight of the velocity, float[].
    trace: the decaying sum of updates, shaped like the params, float32 or wider.
    """

    momentum: Float[Array, ""]
    trace: Params

    def lookahead_params(self, params: Params) -> Params:
        """``params + momentum * trace``; ``transforms.lookahead_params`` finds it by this name."""
        ahead = lambda v, p: apply_updates(p, tree.scale(v, self.momentum))
        return tree.map_unmasked(ahead, self.trace, params)


def trace_lookahead(momentum: ScalarLike) -> GradientTransformationExtraArgs:
    """A decaying sum of updates, v_t = g_t + momentum * v_{t-1}.

    Its gradients are taken at :func:`~jaxopt_course.transforms.lookahead_params`.

    Args:
        momentum: in [0, 1).

    Raises:
        ValueError: if ``momentum`` lies outside [0, 1).
    """
    checks.number("trace_lookahead", "momentum", momentum, "[0, 1)")

    def init(params):
        return NesterovState(numerics.as_float(momentum), tree.accumulator_like(params))

    def update(updates, state, params=None, **extra_args):
        checks.state("trace_lookahead", state, NesterovState)
        checks.like("trace_lookahead", "gradient", updates, state.trace)
        total = tree.running_sum(state.trace, updates, momentum)
        return tree.cast_like(total, updates), NesterovState(state.momentum, total)

    return GradientTransformationExtraArgs(init, update)


def nesterov(
    learning_rate: ScalarOrSchedule, momentum: ScalarLike = 0.9
) -> GradientTransformationExtraArgs:
    """Nesterov's method with the gradient at the look-ahead point.

    Args:
        learning_rate: a_t, in [0, inf), or a schedule of the step count.
        momentum: d, in [0, 1).

    Returns:
        A transformation to be fed gradients at ``lookahead_params(state, params)``.

    Raises:
        ValueError: if a number lies outside its range.

    Examples:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> params, tx = jnp.array([3.0, -2.0]), nesterov(0.1, momentum=0.5)
        >>> state, update = tx.init(params), jax.jit(tx.update)
        >>> for _ in range(100):
        ...     grads = 2 * lookahead_params(state, params)  # gradient of |params|^2
        ...     updates, state = update(grads, state)
        ...     params = params + updates
        >>> bool(jnp.linalg.norm(params) < 1e-6)
        True
    """
    checks.number("nesterov", "momentum", momentum, "[0, 1)")
    return chain(scale_by_learning_rate(learning_rate), trace_lookahead(momentum))
