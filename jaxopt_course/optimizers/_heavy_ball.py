"""Momentum with the learning rate inside: Polyak's heavy ball.

With gradients g_t, learning rate a_t and momentum d,

    v_t = d v_{t-1} + a_t g_t,   w <- w - v_t

which is w_{t+1} = w_t - a_t g_t + d (w_t - w_{t-1}). A rate that changes acts on new gradients
only: past ones keep the rate of their time. ``sgd(momentum=)`` rescales the past as well; the
two are one as long as the rate is constant.

Reference: Polyak, "Some methods of speeding up the convergence of iteration methods", 1964.
"""

from jaxtyping import DTypeLike, ScalarLike

from jaxopt_course.core import GradientTransformationExtraArgs, ScalarOrSchedule, checks
from jaxopt_course.transforms import chain, scale_by_learning_rate, trace


def heavy_ball(
    learning_rate: ScalarOrSchedule,
    momentum: ScalarLike = 0.9,
    accumulator_dtype: DTypeLike | None = None,
) -> GradientTransformationExtraArgs:
    """Momentum over steps already scaled by their learning rates.

    Args:
        learning_rate: a_t, in [0, inf), or a schedule of the step count.
        momentum: d, in [0, 1).
        accumulator_dtype: dtype of the velocity; float32 or wider by default.

    Returns:
        A transformation whose updates are to be added to the params.

    Raises:
        ValueError: if a number lies outside its range.

    Examples:
        >>> import jax.numpy as jnp
        >>> tx = heavy_ball(lambda t: jnp.where(t == 0, 0.1, 0.0), momentum=0.5)
        >>> state = tx.init(jnp.array(0.0))
        >>> for _ in range(3):
        ...     update, state = tx.update(jnp.array(1.0), state)
        >>> round(float(update), 4)  # one push, then none: -0.1 * 0.5**2
        -0.025
    """
    checks.number("heavy_ball", "momentum", momentum, "[0, 1)")
    return chain(
        scale_by_learning_rate(learning_rate), trace(momentum, accumulator_dtype=accumulator_dtype)
    )
