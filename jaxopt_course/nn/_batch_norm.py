"""Batch normalization: every feature gets mean 0 and variance 1 over the batch, then is learned.

    training     y = scale * (x - mean_B) / sqrt(var_B + epsilon) + bias
                 mean <- momentum * mean + (1 - momentum) * mean_B
                 var  <- momentum * var  + (1 - momentum) * var_B
    evaluation   y = scale * (x - mean) / sqrt(var + epsilon) + bias

with mean_B and the biased variance var_B over all axes but the last one. The *variance* is
averaged, not the standard deviation, as in Flax and Keras.

Reference: Ioffe & Szegedy, "Batch Normalization: Accelerating Deep Network Training by Reducing
Internal Covariate Shift", 2015, algorithms 1 and 2, https://arxiv.org/abs/1502.03167.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, DTypeLike, Float, ScalarLike

from jaxopt_course.core import checks, numerics, tree

from ._learned import learned
from ._moments import Moments, merge_moments, moments, standardize
from ._shapes import check_by_feature, check_rank


def batch_norm(
    x: Float[Array, "*batch features"],
    scale: Float[Array, "features"] | None = None,
    bias: Float[Array, "features"] | None = None,
    epsilon: ScalarLike = 1e-5,
    mask: Bool[Array, "..."] | Float[Array, "..."] | None = None,
    axis_name: str | None = None,
) -> tuple[Float[Array, "*batch features"], Moments]:
    """Normalize a batch by its own statistics.

    Args:
        x: the batch; features last.
        scale: one factor a feature. None: 1.
        bias: one number a feature, added. None: 0.
        epsilon: added to the variance, in (0, inf).
        mask: which rows count, or how much: a weight of 2 is the row twice, of 0 or False a
            padding row. It has the leading axes of ``x``, each of them or 1. None: all.
        axis_name: a mapped axis (of ``vmap``, ``shard_map``) over which the batch is spread.

    Returns:
        The normalized batch, padding rows included, and its mean, biased variance and weight
        by feature, in float32 or wider. Where no row counts, mean and variance are 0.

    Raises:
        ValueError: if ``epsilon`` is not positive, ``mask`` has other axes, scale or bias has
            another shape, or ``x`` has no axis to take the mean over.
    """
    checks.number("batch_norm", "epsilon", epsilon, "(0, inf)")
    _check_input("batch_norm", x, axis_name)
    check_by_feature("batch_norm", x, scale=scale, bias=bias)
    return _normalized(x, scale, bias, epsilon, mask, axis_name)


def _check_input(owner: str, x: Array, axis_name: str | None) -> None:
    """A single row is a batch only where a mapped axis holds the others."""
    alone = () if axis_name is None else ("features",)
    check_rank(owner, x, *alone, "batch, features", "batch, places, ...")


def _normalized(
    x: Array,
    scale: Array | None,
    bias: Array | None,
    epsilon: ScalarLike,
    mask: Array | None,
    axis_name: str | None,
) -> tuple[Array, Moments]:
    seen = _batch_moments(x, mask, axis_name)
    return standardize(x, seen.mean, seen.var, scale, bias, epsilon), seen


class BatchNorm(nn.Module):
    """Batch normalization as a Flax layer, its names those of ``flax.linen.BatchNorm``.

    The collection ``"batch_stats"`` holds the running ``mean`` and ``var``: training needs it
    mutable, evaluation leaves it alone. A batch without a row that counts changes nothing.
    Where the collection ``"batch_moments"`` is mutable, the layer leaves the moments of its
    input there, in either mode: :func:`recompute_batch_stats` reads them.

    Attributes:
        momentum: the weight of the past in the running statistics, in [0, 1].
        epsilon: added to the variance, in (0, inf).
        use_scale: whether a factor is learned.
        use_bias: whether an addend is learned.
        param_dtype: of scale and bias. The statistics are kept in it or in float32.
        axis_name: a mapped axis over which the batch is spread.

    Examples:
        >>> import jax
        >>> x = jnp.array([[1.0], [3.0]])
        >>> layer = BatchNorm(momentum=0.5)
        >>> variables = layer.init(jax.random.key(0), x, train=True)
        >>> y, updates = layer.apply(variables, x, train=True, mutable=["batch_stats"])
        >>> [round(float(mean), 3) for mean in updates["batch_stats"]["mean"]]
        [1.0]
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
        """Normalize by the batch's statistics in training, by the running ones in evaluation.

        Args:
            x: the features of all rows.
            train: whether the statistics are the batch's.
            mask: which rows count, or how much, of the shape of leading axes of ``x``: bool[batch]
                for images too. None: all.
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
            y, seen = _normalized(x, scale, bias, self.epsilon, mask, axis_name)
            if not starting:
                past = (mean.value, var.value)
                mixed = tree.update_moment((seen.mean, seen.var), past, self.momentum, 1)
                mean.value, var.value = (
                    jnp.where(seen.weight > 0, new, old)
                    for new, old in zip(mixed, past, strict=True)
                )
        else:
            y = standardize(x, mean.value, var.value, scale, bias, self.epsilon)
        if self.is_mutable_collection("batch_moments") and not starting:
            self.sow(
                "batch_moments",
                "seen",
                _batch_moments(x, mask, axis_name),
                init_fn=lambda: Moments(*(jnp.zeros(shape, numerics.wide_dtype(x.dtype)),) * 3),
                reduce_fn=merge_moments,
            )
        return y


def _batch_moments(x: Array, mask: Array | None, axis_name: str | None) -> Moments:
    """The moments by feature of the rows that count."""
    if mask is not None:
        pairs = zip(mask.shape, x.shape, strict=False)
        if mask.ndim > x.ndim or any(m not in (1, n) for m, n in pairs):
            raise ValueError(
                "batch_norm: `mask` must have the leading axes of the input, "
                f"{x.shape}, got shape {mask.shape}."
            )
        mask = jnp.reshape(mask, mask.shape + (1,) * (x.ndim - mask.ndim))
    return moments(x, tuple(range(x.ndim - 1)), mask, axis_name)
