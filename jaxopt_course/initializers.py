"""Initializers of weights, those of JAX where it has them, and a look-up by name.

An initializer is called as ``init(key, shape, dtype)``. With n_in and n_out the numbers of inputs
and outputs of a layer (for a convolution, times the size of its window), the variances are

    normal(stddev)      stddev^2
    fan_in_normal()     1 / n_in              keeps the variance of the outputs through depth
    fan_out_normal()    1 / n_out             keeps the variance of the gradients through depth
    glorot_normal()     2 / (n_in + n_out)    a compromise between both
    glorot_uniform()    2 / (n_in + n_out)    uniform within +-sqrt(6 / (n_in + n_out))
    he_normal()         2 / n_in              for ReLU, which is 0 for half of its inputs
    he_uniform()        2 / n_in              uniform within +-sqrt(6 / n_in)

``glorot_normal`` and ``he_normal`` are truncated at two standard deviations and rescaled to the
stated variance, as those of Flax and Keras. The course's Glorot initializer is a plain normal:
``variance_scaling(1.0, "fan_avg", "normal")``. ``normal`` and the fan normals are not truncated
either. ``orthogonal`` of JAX fails in half precision, which the one here supports. Numbers such as
``stddev`` and ``scale`` may be traced.

References: Glorot & Bengio, 2010, https://proceedings.mlr.press/v9/glorot10a.html; He et al.,
2015, https://arxiv.org/abs/1502.01852; Saxe et al., 2014, https://arxiv.org/abs/1312.6120
(orthogonal).
"""

import jax
import jax.numpy as jnp
from jax.nn.initializers import (
    Initializer,
    constant,
    glorot_normal,
    glorot_uniform,
    he_normal,
    he_uniform,
    normal,
    variance_scaling,
    zeros,
)
from jaxtyping import ScalarLike

from jaxopt_course.core import checks, numerics


__all__ = [
    "INITIALIZERS",
    "constant",
    "fan_in_normal",
    "fan_out_normal",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "initializer",
    "normal",
    "orthogonal",
    "variance_scaling",
    "zeros",
]


def fan_in_normal() -> Initializer:
    """N(0, 1) * sqrt(1 / n_in), not truncated: LeCun's rule."""
    return variance_scaling(1.0, "fan_in", "normal")


def fan_out_normal() -> Initializer:
    """N(0, 1) * sqrt(1 / n_out), not truncated."""
    return variance_scaling(1.0, "fan_out", "normal")


def orthogonal(scale: ScalarLike = 1.0, column_axis: int = -1) -> Initializer:
    """``scale`` times a uniformly random matrix with orthonormal columns (or rows, if fewer).

    Args:
        scale: the singular values. It may be traced.
        column_axis: the axis of the outputs; the other axes are flattened into rows.
    """
    checks.number("orthogonal", "scale", scale)
    init_wide = jax.nn.initializers.orthogonal(scale, column_axis)

    def init(key, shape, dtype=None, out_sharding=None):
        dtype = jnp.result_type(float if dtype is None else dtype)
        # The decomposition exists only in float32 and float64.
        return init_wide(key, shape, numerics.wide_dtype(dtype), out_sharding).astype(dtype)

    return init


INITIALIZERS: dict[str, Initializer] = {
    "fan_in_normal": fan_in_normal(),
    "fan_out_normal": fan_out_normal(),
    "glorot_normal": glorot_normal(),
    "glorot_uniform": glorot_uniform(),
    "he_normal": he_normal(),
    "he_uniform": he_uniform(),
    "orthogonal": orthogonal(),
    "small_normal": normal(0.01),
    "standard_normal": normal(1.0),
    "zeros": zeros,
}


def initializer(name: str = "glorot_uniform") -> Initializer:
    """The initializer called ``name``, to be called as ``init(key, shape, dtype)``.

    Args:
        name: a key of ``INITIALIZERS``: the name of a function without numbers to set,
            ``"standard_normal"`` for N(0, 1), or ``"small_normal"`` for standard deviation 0.01.

    Examples:
        >>> initializer("zeros")(jax.random.key(0), (2,), jnp.float32).tolist()
        [0.0, 0.0]
    """
    checks.choice("initializer", "name", name, INITIALIZERS)
    return INITIALIZERS[name]
