"""DropConnect: a dense layer whose weights, not units, are silenced while training.

    training     y = x (W * B / (1 - rate)) + b      B_ij one of 0 and 1, of mean 1 - rate
    evaluation   y = x W + b

All rows of a batch see the same weights. The paper evaluates by sampling from a normal
approximation of y; here, as with inverted dropout, the mean is taken.

Reference: Wan et al., "Regularization of Neural Networks using DropConnect", ICML 2013,
https://proceedings.mlr.press/v28/wan13.html.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Float, ScalarLike

from jaxopt_course.core import checks
from jaxopt_course.initializers import initializer

from ._dropout import dropout
from ._dtypes import promote_dtype
from ._shapes import check_rank


class DropConnect(nn.Module):
    """A dense layer with dropped weights; training draws from the RNG stream ``"dropout"``.

    The parameters are those of ``flax.linen.Dense``: ``kernel [inputs, features]``, ``bias``.

    Attributes:
        features: the number of units, in [1, inf).
        rate: the probability to silence a weight, in [0, 1). Biases are kept.
        kernel_init: the name of the initializer of the weights; biases start at 0.
        param_dtype: of kernel and bias.

    Examples:
        >>> import jax
        >>> x = jnp.ones((2, 3))
        >>> layer = DropConnect(features=4, rate=0.5)
        >>> variables = layer.init(jax.random.key(0), x, train=False)
        >>> y = layer.apply(variables, x, train=True, rngs={"dropout": jax.random.key(1)})
        >>> y.shape, bool((y[0] == y[1]).all())
        ((2, 4), True)
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
        """The affine map of ``x``, in training with some weights silenced."""
        check_rank("DropConnect", x, "inputs", "batch, ...")
        shape, start = (x.shape[-1], self.features), initializer(self.kernel_init)
        kernel = self.param("kernel", start, shape, self.param_dtype)
        bias = self.param("bias", nn.initializers.zeros, shape[-1:], self.param_dtype)
        if train:
            kernel = dropout(self.make_rng("dropout"), kernel, self.rate)
        x, kernel, bias = promote_dtype(x, kernel, bias)
        y = x @ kernel
        return y + jnp.broadcast_to(bias, y.shape)
