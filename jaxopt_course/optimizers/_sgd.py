"""Gradient descent: step against the gradient, with or without momentum.

With gradients g_t, learning rate a_t and momentum d,

    plain      w <- w - a_t g_t
    momentum   v_t = g_t + d v_{t-1},   w <- w - a_t v_t          (the rate outside the sum)
    Nesterov   v_t = g_t + d v_{t-1},   w <- w - a_t (g_t + d v_t)

Batch, mini-batch and stochastic gradient descent differ only in what g_t averages over, which
is the data pipeline's batch size. For the rate inside the sum see ``heavy_ball``, for momentum
as a running mean ``ema_sgd``, for the gradient at the look-ahead point ``nesterov``.

References: Robbins & Monro, "A Stochastic Approximation Method", 1951; Sutskever et al., "On the
importance of initialization and momentum in deep learning", 2013,
https://proceedings.mlr.press/v28/sutskever13.html.
"""

from jaxtyping import DTypeLike, ScalarLike

from jaxopt_course.core import GradientTransformationExtraArgs, ScalarOrSchedule, checks
from jaxopt_course.transforms import chain, identity, scale_by_learning_rate, trace


def sgd(
    learning_rate: ScalarOrSchedule,
    momentum: ScalarLike | None = None,
    nesterov: bool = False,
    accumulator_dtype: DTypeLike | None = None,
) -> GradientTransformationExtraArgs:
    """Gradient descent, with the learning rate outside the momentum, as in optax and torch.

    Args:
        learning_rate: a_t, in [0, inf), or a schedule of the step count.
        momentum: d, in [0, 1). None for plain gradient descent, which keeps no velocity.
        nesterov: look one step ahead; needs a momentum.
        accumulator_dtype: dtype of the velocity; float32 or wider by default.

    Returns:
        A transformation whose updates are to be added to the params.

    Raises:
        ValueError: if a number lies outside its range, or ``nesterov`` lacks a momentum.

    Examples:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> params, tx = jnp.array([3.0, -2.0]), sgd(0.1, momentum=0.5)
        >>> state, update = tx.init(params), jax.jit(tx.update)
        >>> for _ in range(100):
        ...     updates, state = update(2 * params, state)  # gradient of |params|^2
        ...     params = params + updates
        >>> bool(jnp.linalg.norm(params) < 1e-6)
        True
    """
    checks.flag("sgd", "nesterov", nesterov)
    if momentum is None:
        if nesterov:
            raise ValueError("sgd: `nesterov` needs a `momentum` in [0, 1), got None.")
        return chain(identity(), scale_by_learning_rate(learning_rate))
    checks.number("sgd", "momentum", momentum, "[0, 1)")
    return chain(
        trace(momentum, nesterov, accumulator_dtype), scale_by_learning_rate(learning_rate)
    )
