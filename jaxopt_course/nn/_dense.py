"""Two dense layers: DropConnect, which drops weights, and Maxout, the largest of several maps.

    DropConnect   training     y = x (W * B / (1 - rate)) + b      B_ij 0 or 1, of mean 1 - rate
                  evaluation   y = x W + b
    Maxout        y_j = max_k (sum_i x_i W_kij + b_kj)

In DropConnect all rows of a batch see the same weights. The paper evaluates by sampling from a
normal approximation of y; this layer uses the mean, as inverted dropout does. A Maxout unit with
two pieces can be |z| or ReLU; with many pieces it approximates any convex function.

References: Wan et al., "Regularization of Neural Networks using DropConnect", ICML 2013,
https://proceedings.mlr.press/v28/wan13.html; Goodfellow et al., "Maxout Networks", ICML 2013,
https://arxiv.org/abs/1302.4389.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Float, Key, ScalarLike

from jaxopt_course.activations import maxout
from jaxopt_course.core import checks
from jaxopt_course.initializers import initializer

from ._dropout import dropout
from ._shared import check_rank, promote_dtype


def dense(
    x: Float[Array, "*batch inputs"],
    kernel: Float[Array, "inputs features"],
    bias: Float[Array, "features"],
) -> Float[Array, "*batch features"]:
    """The affine map x W + b, in the dtype that the three arrays promote to.

    Examples:
        >>> dense(jnp.array([1.0, 2.0]), jnp.ones((2, 1)), jnp.array([0.5])).tolist()
        [3.5]
    """
    x, kernel, bias = promote_dtype(x, kernel, bias)
    y = x @ kernel
    return y + jnp.broadcast_to(bias, y.shape)


def drop_connect(
    key: Key[Array, ""],
    x: Float[Array, "*batch inputs"],
    kernel: Float[Array, "inputs features"],
    bias: Float[Array, "features"],
    rate: ScalarLike,
) -> Float[Array, "*batch features"]:
    """:func:`dense` with :func:`dropout` of the kernel; all rows of ``x`` see the same weights.

    Examples:
        >>> x, kernel, bias = jnp.eye(8), jnp.ones((8, 1)), jnp.zeros(1)
        >>> sorted(set(drop_connect(jax.random.key(0), x, kernel, bias, 0.5).ravel().tolist()))
        [0.0, 2.0]
    """
    return dense(x, dropout(key, kernel, rate), bias)


def maxout_dense(
    x: Float[Array, "*batch inputs"],
    kernel: Float[Array, "pieces inputs features"],
    bias: Float[Array, "pieces features"],
) -> Float[Array, "*batch features"]:
    """The largest of several affine maps, unit by unit.

    Examples:
        >>> kernel, bias = jnp.array([[[1.0]], [[-1.0]]]), jnp.zeros((2, 1))
        >>> maxout_dense(jnp.array([[3.0], [-2.0]]), kernel, bias).tolist()  # max(x, -x)
        [[3.0], [2.0]]
    """
    x, kernel, bias = promote_dtype(x, kernel, bias)
    maps = jnp.einsum("...i,kif->...kf", x, kernel)
    return maxout(maps + jnp.broadcast_to(bias, maps.shape), axis=-2)


class DropConnect(nn.Module):
    """A dense layer with dropped weights. Training draws from the RNG stream ``"dropout"``.

    The parameters are those of ``flax.linen.Dense``: ``kernel [inputs, features]`` and ``bias``.

    Attributes:
        features: number of units, in [1, inf).
        rate: probability to drop a weight, in [0, 1). Biases are never dropped.
        kernel_init: name of the initializer of the weights; biases start at 0.
        param_dtype: dtype of kernel and bias.

    Examples:
        >>> layer, x = DropConnect(features=3, rate=0.5), jnp.ones((4, 2))
        >>> variables = layer.init(jax.random.key(0), x, train=False)
        >>> y = layer.apply(variables, x, train=True, rngs={"dropout": jax.random.key(1)})
        >>> bool((y == y[:1]).all())  # all rows see the same weights
        True
    """

    features: int
    rate: ScalarLike
    kernel_init: str = "glorot_uniform"
    param_dtype: DTypeLike = jnp.float32

    def __post_init__(self) -> None:
        checks.integer("DropConnect", "features", self.features, "[1, inf)")
        checks.number("DropConnect", "rate", self.rate, "[0, 1)")
        initializer(self.kernel_init)
        super().__post_init__()

    @nn.compact
    def __call__(
        self, x: Float[Array, "*batch inputs"], train: bool
    ) -> Float[Array, "*batch features"]:
        """The affine map of ``x``, in training with some weights dropped."""
        check_rank("DropConnect", x, "inputs", "batch, ...")
        shape, init = (x.shape[-1], self.features), initializer(self.kernel_init)
        kernel = self.param("kernel", init, shape, self.param_dtype)
        bias = self.param("bias", nn.initializers.zeros, shape[-1:], self.param_dtype)
        if train:
            return drop_connect(self.make_rng("dropout"), x, kernel, bias, self.rate)
        return dense(x, kernel, bias)


class Maxout(nn.Module):
    """Several affine maps and the :func:`~jaxopt_course.activations.maxout` of them.

    The parameters are ``kernel [pieces, inputs, features]`` and ``bias [pieces, features]``.

    Attributes:
        features: number of units, in [1, inf).
        pieces: number of affine maps of each unit, in [1, inf); 1 is a dense layer.
        kernel_init: name of the initializer of each matrix; biases start at 0.
        param_dtype: dtype of kernel and bias.

    Examples:
        >>> layer, x = Maxout(features=3, pieces=2), jnp.ones((4, 5))
        >>> y, variables = layer.init_with_output(jax.random.key(0), x)
        >>> y.shape, variables["params"]["kernel"].shape
        ((4, 3), (2, 5, 3))
    """

    features: int
    pieces: int
    kernel_init: str = "glorot_uniform"
    param_dtype: DTypeLike = jnp.float32

    def __post_init__(self) -> None:
        checks.integers("Maxout", "[1, inf)", features=self.features, pieces=self.pieces)
        initializer(self.kernel_init)
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "*batch inputs"]) -> Float[Array, "*batch features"]:
        """The largest of the affine maps of ``x``, unit by unit."""
        check_rank("Maxout", x, "inputs", "batch, ...")

        def draw(key: Key[Array, ""]) -> Array:  # each piece alone: its fans are n_in and n_out
            shape, init = (x.shape[-1], self.features), initializer(self.kernel_init)
            keys = jax.random.split(key, self.pieces)
            return jax.vmap(lambda k: init(k, shape, self.param_dtype))(keys)

        kernel = self.param("kernel", draw)
        shape = (self.pieces, self.features)
        bias = self.param("bias", nn.initializers.zeros, shape, self.param_dtype)
        return maxout_dense(x, kernel, bias)
