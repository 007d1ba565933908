"""Floor 1: initial weights. JAX's own where it has them, and a look-up by name.

An initializer is called as ``init(key, shape, dtype)``. With n_in and n_out the numbers of inputs
and outputs of a layer (of a convolution: times the size of its window), the variances are

    normal(stddev)      stddev^2
    fan_in_normal()     1 / n_in              keeps the variance of the outputs through depth
    fan_out_normal()    1 / n_out             keeps the variance of the gradients through depth
    glorot_normal()     2 / (n_in + n_out)    the compromise
    glorot_uniform()    2 / (n_in + n_out)    uniform within +-sqrt(6 / (n_in + n_out))
    he_normal()         2 / n_in              for ReLU, which silences half of its inputs
    he_uniform()        2 / n_in              uniform within +-sqrt(6 / n_in)

JAX cuts ``glorot_normal`` and ``he_normal`` off at two standard deviations and rescales them, so
that the variance is as stated; the fan normals here are not cut off. JAX's ``orthogonal`` fails in
half precision; the one here does not. Numbers such as ``stddev`` and ``scale`` may be traced.

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
    """N(0, 1) * sqrt(1 / n_in), not cut off: LeCun's rule.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> weights = fan_in_normal()(jax.random.key(0), (100, 50), jnp.float32)
        >>> bool(abs(100 * weights.var() - 1) < 0.1)
        True
    """
    return variance_scaling(1.0, "fan_in", "normal")


def fan_out_normal() -> Initializer:
    """N(0, 1) * sqrt(1 / n_out), not cut off."""
    return variance_scaling(1.0, "fan_out", "normal")


def orthogonal(scale: ScalarLike = 1.0, column_axis: int = -1) -> Initializer:
    """``scale`` times a uniformly random matrix with orthonormal columns, or rows if fewer.

    Args:
        scale: the singular values. It may be traced.
        column_axis: the axis of the outputs; the others are flattened into rows.

    Raises:
        ValueError: if ``scale`` is not finite; when called, if the shape has less than two axes.
    """
    checks.number("orthogonal", "scale", scale)
    init_wide = jax.nn.initializers.orthogonal(scale, column_axis)

    def init(key, shape, dtype=None, out_sharding=None):
        dtype = jnp.result_type(float if dtype is None else dtype)
        # The decomposition exists in float32 and float64 only.
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
    """The initializer called ``name``, ready to be called as ``init(key, shape, dtype)``.

    Args:
        name: a key of ``INITIALIZERS``: a function's name where it has no numbers to set,
            ``"standard_normal"`` for N(0, 1), ``"small_normal"`` for standard deviation 0.01.

    Raises:
        ValueError: if there is none of that name.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> initializer("zeros")(jax.random.key(0), (2,), jnp.float32).tolist()
        [0.0, 0.0]
    """
    checks.choice("initializer", "name", name, INITIALIZERS)
    return INITIALIZERS[name]
