"""Models for small problems: a perceptron and a convolutional network.

    affine map -> [normalization] -> activation -> [normalization] -> [dropout]     hidden layer

They compute what the Linen models of these names compute, and draw their parameters from the same
distributions.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from flax.nnx.nn import dtypes
from jaxtyping import Array, Bool, Float, Real, ScalarLike

from jaxopt_course import nn
from jaxopt_course.activations import activation
from jaxopt_course.core import checks
from jaxopt_course.initializers import initializer

from ._dropout import Dropout
from ._normalization import BatchNorm, LayerNorm


RowMask = Bool[Array, "batch"] | Float[Array, "batch"]


class MLP(nnx.Module):
    """A multi-layer perceptron. Inputs of any shape are flattened.

    Args:
        inputs: number of entries of an input, in [1, inf).
        outputs: number of outputs, in [1, inf). They are logits: the last layer has no activation.
        hidden: width of each hidden layer. An empty sequence makes a linear model.
        rngs: random streams of the model.
        **options: the other fields of :class:`jaxopt_course.nn.MLP`: ``activation``,
            ``normalization``, ``normalization_position``, ``batch_momentum``, ``dropout``,
            ``kernel_init``, ``dtype`` and ``param_dtype``.

    Examples:
        >>> model = MLP(2, 3, hidden=(8,), normalization="batch", dropout=0.1, rngs=nnx.Rngs(0))
        >>> model(jnp.ones((4, 2))).shape
        (4, 3)
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        hidden: Sequence[int] = (64, 64),
        *,
        rngs: nnx.Rngs,
        **options: Any,
    ) -> None:
        fields = nn.MLP(outputs, hidden, **options)  # which checks them
        checks.integer("MLP", "inputs", inputs, "[1, inf)")
        self.inputs, widths = inputs, (inputs, *hidden)
        self.hidden = _hidden_layers(fields, _linear, widths, _rates(fields, len(hidden)), rngs)
        self.last = _linear(fields, widths[-1], outputs, True, rngs)

    def __call__(
        self, x: Real[Array | np.ndarray, "batch ..."], mask: RowMask | None = None
    ) -> Float[Array, "batch outputs"]:
        """The outputs for one input a row.

        ``mask`` selects the rows that count in batch normalization, as in
        :func:`~jaxopt_course.nn.batch_norm`.
        """
        if x.ndim == 0 or math.prod(x.shape[1:]) != self.inputs:
            rule = f"the number of entries in a row of the input must be `inputs` = {self.inputs}"
            raise ValueError(f"MLP: {rule}, got shape {x.shape}.")
        h = jnp.reshape(jnp.asarray(x), (x.shape[0], -1))
        for layer in self.hidden:
            h = layer(h, mask)
        return self.last(h)


class CNN(nnx.Module):
    """Convolutions of 3 x 3, each followed by max pooling of 2 x 2, then dense layers.

    The arguments that are not listed here are those of :class:`MLP`.

    Args:
        shape: height, width and number of channels of an image, each in [1, inf).
        channels: number of channels of each convolution.
        dense: width of each hidden dense layer.

    Examples:
        >>> model = CNN((8, 8, 1), 10, channels=(4,), dense=(16,), rngs=nnx.Rngs(0))
        >>> model(jnp.ones((2, 8, 8))).shape
        (2, 10)
    """

    def __init__(
        self,
        shape: Sequence[int],
        outputs: int,
        channels: Sequence[int] = (16, 32),
        dense: Sequence[int] = (64,),
        *,
        rngs: nnx.Rngs,
        **options: Any,
    ) -> None:
        fields = nn.CNN(outputs, channels, dense, **options)  # which checks them
        if len(shape) != 3:
            raise ValueError(f"CNN: `shape` must be (height, width, channels), got {shape!r}.")
        for size in shape:
            checks.integer("CNN", "shape", size, "[1, inf)")
        height, width, depth = self.shape = tuple(shape)
        rates = _rates(fields, len(channels) + len(dense))
        first, rest = rates[: len(channels)], rates[len(channels) :]
        self.convolutions = _hidden_layers(fields, _convolution, (depth, *channels), first, rngs)
        halved = lambda size: math.ceil(size / 2 ** len(channels))
        widths = (halved(height) * halved(width) * (depth, *channels)[-1], *dense)
        self.hidden = _hidden_layers(fields, _linear, widths, rest, rngs)
        self.last = _linear(fields, widths[-1], outputs, True, rngs)

    def __call__(
        self,
        x: Real[Array | np.ndarray, "batch height width *channels"],
        mask: RowMask | None = None,
    ) -> Float[Array, "batch outputs"]:
        """The outputs for one image a row; see :class:`MLP`.

        The last axis may be missing if there is one channel.
        """
        with_channels = (*x.shape, 1) if x.ndim == 3 else x.shape
        if with_channels[1:] != self.shape:
            raise ValueError(f"CNN: images must have `shape` = {self.shape}, got {x.shape[1:]}.")
        h = jnp.reshape(jnp.asarray(x), (*x.shape[:3], -1))
        for layer in self.convolutions:
            h = nnx.max_pool(layer(h, mask), (2, 2), strides=(2, 2), padding="SAME")
        h = jnp.reshape(h, (h.shape[0], -1))
        for layer in self.hidden:
            h = layer(h, mask)
        return self.last(h)


