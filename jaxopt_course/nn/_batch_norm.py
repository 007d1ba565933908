"""Batch normalization: give every feature mean 0 and variance 1 over the batch, then rescale it.

    training     y = scale * (x - mean_B) / sqrt(var_B + epsilon) + bias
                 mean <- momentum * mean + (1 - momentum) * mean_B
                 var  <- momentum * var  + (1 - momentum) * var_B
    evaluation   y = scale * (x - mean) / sqrt(var + epsilon) + bias

with mean_B and the biased variance var_B over all axes but that of the features. The running
average is of the *variance*, not of the standard deviation, as in Flax and Keras.

:func:`recompute_batch_stats` replaces the running averages by the mean and the biased variance over
a whole data set, in evaluation mode. The statistics of the layers before it determine the input of
a layer, so every pass over the data makes at least one more layer exact, and as many passes as
there are layers make all of them exact, however the data is cut into batches. Without dropout the
result is what training mode sees if the whole set is one batch.

Reference: Ioffe & Szegedy, "Batch Normalization: Accelerating Deep Network Training by Reducing
Internal Covariate Shift", 2015, algorithms 1 and 2, https://arxiv.org/abs/1502.03167.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.nn.initializers import Initializer
from jaxtyping import Array, Bool, DTypeLike, Float, ScalarLike

from jaxopt_course.core import checks, numerics, tree

from ._moments import Moments, merge_moments, moments, standardize
from ._shared import check_by_feature, check_rank, learned


Mask = Bool[Array, "..."] | Float[Array, "..."]


def batch_norm(
    x: Float[Array, "*shape"],
    scale: Float[Array, "features"] | None = None,
    bias: Float[Array, "features"] | None = None,
    epsilon: ScalarLike = 1e-5,
    mask: Mask | None = None,
    axis_name: str | None = None,
    axis: int = -1,
) -> tuple[Float[Array, "*shape"], Moments]:
    """Normalize a batch by its own mean and variance.

    Args:
        x: the batch.
        scale: one factor for each feature. None means 1.
        bias: one summand for each feature. None means 0.
        epsilon: as in :class:`BatchNorm`.
        mask: the rows that count, or their weights: a row of weight 2 counts twice, and one of
            weight 0 or False is padding. Its axes are leading axes of ``x``, each of the same
            size or of size 1. None means that all rows count.
        axis_name: as in :class:`BatchNorm`.
        axis: as in :class:`BatchNorm`.

    Returns:
        The normalized batch, padding rows included, and the moments of each feature in float32
        or wider: mean, biased variance and weight. If no row counts, these three are 0.

    Examples:
        >>> x = jnp.array([[1.0, 3.0], [10.0, 30.0]])
        >>> batch_norm(x, axis=0)[1].mean.tolist()
        [2.0, 20.0]
    """
    checks.number("batch_norm", "epsilon", epsilon, "(0, inf)")
    features = _features("batch_norm", x, axis, axis_name)
    check_by_feature("batch_norm", features, scale=scale, bias=bias)
    seen = _batch_moments(x, mask, axis_name, axis)
    return normalize_by_moments(x, seen.mean, seen.var, scale, bias, epsilon, axis), seen


def normalize_by_moments(
    x: Float[Array, "*shape"],
    mean: Float[Array, "features"],
    var: Float[Array, "features"],
    scale: Float[Array, "features"] | None = None,
    bias: Float[Array, "features"] | None = None,
    epsilon: ScalarLike = 1e-5,
    axis: int = -1,
) -> Float[Array, "*shape"]:
    """Batch normalization by a given mean and variance, as in evaluation.

    The other arguments are those of :func:`batch_norm`.

    Examples:
        >>> x, mean, var = jnp.array([[3.0]]), jnp.array([1.0]), jnp.array([4.0])
        >>> round(normalize_by_moments(x, mean, var).item(), 3)
        1.0
    """
    owner = "normalize_by_moments"
    checks.number(owner, "epsilon", epsilon, "(0, inf)")
    checks.integer(owner, "axis", axis, f"[{-x.ndim}, {x.ndim})")
    check_by_feature(owner, x.shape[axis], mean=mean, var=var, scale=scale, bias=bias)
    return standardize(x, *_along(x, axis, mean, var, scale, bias), epsilon=epsilon)


def running_moments(
    past: tuple[Float[Array, "features"], Float[Array, "features"]],
    seen: Moments,
    momentum: ScalarLike,
) -> tuple[Float[Array, "features"], Float[Array, "features"]]:
    """The running mean and variance after a batch.

    Args:
        past: the running mean and variance before the batch.
        seen: the moments of the batch. If no row of it counts, nothing changes.
        momentum: weight of the past, in [0, 1].

    Examples:
        >>> past, (_, seen) = (jnp.zeros(1), jnp.ones(1)), batch_norm(jnp.array([[1.0], [3.0]]))
        >>> mean, var = running_moments(past, seen, momentum=0.5)
        >>> mean.tolist(), var.tolist()
        ([1.0], [1.0])
    """
    checks.number("running_moments", "momentum", momentum, "[0, 1]")
    mixed = tree.update_moment((seen.mean, seen.var), past, momentum, 1)
    return jax.tree.map(lambda new, old: jnp.where(seen.weight > 0, new, old), mixed, past)


class BatchNorm(nn.Module):
    """Batch normalization as a Flax layer, with the names of ``flax.linen.BatchNorm``.

    The collection ``"batch_stats"`` holds the running ``mean`` and ``var``. It must be mutable in
    training and does not change in evaluation, nor in training on a batch without a row that
    counts. If the collection ``"batch_moments"`` is mutable, the layer stores the moments of its
    input there, in training and in evaluation; :func:`recompute_batch_stats` reads them.

    An initializer is a function ``init(key, shape, dtype)``, such as ``initializers.normal(0.05)``.

    Attributes:
        momentum: weight of the old value in the running statistics, in [0, 1].
        epsilon: number added to the variance, in (0, inf).
        use_scale: whether to learn a factor for each feature.
        use_bias: whether to learn a summand for each feature.
        param_dtype: dtype of scale and bias. The statistics are in this dtype or in float32,
            whichever is wider.
        axis_name: the mapped axis that the batch is split over.
        axis: the axis of the features, in [-rank, rank); static.
        scale_init: initializer of the scale.
        bias_init: initializer of the bias.
        mean_init: initializer of the running mean.
        var_init: initializer of the running variance, whose values must be nonnegative.

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
    axis: int = -1
    scale_init: Initializer = nn.initializers.ones
    bias_init: Initializer = nn.initializers.zeros
    mean_init: Initializer = nn.initializers.zeros
    var_init: Initializer = nn.initializers.ones

    def __post_init__(self) -> None:
        checks.number("BatchNorm", "momentum", self.momentum, "[0, 1]")
        checks.number("BatchNorm", "epsilon", self.epsilon, "(0, inf)")
        checks.integer("BatchNorm", "axis", self.axis, "(-inf, inf)")
        for name in ("scale_init", "bias_init", "mean_init", "var_init"):
            checks.function("BatchNorm", name, getattr(self, name))
        super().__post_init__()

    @nn.compact
    def __call__(
        self, x: Float[Array, "*shape"], train: bool, mask: Mask | None = None
    ) -> Float[Array, "*shape"]:
        """Normalize by the statistics of the batch in training, by the running ones in evaluation.

        ``mask`` is that of :func:`batch_norm`; for images too it may be bool[batch].
        """
        features = _features("BatchNorm", x, self.axis, self.axis_name)
        starting = self.is_initializing()
        if not starting and not self.has_variable("batch_stats", "mean"):
            raise ValueError(
                f"BatchNorm at {'/'.join(self.path) or 'the top'}: the variables have no "
                "`batch_stats`. Apply to {'params': ..., 'batch_stats': ...}, both from `init`."
            )
        scale = learned(self, "scale", (features,), self.scale_init)
        bias = learned(self, "bias", (features,), self.bias_init)
        stats_dtype = numerics.wide_dtype(self.param_dtype)
        drawn = lambda init: init(self.make_rng("params"), (features,), stats_dtype)
        mean = self.variable("batch_stats", "mean", drawn, self.mean_init)
        var = self.variable("batch_stats", "var", drawn, self.var_init)
        check_by_feature("BatchNorm", features, mean=mean.value, var=var.value)
        past = (mean.value, var.value)
        recorded = not starting and self.is_mutable_collection("batch_moments")
        if train or recorded:
            axis_name = None if starting else self.axis_name  # `init` runs outside the mapped axis
            seen = _batch_moments(x, mask, axis_name, self.axis)
        if train and not starting:
            mean.value, var.value = running_moments(past, seen, self.momentum)
        if recorded:
            none = jax.tree.map(jnp.zeros_like, seen)
            self.sow("batch_moments", "seen", seen, init_fn=lambda: none, reduce_fn=merge_moments)
        center, spread = (seen.mean, seen.var) if train else past
        return normalize_by_moments(x, center, spread, scale, bias, self.epsilon, self.axis)


