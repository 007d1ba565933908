"""An autoencoder: a network that gives back its input through a narrow middle.

    code = encode(x)        y = decode(code), to be like x

Reference: Hinton & Salakhutdinov, "Reducing the Dimensionality of Data with Neural Networks",
Science 2006, https://doi.org/10.1126/science.1127647.
"""

import math
from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, DTypeLike, Float, Real

from jaxopt_course.activations import activation
from jaxopt_course.core import checks
from jaxopt_course.initializers import initializer

from ._models import MLP
from ._shapes import check_rank


class Autoencoder(nn.Module):
    """Two MLPs, the second the mirror of the first.

    Attributes:
        code: how many numbers the middle holds, in [1, inf).
        hidden: the widths from the input to the middle; the way back has them in reverse.
        activation: the name of the activation of the hidden layers; the middle has none.
        kernel_init: the name of the initializer of all weights; biases start at 0.
        param_dtype: of the parameters.

    Examples:
        >>> import jax
        >>> model = Autoencoder(code=2, hidden=(8,))
        >>> x = jnp.ones((4, 5, 5))
        >>> variables = model.init(jax.random.key(0), x, train=False)
        >>> model.apply(variables, x, train=False).shape
        (4, 5, 5)
        >>> model.apply(variables, x, train=False, method="encode").shape
        (4, 2)
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
        self,
        x: Real[Array | np.ndarray, "batch *shape"],
        train: bool,
        mask: Bool[Array, "batch"] | Float[Array, "batch"] | None = None,
    ) -> Float[Array, "batch *shape"]:
        """What comes back of ``x``, in its shape. Neither ``train`` nor ``mask`` matter."""
        check_rank("Autoencoder", x, "batch, ...")
        decoder = self._network(math.prod(x.shape[1:]), tuple(self.hidden)[::-1], "decoder")
        return jnp.reshape(decoder(self.encode(x, train), train), x.shape)

    @nn.compact
    def encode(
        self, x: Real[Array | np.ndarray, "batch ..."], train: bool
    ) -> Float[Array, "batch code"]:
        """The middle layer."""
        check_rank("Autoencoder", x, "batch, ...")
        return self._network(self.code, tuple(self.hidden), "encoder")(x, train)

    def _network(self, outputs: int, hidden: Sequence[int], name: str) -> MLP:
        return MLP(
            outputs,
            hidden,
            activation=self.activation,
            kernel_init=self.kernel_init,
            param_dtype=self.param_dtype,
            name=name,
        )