class _Hidden(nnx.Module):
    """A hidden layer of a model with these ``fields``."""

    def __init__(
        self,
        fields: Any,
        affine: Any,
        inputs: int,
        width: int,
        rate: ScalarLike | None,
        rngs: nnx.Rngs,
    ) -> None:
        self.activation = fields.activation
        self.position = fields.normalization and fields.normalization_position
        # A batch normalization directly after it would subtract a bias.
        use_bias = (fields.normalization, self.position) != ("batch", "before")
        self.affine = affine(fields, inputs, width, use_bias, rngs)
        self.norm: Any = _norm(fields, width)
        self.dropout = None if rate is None else Dropout(rate, rngs=rngs)

    def __call__(self, x: Array, mask: Array | None) -> Array:
        x = self.affine(x)
        x = self._normalized(x, mask) if self.position == "before" else x
        x = activation(self.activation)(x)
        x = self._normalized(x, mask) if self.position == "after" else x
        return x if self.dropout is None else self.dropout(x)

    def _normalized(self, x: Array, mask: Array | None) -> Array:
        return self.norm(x, mask) if isinstance(self.norm, BatchNorm) else self.norm(x)


def _hidden_layers(
    fields: Any,
    affine: Any,
    widths: Sequence[int],
    rates: Sequence[ScalarLike | None],
    rngs: nnx.Rngs,
) -> Any:
    """One hidden layer from each of ``widths`` to the next, with the dropout rates of these."""
    sizes = zip(itertools.pairwise(widths), rates, strict=True)
    return nnx.List(
        _Hidden(fields, affine, before, after, rate, rngs) for (before, after), rate in sizes
    )


def _norm(fields: Any, width: int) -> BatchNorm | LayerNorm | None:
    if fields.normalization == "batch":
        return BatchNorm(width, momentum=fields.batch_momentum, param_dtype=fields.param_dtype)
    return LayerNorm(width, param_dtype=fields.param_dtype) if fields.normalization else None


def _linear(fields: Any, inputs: int, width: int, use_bias: bool, rngs: nnx.Rngs) -> nnx.Linear:
    return nnx.Linear(inputs, width, use_bias=use_bias, rngs=rngs, **_options(fields))


def _convolution(fields: Any, inputs: int, width: int, use_bias: bool, rngs: nnx.Rngs) -> nnx.Conv:
    return nnx.Conv(inputs, width, (3, 3), use_bias=use_bias, rngs=rngs, **_options(fields))


def _options(fields: Any) -> dict[str, Any]:
    options = {"kernel_init": initializer(fields.kernel_init), "promote_dtype": promote_dtype}
    return options | {"dtype": fields.dtype, "param_dtype": fields.param_dtype}


def _rates(fields: Any, layers: int) -> list[ScalarLike | None]:
    """The dropout rate of each hidden layer."""
    rates = fields.dropout
    return list(rates) if isinstance(rates, Sequence) else [rates] * layers


def promote_dtype(arrays: Any, /, *, dtype: Any = None, inexact: bool = True) -> Any:
    """Flax's function of this name, which also works while jax's own promotion is strict."""
    with jax.numpy_dtype_promotion("standard"):
        return dtypes.promote_dtype(arrays, dtype=dtype, inexact=inexact)