def _features(owner: str, x: Array, axis: int, axis_name: str | None) -> int:
    """The number of features; raise unless ``x`` is a batch and ``axis`` is one of its axes.

    One row is a batch only if a mapped axis holds the others.
    """
    alone = () if axis_name is None else ("features",)
    check_rank(owner, x, *alone, "batch, features", "batch, places, ...")
    checks.integer(owner, "axis", axis, f"[{-x.ndim}, {x.ndim})")
    return x.shape[axis]


def _batch_moments(x: Array, mask: Array | None, axis_name: str | None, axis: int) -> Moments:
    """The moments of each feature over the rows that count."""
    if mask is not None:
        pairs = zip(mask.shape, x.shape, strict=False)
        if mask.ndim > x.ndim or any(m not in (1, n) for m, n in pairs):
            raise ValueError(
                "batch_norm: `mask` must have the leading axes of the input, "
                f"{x.shape}, got shape {mask.shape}."
            )
        mask = jnp.reshape(mask, mask.shape + (1,) * (x.ndim - mask.ndim))
    others = tuple(i for i in range(x.ndim) if i != axis % x.ndim)
    return moments(x, others, mask, axis_name)


def _along(x: Array, axis: int, *by_feature: Array | None) -> list[Any]:
    """Arrays of one entry for each feature, shaped to broadcast along ``axis`` of ``x``."""
    behind = (1,) * (x.ndim - 1 - axis % x.ndim)
    return [None if part is None else part.reshape(part.shape + behind) for part in by_feature]


