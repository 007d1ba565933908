"""SGDW: momentum beside a weight decay that does not enter it.

With gradients g_t, learning rate a_t, momentum b and decay d,

    v_t = b v_{t-1} + a_t g_t
    w <- w - v_t - a_t d w

In ``sgd`` behind ``add_decayed_weights`` the decay is part of g_t, and of the momentum.

Reference: Loshchilov & Hutter, "Decoupled Weight Decay Regularization", 2019, algorithm 1,
https://arxiv.org/abs/1711.05101. It multiplies the decay by the schedule alone, and the rate
alpha by both: its lambda is d alpha.
"""

from collections.abc import Callable

from jaxtyping import Array, Float, PyTree, ScalarLike

from jaxopt_course.core import (
    GradientTransformationExtraArgs,
    Params,
    ScalarOrSchedule,
    checks,
    numerics,
)
from jaxopt_course.transforms import (
    add_decayed_weights,
    chain,
    scale,
    scale_by_learning_rate,
    trace,
)


def sgdw(
    learning_rate: ScalarOrSchedule,
    momentum: ScalarLike = 0.9,
    weight_decay: ScalarOrSchedule = 1e-4,
    mask: PyTree | Callable[[Params], PyTree] | None = None,
) -> GradientTransformationExtraArgs:
    """Gradient descent with momentum and decoupled weight decay.

    Args:
        learning_rate: a_t, in [0, inf), or a schedule of the step count.
        momentum: b, in [0, 1).
        weight_decay: d, in [0, inf), or a schedule; multiplied by the learning rate.
        mask: a tree of bools shaped like (a prefix of) the params, or a function of the
            params that returns one: which leaves decay. All by default.

    Returns:
        A transformation whose updates are to be added to the params; ``update`` needs them.

    Raises:
        ValueError: if a number lies outside its range.

    Examples:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> params, tx = jnp.array([3.0, -2.0]), sgdw(0.1, momentum=0.5, weight_decay=0.1)
        >>> state, update = tx.init(params), jax.jit(tx.update)
        >>> for _ in range(100):
        ...     updates, state = update(2 * params, state, params)  # gradient of |params|^2
        ...     params = params + updates
        >>> bool(jnp.linalg.norm(params) < 1e-6)
        True
    """
    checks.number("sgdw", "momentum", momentum, "[0, 1)")
    checks.learning_rate("sgdw", learning_rate)
    checks.learning_rate("sgdw", weight_decay, "weight_decay")
    return chain(
        scale_by_learning_rate(learning_rate, flip_sign=False),
        trace(momentum),
        add_decayed_weights(numerics.of_rates(_product, learning_rate, weight_decay), mask),
        scale(-1.0),
    )


def _product(a: ScalarLike, b: ScalarLike) -> Float[Array, ""]:
    return numerics.as_float(a) * numerics.as_float(b)
