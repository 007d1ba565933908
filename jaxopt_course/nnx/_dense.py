"""Two dense layers: DropConnect, which drops weights, and Maxout, the largest of several maps.

Formulas and references are those of the functions in :mod:`jaxopt_course.nn`.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, DTypeLike, Float, ScalarLike

from jaxopt_course.core import checks
from jaxopt_course.initializers import initializer
from jaxopt_course.nn import dense, drop_connect, maxout_dense

from ._hyperparameter import number, value_of


class DropConnect(nnx.Module):
    """A dense layer with dropped weights, and the parameters of ``flax.nnx.Linear``.

    The arguments that are not listed here are the fields of :class:`jaxopt_course.nn.DropConnect`.

    Args:
        inputs: number of inputs, in [1, inf).
        rngs: random streams of the model.

    Examples:
        >>> y = DropConnect(2, 3, rate=0.5, rngs=nnx.Rngs(0))(jnp.ones((4, 2)))
        >>> bool((y == y[:1]).all())  # all rows see the same weights
        True
    """

    def __init__(
        self,
        inputs: int,
        features: int,
        rate: ScalarLike,
        *,
        kernel_init: str = "glorot_uniform",
        param_dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ) -> None:
        checks.integers("DropConnect", "[1, inf)", inputs=inputs, features=features)
        init = initializer(kernel_init)
        self.rate = number("DropConnect", "rate", rate, "[0, 1)")
        self.deterministic = False
        self.kernel = nnx.Param(init(rngs.params(), (inputs, features), param_dtype))
        self.bias = nnx.Param(jnp.zeros(features, param_dtype))
        self.rngs = rngs["dropout"].fork()

    def __call__(self, x: Float[Array, "*batch inputs"]) -> Float[Array, "*batch features"]:
        """The affine map of ``x``, in training with some weights dropped."""
        kernel, bias = self.kernel[...], self.bias[...]
        if self.deterministic:
            return dense(x, kernel, bias)
        return drop_connect(self.rngs(), x, kernel, bias, value_of(self.rate))


class Maxout(nnx.Module):
    """Several affine maps and the :func:`~jaxopt_course.activations.maxout` of them.

    The arguments that are not listed here are the fields of :class:`jaxopt_course.nn.Maxout`.

    Args:
        inputs: number of inputs, in [1, inf).
        rngs: random streams of the model.

    Examples:
        >>> layer = Maxout(1, 1, pieces=2, rngs=nnx.Rngs(0))
        >>> layer.kernel[...] = jnp.array([[[1.0]], [[-1.0]]], "float32")
        >>> layer(jnp.array([[3.0], [-2.0]])).tolist()  # max(x, -x)
        [[3.0], [2.0]]
    """

    def __init__(
        self,
        inputs: int,
        features: int,
        pieces: int,
        *,
        kernel_init: str = "glorot_uniform",
        param_dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ) -> None:
        checks.integers("Maxout", "[1, inf)", inputs=inputs, features=features, pieces=pieces)
        init = initializer(kernel_init)
        keys = jax.random.split(rngs.params(), pieces)
        draw = lambda key: init(key, (inputs, features), param_dtype)
        self.kernel = nnx.Param(jax.vmap(draw)(keys))
        self.bias = nnx.Param(jnp.zeros((pieces, features), param_dtype))

    def __call__(self, x: Float[Array, "*batch inputs"]) -> Float[Array, "*batch features"]:
        """The largest of the affine maps of ``x``, unit by unit."""
        return maxout_dense(x, self.kernel[...], self.bias[...])
