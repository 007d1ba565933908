"""Layer normalization: the features of each datapoint get mean 0 and variance 1.

    y = scale * (x - mean) / sqrt(var + epsilon) + bias

with mean and biased variance over the last axis: no batch, no statistics to keep, and training
is no different from evaluation.

Reference: Ba, Kiros & Hinton, "Layer Normalization", 2016, https://arxiv.org/abs/1607.06450.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Float, ScalarLike

from jaxopt_course.core import checks

from ._learned import learned
from ._moments import moments, standardize
from ._shapes import check_by_feature, check_rank


def layer_norm(
    x: Float[Array, "*batch features"],
    scale: Float[Array, "features"] | None = None,
    bias: Float[Array, "features"] | None = None,
    epsilon: ScalarLike = 1e-6,
) -> Float[Array, "*batch features"]:
    """Normalize each datapoint by the mean and variance of its features.

    Args:
        x: features last.
        scale: one factor a feature. None: 1.
        bias: one number a feature, added. None: 0.
        epsilon: added to the variance, in (0, inf).

    Returns:
        The normalized datapoints, computed in float32 or wider, in the dtype of ``x``.

    Raises:
        ValueError: if ``epsilon`` is not positive, or scale or bias has another shape.
    """
    checks.number("layer_norm", "epsilon", epsilon, "(0, inf)")
    check_rank("layer_norm", x, "features", "batch, ...")
    check_by_feature("layer_norm", x, scale=scale, bias=bias)
    seen = moments(x, (-1,))
    return standardize(x, seen.mean[..., None], seen.var[..., None], scale, bias, epsilon)


class LayerNorm(nn.Module):
    """Layer normalization as a Flax layer, its names those of ``flax.linen.LayerNorm``.

    Attributes:
        epsilon: added to the variance, in (0, inf).
        use_scale: whether a factor is learned.
        use_bias: whether an addend is learned.
        param_dtype: of scale and bias.
    """

    epsilon: ScalarLike = 1e-6
    use_scale: bool = True
    use_bias: bool = True
    param_dtype: DTypeLike = jnp.float32

    def __post_init__(self) -> None:
        checks.number("LayerNorm", "epsilon", self.epsilon, "(0, inf)")
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "*batch features"]) -> Float[Array, "*batch features"]:
        """:func:`layer_norm` of ``x`` with the learned scale and bias."""
        scale, bias = learned(self, "scale", x), learned(self, "bias", x)
        return layer_norm(x, scale, bias, self.epsilon)
