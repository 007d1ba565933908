"""Causal attention and rotary positions.

    attention   y_t = sum_s softmax_s(q_t . k_s / sqrt(d)) v_s           over positions s <= t
    rotary      (x_i, x_{i + d/2}) of position t turned by the angle t * 10000^(-2 i / d)

After the rotation the product of a query and a key depends on the distance of their positions only.

References: Vaswani et al., "Attention Is All You Need", NeurIPS 2017,
https://arxiv.org/abs/1706.03762; Su et al., "RoFormer: Enhanced Transformer with Rotary Position
Embedding", 2021, https://arxiv.org/abs/2104.09864, equation 34.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxopt_course.core import numerics


BASE = 10_000.0  # of the wavelengths, as in both papers


def rotary(x: Float[Array, "batch length heads size"]) -> Float[Array, "batch length heads size"]:
    """Rotate queries or keys by angles in proportion to their positions.

    The entries i and i + size/2 of a head form a pair; ``size`` is even.

    Examples:
        >>> x = jnp.ones((1, 3, 1, 2))
        >>> [round(float(first), 3) for first in rotary(x)[0, :, 0, 0]]  # cos t - sin t
        [1.0, -0.301, -1.325]
    """
    dtype, size = numerics.wide_dtype(x.dtype), x.shape[-1]
    if size % 2:
        raise ValueError(f"rotary: the size of a head must be even, got {size}.")
    turns = jnp.asarray(BASE, dtype) ** (-jnp.arange(0, size, 2, dtype=dtype) / size)
    angles = jnp.outer(jnp.arange(x.shape[1], dtype=dtype), turns)
    shape = (*x.shape[:-1], size // 2)
    cos, sin = (jnp.broadcast_to(f(angles)[:, None], shape) for f in (jnp.cos, jnp.sin))
    first, second = jnp.split(x.astype(dtype), 2, axis=-1)
    turned = first * cos - second * sin, second * cos + first * sin
    return jnp.concatenate(turned, axis=-1).astype(x.dtype)


def causal_attention(
    query: Float[Array, "batch length heads size"],
    key: Float[Array, "batch length heads size"],
    value: Float[Array, "batch length heads size"],
) -> Float[Array, "batch length heads size"]:
    """The attention of each position to those up to it, by ``jax.nn.dot_product_attention``.

    The softmax is computed in float32.

    Examples:
        >>> x = jnp.array([1.0, 3.0]).reshape(1, 2, 1, 1)
        >>> causal_attention(0 * x, x, x).ravel().tolist()  # a query of 0 attends evenly
        [1.0, 2.0]
    """
    with jax.numpy_dtype_promotion("standard"):  # it promotes float64 and bfloat16 with float32
        return jax.nn.dot_product_attention(query, key, value, is_causal=True)
