"""Batch normalization over the functions of :mod:`jaxopt_course.nn`, with running statistics."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, DTypeLike, Float, ScalarLike

from jaxopt_course.core import checks, numerics
from jaxopt_course.nn import batch_norm, normalize_by_moments, running_moments

from ._hyperparameter import number, value_of
from ._layer_norm import learned


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
