"""Batch normalization with running statistics, and layer, group and RMS normalization.

Formulas and references are those of the functions in :mod:`jaxopt_course.nn`. Flax's layers of
these names need ``rngs``. The layers here accept the argument and draw nothing.
"""

from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, DTypeLike, Float, ScalarLike

from jaxopt_course.core import checks, numerics
from jaxopt_course.nn import (
    batch_norm,
    group_norm,
    layer_norm,
    normalize_by_moments,
    rms_norm,
    running_moments,
)

from ._hyperparameter import number, value_of


class BatchNorm(nnx.Module):
    """Batch normalization, with the parameters and statistics of ``flax.nnx.BatchNorm``.

    The running averages ``mean`` and ``var`` are ``nnx.BatchStat`` variables; ``var`` is that of
    the biased variance. They change in training, unless no row of the batch counts. The arguments
    that are not listed here are the fields of :class:`jaxopt_course.nn.BatchNorm`.

    Args:
        features: number of features, in [1, inf).
        rngs: not needed; nothing is drawn.

    Examples:
        >>> layer = BatchNorm(1, momentum=0.5)
        >>> _ = layer(jnp.array([[1.0], [3.0]]))
        >>> layer.mean[...].tolist(), layer.var[...].tolist()
        ([1.0], [1.0])
    """

    def __init__(
        self,
        features: int,
        *,
        momentum: ScalarLike = 0.99,
        epsilon: ScalarLike = 1e-5,
        use_scale: bool = True,
        use_bias: bool = True,
        param_dtype: DTypeLike = jnp.float32,
        axis_name: str | None = None,
        axis: int = -1,
        rngs: nnx.Rngs | None = None,
    ) -> None:
        del rngs
        checks.integer("BatchNorm", "axis", axis, "(-inf, inf)")
        self.scale, self.bias = learned("BatchNorm", features, use_scale, use_bias, param_dtype)
        stats_dtype = numerics.wide_dtype(param_dtype)
        self.mean = nnx.BatchStat(jnp.zeros(features, stats_dtype))
        self.var = nnx.BatchStat(jnp.ones(features, stats_dtype))
        self.momentum = number("BatchNorm", "momentum", momentum, "[0, 1]")
        self.epsilon = number("BatchNorm", "epsilon", epsilon, "(0, inf)")
        self.axis_name, self.axis = axis_name, axis
        self.use_running_average = False

    def __call__(
        self,
        x: Float[Array, "*shape"],
        mask: Bool[Array, "..."] | Float[Array, "..."] | None = None,
    ) -> Float[Array, "*shape"]:
        """Normalize by the statistics of the batch in training, by the running ones in evaluation.

        ``mask`` is that of :func:`~jaxopt_course.nn.batch_norm`; for images too it may be
        bool[batch].
        """
        scale, bias, epsilon = map(value_of, (self.scale, self.bias, self.epsilon))
        past = self.mean[...], self.var[...]
        if self.use_running_average:
            return normalize_by_moments(x, *past, scale, bias, epsilon, self.axis)
        y, seen = batch_norm(x, scale, bias, epsilon, mask, self.axis_name, self.axis)
        self.mean[...], self.var[...] = running_moments(past, seen, value_of(self.momentum))
        return y


class LayerNorm(nnx.Module):
    """Layer normalization, with the parameters of ``flax.nnx.LayerNorm``.

    The arguments that are not listed here are the fields of :class:`jaxopt_course.nn.LayerNorm`.

    Args:
        features: number of features, in [1, inf).
        rngs: not needed; nothing is drawn.

    Examples:
        >>> LayerNorm(2)(jnp.array([[1.0, 3.0]])).round(3).tolist()
        [[-1.0, 1.0]]
    """

    def __init__(
        self,
        features: int,
        *,
        epsilon: ScalarLike = 1e-6,
        use_scale: bool = True,
        use_bias: bool = True,
        param_dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs | None = None,
    ) -> None:
        del rngs
        self.scale, self.bias = learned("LayerNorm", features, use_scale, use_bias, param_dtype)
        self.epsilon = number("LayerNorm", "epsilon", epsilon, "(0, inf)")

    def __call__(self, x: Float[Array, "*batch features"]) -> Float[Array, "*batch features"]:
        """:func:`~jaxopt_course.nn.layer_norm` of ``x`` with the learned scale and bias."""
        return layer_norm(x, value_of(self.scale), value_of(self.bias), value_of(self.epsilon))


class GroupNorm(nnx.Module):
    """Group normalization, with the parameters of ``flax.nnx.GroupNorm``.

    The arguments that are not listed here are those of :class:`LayerNorm`.

    Args:
        num_groups: number of groups, in [1, features]; it divides the number of features.

    Examples:
        >>> GroupNorm(4, num_groups=2)(jnp.array([[1.0, 3.0, 10.0, 30.0]])).round(3).tolist()
        [[-1.0, 1.0, -1.0, 1.0]]
    """

    def __init__(
        self,
        features: int,
        num_groups: int,
        *,
        epsilon: ScalarLike = 1e-6,
        use_scale: bool = True,
        use_bias: bool = True,
        param_dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs | None = None,
    ) -> None:
        del rngs
        checks.integer("GroupNorm", "num_groups", num_groups, "[1, inf)")
        self.scale, self.bias = learned("GroupNorm", features, use_scale, use_bias, param_dtype)
        self.num_groups = num_groups
        self.epsilon = number("GroupNorm", "epsilon", epsilon, "(0, inf)")

    def __call__(
        self, x: Float[Array, "batch *places features"]
    ) -> Float[Array, "batch *places features"]:
        """:func:`~jaxopt_course.nn.group_norm` of ``x`` with the learned scale and bias."""
        scale, bias = value_of(self.scale), value_of(self.bias)
        return group_norm(x, self.num_groups, scale, bias, value_of(self.epsilon))


class RMSNorm(nnx.Module):
    """RMS normalization, with the parameters of ``flax.nnx.RMSNorm``.

    The arguments are those of :class:`LayerNorm`, without a bias.

    Examples:
        >>> [round(float(entry), 3) for entry in RMSNorm(2)(jnp.array([1.0, 7.0]))]
        [0.2, 1.4]
    """

    def __init__(
        self,
        features: int,
        *,
        epsilon: ScalarLike = 1e-6,
        use_scale: bool = True,
        param_dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs | None = None,
    ) -> None:
        del rngs
        self.scale, _ = learned("RMSNorm", features, use_scale, False, param_dtype)
        self.epsilon = number("RMSNorm", "epsilon", epsilon, "(0, inf)")

    def __call__(self, x: Float[Array, "*batch features"]) -> Float[Array, "*batch features"]:
        """:func:`~jaxopt_course.nn.rms_norm` of ``x`` with the learned scale."""
        return rms_norm(x, value_of(self.scale), value_of(self.epsilon))


def learned(
    owner: str, features: int, use_scale: bool, use_bias: bool, dtype: DTypeLike
) -> tuple[Any, Any]:
    """The parameters of a normalization, scale and bias, or None in place of one."""
    checks.integer(owner, "features", features, "[1, inf)")
    scale = nnx.Param(jnp.ones(features, dtype)) if use_scale else None
    return scale, nnx.Param(jnp.zeros(features, dtype)) if use_bias else None
