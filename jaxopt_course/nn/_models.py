"""Two models for small problems: a multi-layer perceptron and a convolutional network.

A hidden layer is, in this order,

    affine map -> [normalization] -> activation -> [normalization] -> [dropout]

with at most one normalization. Just before a batch normalization the map has no bias: the batch
mean would take it away again, and its gradient would be pure rounding noise, which Adam blows up.
A normalization after the activation leaves the bias its meaning, and the map keeps it.

Every field can be written to JSON: activations and initializers are names.
"""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, DTypeLike, Float, Real, ScalarLike

from jaxopt_course.activations import activation
from jaxopt_course.core import checks
from jaxopt_course.initializers import initializer

from ._batch_norm import BatchNorm
from ._dropout import Dropout
from ._dtypes import promote_dtype
from ._layer_norm import LayerNorm
from ._shapes import check_rank


SATURATING = ("sigmoid", "tanh")  # activations that are flat on both sides


class MLP(nn.Module):
    """Dense layers.

    Attributes:
        outputs: how many numbers come out, in [1, inf). They are logits: no last activation.
        hidden: the width of each hidden layer; none makes a linear model.
        activation: the name of the activation of the hidden layers.
        normalization: None, ``"batch"`` or ``"layer"``.
        normalization_position: ``"before"`` or ``"after"`` the activation.
        batch_momentum: the weight of the past in the batch statistics, in [0, 1].
        dropout: the probability to drop an entry, in [0, 1): one number, or one for each hidden
            layer. None leaves dropout out, and training needs no RNG stream ``"dropout"``.
        kernel_init: the name of the initializer of all weights; biases start at 0.
        dtype: of the computation. None: what inputs and parameters promote to.
        param_dtype: of the parameters.

    Examples:
        >>> import jax
        >>> model = MLP(outputs=3, hidden=(8,), normalization="batch", dropout=0.5)
        >>> x = jnp.ones((4, 2))
        >>> variables = model.init(jax.random.key(0), x, train=False)
        >>> sorted(variables["params"])
        ['BatchNorm_0', 'Dense_0', 'Dense_1']
        >>> rngs = {"dropout": jax.random.key(1)}
        >>> y, stats = model.apply(variables, x, train=True, rngs=rngs, mutable=["batch_stats"])
        >>> y.shape
        (4, 3)
    """

    outputs: int
    hidden: Sequence[int] = (64, 64)
    activation: str = "relu"
    normalization: str | None = None
    normalization_position: str = "before"
    batch_momentum: ScalarLike = 0.99
    dropout: ScalarLike | Sequence[ScalarLike] | None = None
    kernel_init: str = "glorot_uniform"
    dtype: DTypeLike | None = None
    param_dtype: DTypeLike = jnp.float32

    def __post_init__(self) -> None:
        check_model(self, hidden=self.hidden)
        _check_layers(self, len(self.hidden))
        super().__post_init__()

    @nn.compact
    def __call__(
        self,
        x: Real[Array | np.ndarray, "batch ..."],
        train: bool,
        mask: Bool[Array, "batch"] | Float[Array, "batch"] | None = None,
    ) -> Float[Array, "batch outputs"]:
        """The outputs for inputs of any shape, taken as flat.

        Args:
            x: one input a row.
            train: whether dropout acts and batch normalization sees the batch alone.
            mask: which rows count in batch statistics; see :func:`batch_norm`.
        """
        check_rank("MLP", x, "batch, ...")
        h = jnp.reshape(jnp.asarray(x), (x.shape[0], -1))
        for width, rate in zip(self.hidden, _rates(self, len(self.hidden)), strict=True):
            h = _hidden(self, dense, width, rate, h, train, mask)
        return dense(self, self.outputs)(h)


class CNN(nn.Module):
    """Convolutions of 3 x 3, each followed by max pooling of 2 x 2, then dense layers.

    Attributes:
        outputs: how many numbers come out, in [1, inf). They are logits: no last activation.
        channels: how many channels each convolution gives.
        dense: the width of each hidden dense layer after them.
        activation: the name of the activation of the hidden layers.
        normalization: None, ``"batch"`` (per channel) or ``"layer"`` (over the channels).
        normalization_position: ``"before"`` or ``"after"`` the activation.
        batch_momentum: the weight of the past in the batch statistics, in [0, 1].
        dropout: the probability to drop an entry, in [0, 1): one number, or one for each hidden
            layer, convolutions first. None leaves dropout out, and training needs no RNG stream.
        kernel_init: the name of the initializer of all weights; biases start at 0.
        dtype: of the computation. None: what inputs and parameters promote to.
        param_dtype: of the parameters.
    """

    outputs: int
    channels: Sequence[int] = (16, 32)
    dense: Sequence[int] = (64,)
    activation: str = "relu"
    normalization: str | None = None
    normalization_position: str = "before"
    batch_momentum: ScalarLike = 0.99
    dropout: ScalarLike | Sequence[ScalarLike] | None = None
    kernel_init: str = "glorot_uniform"
    dtype: DTypeLike | None = None
    param_dtype: DTypeLike = jnp.float32

    def __post_init__(self) -> None:
        check_model(self, channels=self.channels, dense=self.dense)
        _check_layers(self, len(self.channels) + len(self.dense))
        super().__post_init__()

    @nn.compact
    def __call__(
        self,
        x: Real[Array | np.ndarray, "batch height width *channels"],
        train: bool,
        mask: Bool[Array, "batch"] | Float[Array, "batch"] | None = None,
    ) -> Float[Array, "batch outputs"]:
        """The outputs for images with or without an axis of channels.

        Args:
            x: one image a row.
            train: whether dropout acts and batch normalization sees the batch alone.
            mask: which rows count in batch statistics; see :func:`batch_norm`.
        """
        check_rank("CNN", x, "batch, height, width", "batch, height, width, channels")
        rates = _rates(self, len(self.channels) + len(self.dense))
        h = jnp.reshape(jnp.asarray(x), (*x.shape[:3], -1))
        for width, rate in zip(self.channels, rates, strict=False):
            h = _hidden(self, _convolution, width, rate, h, train, mask)
            h = nn.max_pool(h, (2, 2), strides=(2, 2), padding="SAME")
        h = jnp.reshape(h, (h.shape[0], -1))
        for width, rate in zip(self.dense, rates[len(self.channels) :], strict=True):
            h = _hidden(self, dense, width, rate, h, train, mask)
        return dense(self, self.outputs)(h)


