"""RMS normalization: the features of each datapoint get mean square 1; their mean stays.

    y = scale * x / sqrt(mean(x^2) + epsilon)

with the mean over the last axis.

Reference: Zhang & Sennrich, "Root Mean Square Layer Normalization", NeurIPS 2019,
https://arxiv.org/abs/1910.07467, equation 4.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Float, ScalarLike

from jaxopt_course.core import checks, tree

from ._learned import learned
from ._moments import standardize
from ._shapes import check_by_feature, check_rank


def rms_norm(
    x: Float[Array, "*batch features"],
    scale: Float[Array, "features"] | None = None,
    epsilon: ScalarLike = 1e-6,
) -> Float[Array, "*batch features"]:
    """Divide each datapoint by the root of the mean square of its features.

    Args:
        x: features last.
        scale: one factor a feature. None: 1.
        epsilon: added to the mean square, in (0, inf).

    Returns:
        The normalized datapoints, computed in float32 or wider, in the dtype of ``x``.

    Raises:
        ValueError: if ``epsilon`` is not positive, or ``scale`` has another shape.
    """
    checks.number("rms_norm", "epsilon", epsilon, "(0, inf)")
    check_rank("rms_norm", x, "features", "batch, ...")
    check_by_feature("rms_norm", x, scale=scale)
    square = jnp.mean(tree.squared(x), -1, keepdims=True)
    return standardize(x, jnp.zeros_like(square), square, scale, None, epsilon)


class RMSNorm(nn.Module):
    """RMS normalization as a Flax layer, its names those of ``flax.linen.RMSNorm``.

    Attributes:
        epsilon: added to the mean square, in (0, inf).
        use_scale: whether a factor is learned.
        param_dtype: of the factor.

    Examples:
        >>> import jax
        >>> x = jnp.array([[3.0, 4.0]])
        >>> layer = RMSNorm()
        >>> y = layer.apply(layer.init(jax.random.key(0), x), x)
        >>> round(float((y**2).mean()), 3)
        1.0
    """

    epsilon: ScalarLike = 1e-6
    use_scale: bool = True
    param_dtype: DTypeLike = jnp.float32

    def __post_init__(self) -> None:
        checks.number("RMSNorm", "epsilon", self.epsilon, "(0, inf)")
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "*batch features"]) -> Float[Array, "*batch features"]:
        """:func:`rms_norm` of ``x`` with the learned scale."""
        return rms_norm(x, learned(self, "scale", x), self.epsilon)
