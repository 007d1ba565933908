"""Batch normalization: give every feature mean 0 and variance 1 over the batch, then rescale it.

    training     y = scale * (x - mean_B) / sqrt(var_B + epsilon) + bias
                 mean <- momentum * mean + (1 - momentum) * mean_B
                 var  <- momentum * var  + (1 - momentum) * var_B
    evaluation   y = scale * (x - mean) / sqrt(var + epsilon) + bias

with mean_B and the biased variance var_B over all axes but the last one. The running average is
of the *variance*, not of the standard deviation, as in Flax and Keras.

Reference: Ioffe & Szegedy, "Batch Normalization: Accelerating Deep Network Training by Reducing
Internal Covariate Shift", 2015, algorithms 1 and 2, https://arxiv.org/abs/1502.03167.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, DTypeLike, Float, ScalarLike

from jaxopt_course.core import checks, numerics, tree

from ._moments import Moments, merge_moments, moments, standardize
from ._shared import check_by_feature, check_rank, learned


def batch_norm(
    x: Float[Array, "*batch features"],
    scale: Float[Array, "features"] | None = None,
    bias: Float[Array, "features"] | None = None,
    epsilon: ScalarLike = 1e-5,
    mask: Bool[Array, "..."] | Float[Array, "..."] | None = None,
    axis_name: str | None = None,
) -> tuple[Float[Array, "*batch features"], Moments]:
    """Normalize a batch by its own mean and variance.

    Args:
        x: the batch, with the features on the last axis.
        scale: one factor for each feature. None means 1.
        bias: one summand for each feature. None means 0.
        epsilon: as in :class:`BatchNorm`.
        mask: the rows that count, or their weights: a row of weight 2 counts twice, and one of
            weight 0 or False is padding. Its axes are leading axes of ``x``, each of the same
            size or of size 1. None means that all rows count.
        axis_name: as in :class:`BatchNorm`.

    Returns:
        The normalized batch, padding rows included, and the moments of each feature in float32
        or wider: mean, biased variance and weight. If no row counts, these three are 0.
    """
    checks.number("batch_norm", "epsilon", epsilon, "(0, inf)")
    _check_input("batch_norm", x, axis_name)
    check_by_feature("batch_norm", x, scale=scale, bias=bias)
    seen = _batch_moments(x, mask, axis_name)
    return standardize(x, seen.mean, seen.var, scale, bias, epsilon), seen


class BatchNorm(nn.Module):
    """Batch normalization as a Flax layer, with the names of ``flax.linen.BatchNorm``.

    The collection ``"batch_stats"`` holds the running ``mean`` and ``var``. It must be mutable in
    training and does not change in evaluation, nor in training on a batch without a row that
    counts. If the collection ``"batch_moments"`` is mutable, the layer stores the moments of its
    input there, in training and in evaluation; :func:`recompute_batch_stats` reads them.

    Attributes:
        momentum: weight of the old value in the running statistics, in [0, 1].
        epsilon: number added to the variance, in (0, inf).
        use_scale: whether to learn a factor for each feature.
        use_bias: whether to learn a summand for each feature.
        param_dtype: dtype of scale and bias. The statistics are in this dtype or in float32,
            whichever is wider.
        axis_name: the mapped axis that the batch is split over.

    Examples:
        >>> layer, x = BatchNorm(momentum=0.5), jnp.ones((4, 3))
        >>> variables = layer.init(jax.random.key(0), x, train=True)
        >>> y, updates = layer.apply(variables, x, train=True, mutable=["batch_stats"])
    """

    momentum: ScalarLike = 0.99
    epsilon: ScalarLike = 1e-5
    use_scale: bool = True
    use_bias: bool = True
    param_dtype: DTypeLike = jnp.float32
    axis_name: str | None = None

    def __post_init__(self) -> None:
        checks.number("BatchNorm", "momentum", self.momentum, "[0, 1]")
        checks.number("BatchNorm", "epsilon", self.epsilon, "(0, inf)")
        super().__post_init__()

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "*batch features"],
        train: bool,
        mask: Bool[Array, "..."] | Float[Array, "..."] | None = None,
    ) -> Float[Array, "*batch features"]:
        """Normalize by the statistics of the batch in training, by the running ones in evaluation.

        ``mask`` is that of :func:`batch_norm`; for images too it may be bool[batch].
        """
        _check_input("BatchNorm", x, self.axis_name)
        starting = self.is_initializing()
        if not starting and not self.has_variable("batch_stats", "mean"):
            raise ValueError(
                f"BatchNorm at {'/'.join(self.path) or 'the top'}: the variables have no "
                "`batch_stats`. Apply to {'params': ..., 'batch_stats': ...}, both from `init`."
            )
        shape = x.shape[-1:]
        stats_dtype = numerics.wide_dtype(self.param_dtype)
        mean = self.variable("batch_stats", "mean", jnp.zeros, shape, stats_dtype)
        var = self.variable("batch_stats", "var", jnp.ones, shape, stats_dtype)
        check_by_feature("BatchNorm", x, mean=mean.value, var=var.value)
        scale, bias = learned(self, "scale", x), learned(self, "bias", x)
        axis_name = None if starting else self.axis_name  # `init` runs outside the mapped axis

        if train:
            seen = _batch_moments(x, mask, axis_name)
            y = standardize(x, seen.mean, seen.var, scale, bias, self.epsilon)
            if not starting:
                past = (mean.value, var.value)
                mixed = tree.update_moment((seen.mean, seen.var), past, self.momentum, 1)
                updated = lambda new, old: jnp.where(seen.weight > 0, new, old)
                mean.value, var.value = jax.tree.map(updated, mixed, past)
        else:
            y = standardize(x, mean.value, var.value, scale, bias, self.epsilon)
        if self.is_mutable_collection("batch_moments") and not starting:
            seen = _batch_moments(x, mask, axis_name)
            none = jax.tree.map(jnp.zeros_like, seen)
            self.sow("batch_moments", "seen", seen, init_fn=lambda: none, reduce_fn=merge_moments)
        return y


def _check_input(owner: str, x: Array, axis_name: str | None) -> None:
    """Raise unless ``x`` is a batch; one row is a batch only if a mapped axis holds the others."""
    alone = () if axis_name is None else ("features",)
    check_rank(owner, x, *alone, "batch, features", "batch, places, ...")


def _batch_moments(x: Array, mask: Array | None, axis_name: str | None) -> Moments:
    """The moments of each feature over the rows that count."""
    if mask is not None:
        pairs = zip(mask.shape, x.shape, strict=False)
        if mask.ndim > x.ndim or any(m not in (1, n) for m, n in pairs):
            raise ValueError(
                "batch_norm: `mask` must have the leading axes of the input, "
                f"{x.shape}, got shape {mask.shape}."
            )
        mask = jnp.reshape(mask, mask.shape + (1,) * (x.ndim - mask.ndim))
    return moments(x, tuple(range(x.ndim - 1)), mask, axis_name)
