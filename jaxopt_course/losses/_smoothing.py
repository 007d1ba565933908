"""Label smoothing: targets that leave a little probability to every class.

With k classes the smoothed label is (1 - alpha) y + alpha / k.

Reference: Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", 2016,
section 7, https://arxiv.org/abs/1512.00567.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, ScalarLike

from jaxopt_course.core import checks, numerics

from ._inputs import check_reduction, wide


def smooth_labels(
    labels: Float[Array, "*shape"],
    alpha: ScalarLike,
    *,
    axis: int | tuple[int, ...] | None = -1,
    where: Bool[Array, "..."] | None = None,
) -> Float[Array, "*shape"]:
    """Mix each label row with the uniform distribution over its classes.

    Args:
        labels: one-hot rows, or probabilities, floating-point.
        alpha: the share of the uniform distribution, in [0, 1]. It may be traced.
        axis: the axis or axes of the classes; all where None.
        where: which classes are counted, with as many axes as ``labels``. Rows keep their
            shape: leave the others out in the loss, by its own ``where``.

    Raises:
        ValueError: if ``alpha`` lies outside [0, 1].

    Examples:
        >>> import jax.numpy as jnp
        >>> smooth_labels(jnp.array([1.0, 0.0]), 0.5).tolist()
        [0.75, 0.25]
    """
    checks.number("smooth_labels", "alpha", alpha, "[0, 1]")
    y, dtype = wide("smooth_labels", "labels", labels)
    check_reduction("smooth_labels", y, axis, where)
    counted = jnp.broadcast_to(True if where is None else where, y.shape)
    n_classes = jnp.sum(counted, axis, keepdims=True).astype(y.dtype)
    share = jnp.asarray(alpha, y.dtype) / jnp.maximum(n_classes, 1)
    return (numerics.complement(alpha, y.dtype) * y + share).astype(dtype)