def recompute_batch_stats(
    module: nn.Module, variables: Mapping[str, Any], batches: Iterable[tuple[Any, Any]]
) -> dict[str, Any]:
    """Replace the running batch statistics by those of all ``batches`` taken together.

    Args:
        module: a model called as ``module(inputs, train=..., mask=...)`` in which every layer with
            ``batch_stats`` is a :class:`BatchNorm` of this package.
        variables: the variables of the model: ``params``, ``batch_stats`` and others.
        batches: pairs ``(inputs, mask)``. A mask of None counts every row and is not passed to the
            model. The batches are read once for every batch-norm layer.

    Returns:
        The variables with new ``batch_stats``, which stay as they were if no row counts.

    Raises:
        ValueError: if there is no batch, or a layer does not record its moments.

    Examples:
        >>> x, layer = jnp.array([[1.0], [2.0], [6.0]]), BatchNorm()
        >>> variables = layer.init(jax.random.key(0), x, train=True)
        >>> exact = recompute_batch_stats(layer, variables, [(x[:2], None), (x[2:], None)])
    """
    batches = list(batches)
    if not batches:
        raise ValueError("recompute_batch_stats: `batches` must hold at least one pair, got none.")
    if "batch_stats" not in variables:
        return dict(variables)

    @jax.jit
    def seen_in(variables: Any, inputs: Any, mask: Any) -> Any:
        given = {} if mask is None else {"mask": mask}
        _, state = module.apply(variables, inputs, train=False, mutable=["batch_moments"], **given)
        return flatten_dict(state.get("batch_moments", {}))

    stats = flatten_dict(variables["batch_stats"])
    for _ in {path[:-1] for path in stats}:  # a pass for each layer
        current = {**variables, "batch_stats": unflatten_dict(stats)}
        seen: dict[tuple[str, ...], Moments] = {}
        for inputs, mask in batches:
            for path, new in seen_in(current, inputs, mask).items():
                seen[path] = merge_moments(seen[path], new) if path in seen else new
        for (*layer, name), old in stats.items():
            if (*layer, "seen") not in seen:
                raise ValueError(
                    f"recompute_batch_stats: the layer at {'/'.join(layer)!r} does not "
                    "record its moments; it must be a jaxopt_course.nn.BatchNorm."
                )
            moments = seen[(*layer, "seen")]
            new = getattr(moments, name).astype(old.dtype)
            stats[(*layer, name)] = jnp.where(moments.weight > 0, new, old)
    return {**variables, "batch_stats": unflatten_dict(stats)}