def dense(model: Any, width: int, use_bias: bool = True) -> nn.Dense:
    """An affine map with the initializer and the dtypes of ``model``."""
    return nn.Dense(width, use_bias, **_fields(model))


def _convolution(model: Any, width: int, use_bias: bool) -> nn.Conv:
    return nn.Conv(width, kernel_size=(3, 3), use_bias=use_bias, **_fields(model))


def _fields(model: Any) -> dict[str, Any]:
    return {
        "kernel_init": initializer(model.kernel_init),
        "dtype": model.dtype,
        "param_dtype": model.param_dtype,
        "promote_dtype": promote_dtype,
    }


def _hidden(
    model: MLP | CNN,
    affine: Callable[[Any, int, bool], nn.Module],
    width: int,
    rate: ScalarLike | None,
    x: Array,
    train: bool,
    mask: Array | None,
) -> Array:
    """A hidden layer of ``model``, its submodules named there."""
    position = model.normalization and model.normalization_position
    x = affine(model, width, (model.normalization, position) != ("batch", "before"))(x)
    if position == "before":
        x = normalized(model, x, train, mask)
    x = activated(model, x)
    if position == "after":
        x = normalized(model, x, train, mask)
    model.sow("intermediates", "hidden", x)
    return x if rate is None else Dropout(rate)(x, train)


def activated(model: Any, x: Array) -> Array:
    """``x`` behind the activation that ``model`` names; the slope of one that saturates is sown.

    What is sown is a'(x) as a share of the largest slope that the activation has.
    """
    act = activation(model.activation)
    if model.activation in SATURATING and model.is_mutable_collection("intermediates"):
        slope = lambda x: jax.jvp(act, (x,), (jnp.ones_like(x),))[1]
        model.sow("intermediates", "slope", slope(x) / slope(jnp.zeros((), x.dtype)))
    return act(x)


def normalized(model: Any, x: Array, train: bool, mask: Array | None) -> Array:
    """``x`` behind the normalization that ``model`` names."""
    if model.normalization == "batch":
        norm = BatchNorm(model.batch_momentum, param_dtype=model.param_dtype)
        return norm(x, train, mask)
    return LayerNorm(param_dtype=model.param_dtype)(x) if model.normalization else x


def _rates(model: MLP | CNN, layers: int) -> list[ScalarLike | None]:
    """The dropout rate of each hidden layer, None where there is no dropout."""
    owner, dropout = type(model).__name__, model.dropout
    if dropout is None:
        return [None] * layers
    if not isinstance(dropout, Sequence):
        checks.number(owner, "dropout", dropout, "[0, 1)")
        return [dropout] * layers
    if len(dropout) != layers:
        raise ValueError(
            f"{owner}: `dropout` must be one number, or one for each of the {layers} hidden "
            f"layers, got {len(dropout)}."
        )
    for rate in dropout:
        checks.number(owner, "dropout", rate, "[0, 1)")
    return list(dropout)


def check_model(model: Any, **widths: Sequence[int]) -> None:
    """Refuse what no model takes: in its widths, names and numbers."""
    owner = type(model).__name__
    checks.integer(owner, "outputs", model.outputs, "[1, inf)")
    for name, values in widths.items():
        for value in values:
            checks.integer(owner, name, value, "[1, inf)")
    activation(model.activation)
    initializer(model.kernel_init)
    if model.normalization is not None:
        checks.choice(owner, "normalization", model.normalization, ("batch", "layer"))
    checks.number(owner, "batch_momentum", model.batch_momentum, "[0, 1]")


def _check_layers(model: MLP | CNN, layers: int) -> None:
    owner, positions = type(model).__name__, ("before", "after")
    checks.choice(owner, "normalization_position", model.normalization_position, positions)
    _rates(model, layers)
