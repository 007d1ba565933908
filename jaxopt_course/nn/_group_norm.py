"""Group normalization: within each datapoint, each group of features gets mean 0 and variance 1.

    y = scale * (x - mean) / sqrt(var + epsilon) + bias

with mean and biased variance over a group of neighbouring features and all places (pixels) of a
datapoint. One group is layer normalization over places too; as many groups as features is
instance normalization. No batch, no statistics to keep.

Reference: Wu & He, "Group Normalization", ECCV 2018, https://arxiv.org/abs/1803.08494.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Float, ScalarLike

from jaxopt_course.core import checks

from ._learned import learned
from ._moments import moments, standardize
from ._shapes import check_by_feature, check_rank


def group_norm(
    x: Float[Array, "batch *places features"],
    groups: int,
    scale: Float[Array, "features"] | None = None,
    bias: Float[Array, "features"] | None = None,
    epsilon: ScalarLike = 1e-6,
) -> Float[Array, "batch *places features"]:
    """Normalize each datapoint by the mean and variance of its groups of features.

    Args:
        x: datapoints first, features last.
        groups: how many groups, in [1, features]; it divides the number of features.
        scale: one factor a feature. None: 1.
        bias: one number a feature, added. None: 0.
        epsilon: added to the variance, in (0, inf).

    Returns:
        The normalized datapoints, computed in float32 or wider, in the dtype of ``x``.

    Raises:
        ValueError: if ``groups`` does not divide the features, ``epsilon`` is not positive, ``x``
            has a single axis, or scale or bias has another shape.
    """
    check_rank("group_norm", x, "batch, features", "batch, places, ...")
    check_by_feature("group_norm", x, scale=scale, bias=bias)
    features = x.shape[-1]
    checks.integer("group_norm", "groups", groups, f"[1, {features}]")
    if features % groups:
        raise ValueError(
            f"group_norm: `groups` must divide the number of features, {features}, got {groups}."
        )
    checks.number("group_norm", "epsilon", epsilon, "(0, inf)")
    grouped = x.reshape(*x.shape[:-1], groups, features // groups)
    within = (*range(1, x.ndim - 1), x.ndim)  # all places, and the features of a group
    seen = moments(grouped, within)
    mean, var = (jnp.expand_dims(part, within) for part in (seen.mean, seen.var))
    shape = (groups, features // groups)
    scale, bias = (None if part is None else part.reshape(shape) for part in (scale, bias))
    return standardize(grouped, mean, var, scale, bias, epsilon).reshape(x.shape)


class GroupNorm(nn.Module):
    """Group normalization as a Flax layer, its names those of ``flax.linen.GroupNorm``.

    Attributes:
        num_groups: in [1, features]; it divides the number of features.
        epsilon: added to the variance, in (0, inf).
        use_scale: whether a factor is learned.
        use_bias: whether an addend is learned.
        param_dtype: of scale and bias.

    Examples:
        >>> import jax
        >>> x = jnp.array([[1.0, 3.0, 10.0, 30.0]])
        >>> layer = GroupNorm(num_groups=2)
        >>> y = layer.apply(layer.init(jax.random.key(0), x), x)
        >>> [round(float(entry), 3) for entry in y[0]]
        [-1.0, 1.0, -1.0, 1.0]
    """

    num_groups: int
    epsilon: ScalarLike = 1e-6
    use_scale: bool = True
    use_bias: bool = True
    param_dtype: DTypeLike = jnp.float32

    def __post_init__(self) -> None:
        checks.integer("GroupNorm", "num_groups", self.num_groups, "[1, inf)")
        checks.number("GroupNorm", "epsilon", self.epsilon, "(0, inf)")
        super().__post_init__()

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch *places features"]
    ) -> Float[Array, "batch *places features"]:
        """:func:`group_norm` of ``x`` with the learned scale and bias."""
        scale, bias = learned(self, "scale", x), learned(self, "bias", x)
        return group_norm(x, self.num_groups, scale, bias, self.epsilon)
