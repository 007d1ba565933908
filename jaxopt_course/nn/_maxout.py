"""Maxout: a layer whose units are the largest of several affine maps.

    y_j = max_k (sum_i x_i W_kij + b_kj)

With two pieces a unit can be |z| or ReLU; with many, any convex function.

Reference: Goodfellow et al., "Maxout Networks", ICML 2013, https://arxiv.org/abs/1302.4389.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Float, Key

from jaxopt_course.activations import maxout
from jaxopt_course.core import checks
from jaxopt_course.initializers import initializer

from ._dtypes import promote_dtype
from ._shapes import check_rank


class Maxout(nn.Module):
    """Affine maps and :func:`~jaxopt_course.activations.maxout` of them, as a Flax layer.

    The parameters are ``kernel [pieces, inputs, features]`` and ``bias [pieces, features]``.

    Attributes:
        features: the number of units, in [1, inf).
        pieces: the number of affine maps a unit, in [1, inf); 1 is a dense layer.
        kernel_init: the name of the initializer of each piece's matrix.
        param_dtype: of kernel and bias.
    """

    features: int
    pieces: int
    kernel_init: str = "glorot_uniform"
    param_dtype: DTypeLike = jnp.float32

    def __post_init__(self) -> None:
        checks.integer("Maxout", "features", self.features, "[1, inf)")
        checks.integer("Maxout", "pieces", self.pieces, "[1, inf)")
        initializer(self.kernel_init)
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "*batch inputs"]) -> Float[Array, "*batch features"]:
        """The largest of the affine maps of ``x``, unit by unit."""
        check_rank("Maxout", x, "inputs", "batch, ...")

        def draw(key: Key[Array, ""]) -> Array:  # piece by piece: their fans are n_in and n_out
            shape, init = (x.shape[-1], self.features), initializer(self.kernel_init)
            keys = jax.random.split(key, self.pieces)
            return jax.vmap(lambda k: init(k, shape, self.param_dtype))(keys)

        kernel = self.param("kernel", draw)
        shape = (self.pieces, self.features)
        bias = self.param("bias", nn.initializers.zeros, shape, self.param_dtype)
        x, kernel, bias = promote_dtype(x, kernel, bias)
        maps = jnp.einsum("...i,kif->...kf", x, kernel)
        return maxout(maps + jnp.broadcast_to(bias, maps.shape), axis=-2)
