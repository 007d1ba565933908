"""Models for small problems: perceptron, convolutions, residuals, autoencoder, recurrence.

    MLP, CNN       hidden layers, then an affine map to the outputs
    ResidualMLP    h <- h + f(h), whose gradient is dL/dh = dL/dh' (1 + f')
    Autoencoder    code = encode(x), y = decode(code), trained to reproduce x
    GRU            r, z = sigmoid(W x + U h + b)    n = tanh(W_n x + b_n + r * (U_n h + c_n))
                   h <- (1 - z) * n + z * h         predicts each token from those before it

A product of many small factors f' vanishes; a product of factors 1 + f' does not. All fields can be
written to JSON: activations and initializers are given by name.

References: He et al., "Identity Mappings in Deep Residual Networks", ECCV 2016,
https://arxiv.org/abs/1603.05027 (the block, normalization first); Hinton & Salakhutdinov, "Reducing
the Dimensionality of Data with Neural Networks", Science 2006,
https://doi.org/10.1126/science.1127647; Cho et al., "Learning Phrase Representations using RNN
Encoder-Decoder", EMNLP 2014, https://arxiv.org/abs/1406.1078.
"""

import math
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, DTypeLike, Float, Int, Real, ScalarLike

from jaxopt_course.activations import activation
from jaxopt_course.core import checks
from jaxopt_course.initializers import initializer

from ._dropout import StochasticDepth
from ._hidden import (
    activated,
    check_model,
    convolution,
    dense,
    dropout_rates,
    hidden_layer,
    normalized,
)
from ._shared import as_tokens, check_rank
from ._transformer import Transformer


RowMask = Bool[Array, "batch"] | Float[Array, "batch"]


class MLP(nn.Module):
    """A multi-layer perceptron. Inputs of any shape are flattened.

    Attributes:
        outputs: number of outputs, in [1, inf). They are logits: the last layer has no activation.
        hidden: width of each hidden layer. An empty sequence makes a linear model.
        activation: name of the activation of the hidden layers.
        normalization: ``"batch"``, ``"layer"`` or None.
        normalization_position: ``"before"`` or ``"after"`` the activation.
        batch_momentum: weight of the old value in the running batch statistics, in [0, 1].
        dropout: probability to drop an entry, in [0, 1): one number, or one for each hidden layer.
            With None there is no dropout, and training needs no RNG stream ``"dropout"``.
        kernel_init: name of the initializer of all weights; biases start at 0.
        dtype: dtype of the computation. None means the dtype that inputs and parameters promote to.
        param_dtype: dtype of the parameters.

    Examples:
        >>> import jax
        >>> model, x = MLP(outputs=3, hidden=(8,), normalization="batch"), jnp.ones((4, 2))
        >>> variables = model.init(jax.random.key(0), x, train=False)
        >>> y, stats = model.apply(variables, x, train=True, mutable=["batch_stats"])
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
        dropout_rates(self, len(self.hidden))
        super().__post_init__()

    @nn.compact
    def __call__(
        self, x: Real[Array | np.ndarray, "batch ..."], train: bool, mask: RowMask | None = None
    ) -> Float[Array, "batch outputs"]:
        """The outputs for one input a row.

        In training, dropout is active and batch normalization uses the statistics of the rows
        that count by ``mask``, as in :func:`batch_norm`.
        """
        check_rank("MLP", x, "batch, ...")
        h = jnp.reshape(jnp.asarray(x), (x.shape[0], -1))
        for width, rate in zip(self.hidden, dropout_rates(self, len(self.hidden)), strict=True):
            h = hidden_layer(self, dense, width, rate, h, train, mask)
        return dense(self, self.outputs)(h)


class CNN(nn.Module):
    """Convolutions of 3 x 3, each followed by max pooling of 2 x 2, then dense layers.

    Normalization is per channel (``"batch"``) or over the channels (``"layer"``). If there is one
    dropout rate for each hidden layer, those of the convolutions come first. The fields that are
    not listed here are those of :class:`MLP`.

    Attributes:
        channels: number of channels of each convolution.
        dense: width of each hidden dense layer.

    Examples:
        >>> import jax
        >>> model, x = CNN(outputs=10, channels=(4,), dense=(16,)), jnp.ones((2, 8, 8))
        >>> y, variables = model.init_with_output(jax.random.key(0), x, train=False)
        >>> y.shape
        (2, 10)
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
        dropout_rates(self, len(self.channels) + len(self.dense))
        super().__post_init__()

    @nn.compact
    def __call__(
        self,
        x: Real[Array | np.ndarray, "batch height width *channels"],
        train: bool,
        mask: RowMask | None = None,
    ) -> Float[Array, "batch outputs"]:
        """The outputs for one image a row, with or without channels; see :class:`MLP`."""
        check_rank("CNN", x, "batch, height, width", "batch, height, width, channels")
        rates = dropout_rates(self, len(self.channels) + len(self.dense))
        h = jnp.reshape(jnp.asarray(x), (*x.shape[:3], -1))
        for width, rate in zip(self.channels, rates, strict=False):
            h = hidden_layer(self, convolution, width, rate, h, train, mask)
            h = nn.max_pool(h, (2, 2), strides=(2, 2), padding="SAME")
        h = jnp.reshape(h, (h.shape[0], -1))
        for width, rate in zip(self.dense, rates[len(self.channels) :], strict=True):
            h = hidden_layer(self, dense, width, rate, h, train, mask)
        return dense(self, self.outputs)(h)


