"""LARS: gradient descent with momentum, in which each leaf moves relative to its own norm.

With gradients g_t of a leaf w, weight decay d, trust coefficient c, momentum b and learning
rate a_t,

    u_t = g_t + d w
    v_t = b v_{t-1} - a_t c |w| / (|u_t| + eps) u_t         momentum after the rate
    w <- w + v_t

and without the ratio where one of the norms is 0.

Reference: You, Gitman & Ginsburg, "Large Batch Training of Convolutional Networks", 2017,
https://arxiv.org/abs/1708.03888, algorithm 1, which has |g_t| + d |w| below the fraction.
"""

from collections.abc import Callable

from jaxtyping import PyTree, ScalarLike

from jaxopt_course.core import GradientTransformationExtraArgs, Params, ScalarOrSchedule, checks
from jaxopt_course.transforms import (
    add_decayed_weights,
    chain,
    masked,
    scale_by_learning_rate,
    scale_by_trust_ratio,
    trace,
)


def lars(
    learning_rate: ScalarOrSchedule,
    weight_decay: ScalarOrSchedule = 0.0,
    weight_decay_mask: PyTree | Callable[[Params], PyTree] = True,
    trust_coefficient: ScalarLike = 0.001,
    eps: ScalarLike = 0.0,
    trust_ratio_mask: PyTree | Callable[[Params], PyTree] = True,
    momentum: ScalarLike = 0.9,
    nesterov: bool = False,
) -> GradientTransformationExtraArgs:
    """LARS: momentum in units of each leaf's norm, for large batches.

    Args:
        learning_rate: a_t, in [0, inf), or a schedule of the step count.
        weight_decay: d, in [0, inf), or a schedule.
        weight_decay_mask: a tree of bools shaped like (a prefix of) the params, or a function
            of the params that returns one: which leaves decay. All by default.
        trust_coefficient: c, in [0, inf).
        eps: added to the norm of the update, in [0, inf).
        trust_ratio_mask: likewise, which leaves are scaled by the ratio. All by default;
            biases and normalization are usually left out of both.
        momentum: b, in [0, 1).
        nesterov: look one step ahead.

    Returns:
        A transformation whose updates are to be added to the params; ``update`` needs them.

    Raises:
        ValueError: if a number lies outside its range.

    Examples:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> params, tx = jnp.array([3.0, -2.0]), lars(0.1, trust_coefficient=0.2)
        >>> state, update = tx.init(params), jax.jit(tx.update)
        >>> for _ in range(200):
        ...     updates, state = update(2 * params, state, params)  # gradient of |params|^2
        ...     params = params + updates
        >>> bool(jnp.linalg.norm(params) < 1e-3)
        True
    """
    checks.number("lars", "momentum", momentum, "[0, 1)")
    return chain(
        add_decayed_weights(weight_decay, weight_decay_mask),
        masked(
            scale_by_trust_ratio(trust_coefficient=trust_coefficient, eps=eps), trust_ratio_mask
        ),
        scale_by_learning_rate(learning_rate),
        trace(momentum, nesterov),
    )
