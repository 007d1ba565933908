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

    Args:
        inputs: number of inputs, in [1, inf).
        features: number of units, in [1, inf).
        rate: probability to drop a weight, in [0, 1). Biases are never dropped.
        kernel_init: name of the initializer of the weights; biases start at 0.
        param_dtype: dtype of kernel and bias.
        rngs: random streams of the model.
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
        checks.integer("DropConnect", "inputs", inputs, "[1, inf)")
        checks.integer("DropConnect", "features", features, "[1, inf)")
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

    Args:
        inputs: number of inputs, in [1, inf).
        features: number of units, in [1, inf).
        pieces: number of affine maps of each unit, in [1, inf); 1 is a dense layer.
        kernel_init: name of the initializer of each matrix; biases start at 0.
        param_dtype: dtype of kernel and bias.
        rngs: random streams of the model.
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
        for name, size in (("inputs", inputs), ("features", features), ("pieces", pieces)):
            checks.integer("Maxout", name, size, "[1, inf)")
        init = initializer(kernel_init)
        keys = jax.random.split(rngs.params(), pieces)
        draw = lambda key: init(key, (inputs, features), param_dtype)
        self.kernel = nnx.Param(jax.vmap(draw)(keys))
        self.bias = nnx.Param(jnp.zeros((pieces, features), param_dtype))

    def __call__(self, x: Float[Array, "*batch inputs"]) -> Float[Array, "*batch features"]:
        """The largest of the affine maps of ``x``, unit by unit."""
        return maxout_dense(x, self.kernel[...], self.bias[...])
