"""Cross-entropies from probabilities, for models whose last layer is the sigmoid or softmax.

    binary_cross_entropy         -y log p - (1 - y) log(1 - p)     per entry
    categorical_cross_entropy    -sum_k y_k log p_k                per example

with the natural logarithm. A probability below the machine epsilon of its dtype (2.2e-16 in
float64, 1.2e-7 in float32) counts as epsilon: so p = 0 and p = 1 give finite losses, and slope 0.
That saturated outputs learn nothing more is what the forms from logits are there to avoid.
"""

import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Float, Shaped

from ._inputs import check_reduction, wide_pair


def binary_cross_entropy(
    probabilities: Float[Array, "*shape"], labels: Shaped[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """Binary cross-entropy, entry by entry; its sum over labels is the multi-label loss.

    Args:
        probabilities: of class 1, in [0, 1].
        labels: 0 or 1, or a probability in [0, 1], of the same shape.

    Raises:
        ValueError: if the shapes differ.

    Examples:
        >>> import jax.numpy as jnp
        >>> losses = binary_cross_entropy(jnp.array([0.8, 0.1, 0.3, 0.8]), jnp.array([1, 0, 1, 0]))
        >>> round(float(losses.mean()), 6)
        0.785479
    """
    p, y, dtype = wide_pair("binary_cross_entropy", "probabilities", probabilities, labels)
    losses = -y * _safe_log(p, dtype) - (1 - y) * _safe_log(1 - p, dtype)
    return losses.astype(dtype)


def categorical_cross_entropy(
    probabilities: Float[Array, "*shape"],
    labels: Shaped[Array, "*shape"],
    axis: int | tuple[int, ...] | None = -1,
) -> Float[Array, "..."]:
    """Categorical cross-entropy against one probability for each class.

    Args:
        probabilities: of the classes, in [0, 1]. They are taken as they are, also where they do
            not sum to 1.
        labels: one-hot rows, or probabilities, of the same shape.
        axis: the axis or axes of the classes; all where None.

    Returns:
        One value for each example: the shape without ``axis``.

    Raises:
        ValueError: if the shapes differ.
    """
    p, y, dtype = wide_pair("categorical_cross_entropy", "probabilities", probabilities, labels)
    check_reduction("categorical_cross_entropy", p, axis)
    return -jnp.sum(y * _safe_log(p, dtype), axis).astype(dtype)


def _safe_log(p: Float[Array, "*shape"], dtype: DTypeLike) -> Float[Array, "*shape"]:
    """The log of ``p``, or of epsilon where ``p`` is smaller; ``dtype`` is the caller's.

    Epsilon, not the smallest number: in float16 the slope 1 / 6e-5 times a batch overflows.
    """
    return jnp.log(jnp.maximum(p, float(jnp.finfo(dtype).eps)))
