"""Normalizations within each example: layer, group and RMS normalization.

    layer    y = scale * (x - mean) / sqrt(var + epsilon) + bias      over the features
    group    y = scale * (x - mean) / sqrt(var + epsilon) + bias      over a group of features
    RMS      y = scale * x / sqrt(mean(x^2) + epsilon)                over the features

with the biased variance. A group consists of neighbouring features and, in images, of all pixels:
one group is layer normalization over the pixels too, and as many groups as features is instance
normalization. There are no batch statistics, and training does not differ from evaluation.

References: Ba, Kiros & Hinton, "Layer Normalization", 2016, https://arxiv.org/abs/1607.06450;
Wu & He, "Group Normalization", ECCV 2018, https://arxiv.org/abs/1803.08494; Zhang & Sennrich,
"Root Mean Square Layer Normalization", NeurIPS 2019, https://arxiv.org/abs/1910.07467, equation 4.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Float, ScalarLike

from jaxopt_course.core import checks, tree

from ._moments import moments, standardize
from ._shared import check_by_feature, check_rank, learned


def layer_norm(
    x: Float[Array, "*batch features"],
    scale: Float[Array, "features"] | None = None,
    bias: Float[Array, "features"] | None = None,
    epsilon: ScalarLike = 1e-6,
) -> Float[Array, "*batch features"]:
    """Normalize each example by the mean and variance of its features, which come last in ``x``.

    A ``scale`` of None is 1, a ``bias`` of None is 0, and ``epsilon`` is in (0, inf). The result is
    computed in float32 or wider and has the dtype of ``x``.

    Examples:
        >>> layer_norm(jnp.array([1.0, 3.0])).round(3).tolist()
        [-1.0, 1.0]
    """
    checks.number("layer_norm", "epsilon", epsilon, "(0, inf)")
    check_rank("layer_norm", x, "features", "batch, ...")
    check_by_feature("layer_norm", x.shape[-1], scale=scale, bias=bias)
    seen = moments(x, (-1,))
    return standardize(x, seen.mean[..., None], seen.var[..., None], scale, bias, epsilon=epsilon)


class LayerNorm(nn.Module):
    """Layer normalization as a Flax layer, with the names of ``flax.linen.LayerNorm``.

    Attributes:
        epsilon: number added to the variance (or mean square), in (0, inf).
        use_scale: whether to learn a factor for each feature.
        use_bias: whether to learn a summand for each feature.
        param_dtype: dtype of scale and bias.

    Examples:
        >>> import jax
        >>> y, _ = LayerNorm().init_with_output(jax.random.key(0), jnp.array([[1.0, 3.0]]))
        >>> y.round(3).tolist()
        [[-1.0, 1.0]]
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
        scale, bias = learned(self, "scale", x.shape[-1:]), learned(self, "bias", x.shape[-1:])
        return layer_norm(x, scale, bias, self.epsilon)


def group_norm(
    x: Float[Array, "batch *places features"],
    groups: int,
    scale: Float[Array, "features"] | None = None,
    bias: Float[Array, "features"] | None = None,
    epsilon: ScalarLike = 1e-6,
) -> Float[Array, "batch *places features"]:
    """Normalize each example by the mean and variance of its groups of features.

    The number of ``groups`` divides the number of features. The other arguments are those of
    :func:`layer_norm`.

    Examples:
        >>> group_norm(jnp.array([[1.0, 3.0, 10.0, 30.0]]), groups=2).round(3).tolist()
        [[-1.0, 1.0, -1.0, 1.0]]
    """
    check_rank("group_norm", x, "batch, features", "batch, places, ...")
    check_by_feature("group_norm", x.shape[-1], scale=scale, bias=bias)
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
    return standardize(grouped, mean, var, scale, bias, epsilon=epsilon).reshape(x.shape)


class GroupNorm(nn.Module):
    """Group normalization as a Flax layer, with the names of ``flax.linen.GroupNorm``.

    The fields that are not listed here are those of :class:`LayerNorm`.

    Attributes:
        num_groups: number of groups, in [1, features]; it divides the number of features.

    Examples:
        >>> import jax
        >>> x = jnp.array([[1.0, 3.0, 10.0, 30.0]])
        >>> y, _ = GroupNorm(num_groups=2).init_with_output(jax.random.key(0), x)
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
        scale, bias = learned(self, "scale", x.shape[-1:]), learned(self, "bias", x.shape[-1:])
        return group_norm(x, self.num_groups, scale, bias, self.epsilon)


def rms_norm(
    x: Float[Array, "*batch features"],
    scale: Float[Array, "features"] | None = None,
    epsilon: ScalarLike = 1e-6,
) -> Float[Array, "*batch features"]:
    """Divide each example by the root mean square of its features.

    Arguments and dtypes are those of :func:`layer_norm`.

    Examples:
        >>> [round(float(entry), 3) for entry in rms_norm(jnp.array([1.0, 7.0]))]
        [0.2, 1.4]
    """
    checks.number("rms_norm", "epsilon", epsilon, "(0, inf)")
    check_rank("rms_norm", x, "features", "batch, ...")
    check_by_feature("rms_norm", x.shape[-1], scale=scale)
    square = jnp.mean(tree.squared(x), -1, keepdims=True)
    return standardize(x, jnp.zeros_like(square), square, scale, None, epsilon=epsilon)


class RMSNorm(nn.Module):
    """RMS normalization as a Flax layer, with the names of ``flax.linen.RMSNorm``.

    The fields are those of :class:`LayerNorm`, without a bias.

    Examples:
        >>> import jax
        >>> y, _ = RMSNorm().init_with_output(jax.random.key(0), jnp.array([[1.0, 7.0]]))
        >>> [round(float(entry), 3) for entry in y[0]]
        [0.2, 1.4]
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
        return rms_norm(x, learned(self, "scale", x.shape[-1:]), self.epsilon)
