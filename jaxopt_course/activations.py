"""Activations, those of JAX where it has them, and a look-up by name.

    sigmoid     1 / (1 + exp(-x))
    tanh        (exp(x) - exp(-x)) / (exp(x) + exp(-x))
    relu        max(0, x)
    leaky_relu  x where x > 0, else negative_slope * x
    elu         x where x > 0, else alpha (exp(x) - 1)
    softplus    log(1 + exp(x))
    silu        x sigmoid(x)
    gelu        x P(N(0, 1) <= x)
    softmax     exp(x_k) / sum_j exp(x_j)
    maxout      max of several affine maps

The functions defined here convert their numbers to the dtype of ``x``, so that a traced float32
number does not promote it. ``gelu`` computes in float32, because its cube overflows in float16.

References: Clevert et al., 2016, https://arxiv.org/abs/1511.07289 (ELU); Hendrycks & Gimpel, 2016,
https://arxiv.org/abs/1606.08415 (GELU); Goodfellow et al., "Maxout Networks", 2013.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.nn import relu, sigmoid, silu, softmax, softplus, tanh
from jaxtyping import Array, Float, ScalarLike

from jaxopt_course.core import checks, numerics


__all__ = [
    "ACTIVATIONS",
    "activation",
    "elu",
    "gelu",
    "leaky_relu",
    "maxout",
    "relu",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "tanh",
]


def elu(x: Float[Array, "*shape"], alpha: ScalarLike = 1.0) -> Float[Array, "*shape"]:
    """Exponential linear unit: ``x`` where positive, else ``alpha * (exp(x) - 1)``."""
    checks.number("elu", "alpha", alpha)
    checks.array("elu", "x", x)
    return jax.nn.elu(x, jnp.asarray(alpha, x.dtype))


def leaky_relu(
    x: Float[Array, "*shape"], negative_slope: ScalarLike = 0.01
) -> Float[Array, "*shape"]:
    """``x`` where positive, else ``negative_slope * x``."""
    checks.number("leaky_relu", "negative_slope", negative_slope)
    checks.array("leaky_relu", "x", x)
    return jax.nn.leaky_relu(x, jnp.asarray(negative_slope, x.dtype))


def gelu(x: Float[Array, "*shape"], approximate: bool = True) -> Float[Array, "*shape"]:
    """``x`` times the probability that a standard normal number is smaller than ``x``.

    With ``approximate`` it uses tanh instead of the error function.
    """
    checks.flag("gelu", "approximate", approximate)
    checks.array("gelu", "x", x)
    return jax.nn.gelu(x.astype(numerics.wide_dtype(x.dtype)), approximate).astype(x.dtype)


def maxout(pieces: Float[Array, "..."], axis: int = -1) -> Float[Array, "..."]:
    """The maximum over ``axis`` of the values of several affine maps.

    Examples:
        >>> x = jnp.array([-2.0, 3.0])
        >>> maxout(jnp.stack([x, -x], axis=-1)).tolist()  # two pieces give |x|
        [2.0, 3.0]
    """
    return jnp.max(pieces, axis)


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "elu": elu,
    "gelu": gelu,
    "identity": jax.nn.identity,
    "leaky_relu": leaky_relu,
    "relu": relu,
    "sigmoid": sigmoid,
    "silu": silu,
    "softmax": softmax,
    "softplus": softplus,
    "tanh": tanh,
}


def activation(name: str) -> Callable[[Array], Array]:
    """The activation called ``name``, with its default arguments.

    Examples:
        >>> activation("relu")(jnp.array([-1.0, 2.0])).tolist()
        [0.0, 2.0]
    """
    checks.choice("activation", "name", name, ACTIVATIONS)
    return ACTIVATIONS[name]