class ResidualMLP(nn.Module):
    """Residual blocks of dense layers, after an affine map to ``width``.

    A block is [normalization], affine map, activation, affine map, and its output is added to its
    input. The last block is followed by the normalization and an affine map to the outputs. The
    fields that are not listed here are those of :class:`MLP`.

    Attributes:
        width: width of all blocks, in [1, inf).
        blocks: number of blocks, in [0, inf).
        stochastic_depth: probability that a row skips a block in training, in [0, 1). With None no
            row does, and training needs no RNG stream ``"dropout"``.

    Examples:
        >>> import jax
        >>> model, x = ResidualMLP(outputs=3, width=8, blocks=50), jnp.ones((4, 2))
        >>> y, variables = model.init_with_output(jax.random.key(0), x, train=False)
    """

    outputs: int
    width: int = 64
    blocks: int = 4
    activation: str = "relu"
    normalization: str | None = None
    batch_momentum: ScalarLike = 0.99
    stochastic_depth: ScalarLike | None = None
    kernel_init: str = "glorot_uniform"
    dtype: DTypeLike | None = None
    param_dtype: DTypeLike = jnp.float32

    def __post_init__(self) -> None:
        check_model(self, width=[self.width])
        checks.integer("ResidualMLP", "blocks", self.blocks, "[0, inf)")
        if self.stochastic_depth is not None:
            checks.number("ResidualMLP", "stochastic_depth", self.stochastic_depth, "[0, 1)")
        super().__post_init__()

    @nn.compact
    def __call__(
        self, x: Real[Array | np.ndarray, "batch ..."], train: bool, mask: RowMask | None = None
    ) -> Float[Array, "batch outputs"]:
        """The outputs for one input a row; see :class:`MLP`."""
        check_rank("ResidualMLP", x, "batch, ...")
        h = dense(self, self.width)(jnp.reshape(jnp.asarray(x), (x.shape[0], -1)))
        for _ in range(self.blocks):
            branch = dense(self, self.width)(normalized(self, h, train, mask))
            branch = dense(self, self.width)(activated(self, branch))
            if self.stochastic_depth is not None:
                branch = StochasticDepth(self.stochastic_depth)(branch, train)
            h = h + branch
            self.sow("intermediates", "hidden", h)
        return dense(self, self.outputs)(normalized(self, h, train, mask))


