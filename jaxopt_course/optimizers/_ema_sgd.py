"""Momentum as a running mean of gradients.

With gradients g_t, learning rate a_t and momentum d,

    v_t = d v_{t-1} + (1 - d) g_t,   w <- w - a_t v_t,   v_0 = 0

so that v_t = (1 - d) (g_t + d g_{t-1} + d^2 g_{t-2} + ...): for d = 0.9 the weights are 0.1,
0.09, 0.081, ... At a constant rate it equals ``sgd(momentum=)`` with the rate a (1 - d).
With the rate inside the mean it is ``chain(scale_by_learning_rate(rate), ema(d, debias=False))``.
torch's ``dampening`` is another method: its first velocity is the whole first gradient.

Reference: Sutton, "Two problems with backpropagation and other steepest-descent learning
procedures for networks", 1986.
"""

from jaxtyping import DTypeLike, ScalarLike

from jaxopt_course.core import GradientTransformationExtraArgs, ScalarOrSchedule, checks
from jaxopt_course.transforms import chain, ema, scale_by_learning_rate


def ema_sgd(
    learning_rate: ScalarOrSchedule,
    momentum: ScalarLike = 0.9,
    accumulator_dtype: DTypeLike | None = None,
) -> GradientTransformationExtraArgs:
    """Gradient descent along a running mean of the gradients.

    Args:
        learning_rate: a_t, in [0, inf), or a schedule of the step count.
        momentum: d, the weight of the past, in [0, 1).
        accumulator_dtype: dtype of the mean; float32 or wider by default.

    Returns:
        A transformation whose updates are to be added to the params.

    Raises:
        ValueError: if a number lies outside its range.

    Examples:
        >>> import jax.numpy as jnp
        >>> tx = ema_sgd(1.0, momentum=0.9)
        >>> update, _ = tx.update(jnp.array(1.0), tx.init(jnp.array(0.0)))
        >>> round(float(update), 6)
        -0.1
    """
    checks.number("ema_sgd", "momentum", momentum, "[0, 1)")
    return chain(
        ema(momentum, debias=False, accumulator_dtype=accumulator_dtype),
        scale_by_learning_rate(learning_rate),
    )