class Autoencoder(nn.Module):
    """Two MLPs, of which the second is the mirror image of the first.

    Attributes:
        code: number of entries of the code in the middle, in [1, inf).
        hidden: widths from the input to the code; the decoder has them in reverse order.
        activation: name of the activation of the hidden layers; the code has none.
        kernel_init: name of the initializer of all weights; biases start at 0.
        param_dtype: dtype of the parameters.

    Examples:
        >>> import jax
        >>> model, x = Autoencoder(code=2), jnp.ones((4, 5, 5))
        >>> y, variables = model.init_with_output(jax.random.key(0), x, train=False)
        >>> code = model.apply(variables, x, train=False, method="encode")
    """

    code: int
    hidden: Sequence[int] = (128, 64)
    activation: str = "tanh"
    kernel_init: str = "glorot_uniform"
    param_dtype: DTypeLike = jnp.float32

    def __post_init__(self) -> None:
        checks.integer("Autoencoder", "code", self.code, "[1, inf)")
        for width in self.hidden:
            checks.integer("Autoencoder", "hidden", width, "[1, inf)")
        activation(self.activation)
        initializer(self.kernel_init)
        super().__post_init__()

    @nn.compact
    def __call__(
        self, x: Real[Array | np.ndarray, "batch *shape"], train: bool, mask: RowMask | None = None
    ) -> Float[Array, "batch *shape"]:
        """The reconstruction of ``x``, which depends neither on ``train`` nor on ``mask``."""
        check_rank("Autoencoder", x, "batch, ...")
        decoder = self._network(math.prod(x.shape[1:]), tuple(self.hidden)[::-1], "decoder")
        return jnp.reshape(decoder(self.encode(x, train), train), x.shape)

    @nn.compact
    def encode(
        self, x: Real[Array | np.ndarray, "batch ..."], train: bool
    ) -> Float[Array, "batch code"]:
        """The code in the middle."""
        check_rank("Autoencoder", x, "batch, ...")
        return self._network(self.code, tuple(self.hidden), "encoder")(x, train)

    def _network(self, outputs: int, hidden: Sequence[int], name: str) -> MLP:
        names = ("activation", "kernel_init", "param_dtype")
        return MLP(outputs, hidden, name=name, **{field: getattr(self, field) for field in names})


class GRU(nn.Module):
    """An embedding, a gated recurrent unit and an affine map.

    Attributes:
        vocabulary: number of tokens, in [1, inf); those outside [0, vocabulary) are unknown.
        width: width of the embedding and of the state, in [1, inf).
        param_dtype: dtype of the parameters and of the computation.

    Examples:
        >>> import jax
        >>> model, tokens = GRU(vocabulary=5), jnp.array([[0, 3, 1]])
        >>> logits, variables = model.init_with_output(jax.random.key(0), tokens, train=False)
        >>> logits.shape
        (1, 3, 5)
    """

    vocabulary: int
    width: int = 64
    param_dtype: DTypeLike = jnp.float32

    def __post_init__(self) -> None:
        checks.integer("GRU", "vocabulary", self.vocabulary, "[1, inf)")
        checks.integer("GRU", "width", self.width, "[1, inf)")
        super().__post_init__()

    @nn.compact
    def __call__(
        self, tokens: Int[Array, "batch length"], train: bool
    ) -> Float[Array, "batch length vocabulary"]:
        """The logits of the token after each position; NaN after an unknown token."""
        tokens = as_tokens("GRU", tokens, self.vocabulary)
        dtypes: dict[str, Any] = {"dtype": self.param_dtype, "param_dtype": self.param_dtype}
        h = nn.Embed(self.vocabulary, self.width, **dtypes)(tokens)
        h = nn.RNN(nn.GRUCell(self.width, **dtypes))(h)
        return nn.Dense(self.vocabulary, **dtypes)(h)


MODELS: dict[str, type[nn.Module]] = {  # those that a saved configuration may name
    model.__name__: model for model in (Autoencoder, CNN, GRU, MLP, ResidualMLP, Transformer)
}
