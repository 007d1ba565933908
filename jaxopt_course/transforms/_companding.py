"""8-bit numbers with one scale per block: fine steps near 0, coarse steps near the largest.

With s the largest magnitude of a block and r = |x| / s,

    signed:    code = round(127 * 2 r / (1 + r)), 0 below 1, with the sign;  r = y / (2 - y)
    positive:  code = round(255 * r^(1/4)), at least 1 where x > 0;          r = y^4

where y is the code over its largest. A signed number has an error of at most s / 127. Signed
numbers below the smallest code become 0: rounding them up could double an update of Adam. Positive
numbers keep their order of magnitude down to s / 255^4 = 2.4e-10 s, and smaller ones are raised to
it: a second moment never becomes 0, so that no update is divided by 0.

Reference: Dettmers et al., "8-bit Optimizers via Block-wise Quantization", 2022,
https://arxiv.org/abs/2110.02861, for the blocks.
"""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, Int

from jaxopt_course.core import explicit_mesh, on_auto_axes, spec_of


TINY = float(jnp.finfo(jnp.float32).tiny)
SMALLEST = 0.999 / (254 - 0.999)  # r of the code 0.999, so that the code 1 survives rounding


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["codes", "scales"], meta_fields=["block"]
)
@dataclasses.dataclass(frozen=True)
class QuantizedArray:
    """An array in blocks of 8-bit numbers.

    codes: int8 (signed) or uint8 (positive), in the shape of the array.
    scales: the largest magnitude of each block, float32.
    block: number of entries, in the order of memory, that share a scale.
    """

    codes: Any
    scales: Any
    block: int


def decode_blocks(codes: Any, scales: Any) -> Float[Array, "*blocks n"]:
    """The numbers of codes [*blocks, n] with one scale per block, [*blocks]; int8 is signed."""
    scales = scales[..., None]
    if codes.dtype == jnp.int8:
        code = codes.astype(jnp.float32)
        return code / (254 - jnp.abs(code)) * scales
    y = codes.astype(jnp.float32) * (1 / 255)
    return jnp.where(codes > 0, jnp.maximum(jnp.square(jnp.square(y)) * scales, TINY), 0)


def encode_blocks(x: Float[Array, "*blocks n"], positive: bool) -> tuple[Array, Array]:
    """Codes [*blocks, n] and scales [*blocks] of float32 numbers."""
    scales = jnp.maximum(jnp.max(x if positive else jnp.abs(x), axis=-1), TINY)
    r = x * (1 / scales)[..., None]
    if not positive:
        y = 254 * r / (1 + jnp.abs(r))
        y = jnp.where(jnp.abs(r) < SMALLEST, 0, y)
        return _nearest(y).astype(jnp.int8), scales
    bits = jax.lax.bitcast_convert_type(x, jnp.int32)  # so that subnormal numbers count as positive
    y = _nearest(jnp.clip(255 * jnp.sqrt(jnp.sqrt(r)), 1, 255))
    return jnp.where(bits > 0, y, 0).astype(jnp.uint8), scales


def _nearest(y: Float[Array, "*shape"]) -> Int[Array, "*shape"]:
    """Integers whose lowest bits are those of ``y`` rounded, ties to even, for |y| < 2^22.

    Near 1.5 2^23 a float32 has no fractional digits. One addition is cheaper on a CPU than rounding
    and converting, which check for NaN and overflow.
    """
    return jax.lax.bitcast_convert_type(y + jnp.float32(1.5 * 2**23), jnp.int32)


def _scale_shape(shape: tuple[int, ...], block: int) -> tuple[int, ...]:
    """The shape of the scales: that of the array's leading axes if blocks fit into the others.

    An array that is sharded along a leading axis then has its scales on the same devices.
    """
    first, length = len(shape), 1
    while first > 0 and length < block:
        first -= 1
        length *= shape[first]
    if length % block == 0:
        return (*shape[:first], length // block)
    return (-(-math.prod(shape) // block),)


def _scale_spec(x: Float[Array, "*shape"], block: int) -> PartitionSpec:
    """The sharding of scales on an explicit mesh: that of ``x`` if devices hold whole blocks."""
    shape, mesh = _scale_shape(x.shape, block), explicit_mesh(x)
    if mesh is None or math.prod(shape) * block != x.size:
        return PartitionSpec()
    *first, last = (*spec_of(x), *[None] * x.ndim)[: len(shape)]
    names = last if isinstance(last, tuple) else (last,)
    devices = math.prod(mesh.shape[name] for name in names if name)
    return PartitionSpec(*first, last if shape[-1] % devices == 0 else None)


def encode(x: Float[Array, "*shape"], block: int, positive: bool) -> QuantizedArray:
    """``x``, float32, in blocks, of which the last may be short."""
    like = QuantizedArray(x, _scale_spec(x, block), block)
    return on_auto_axes(lambda x: _encoded(x, block, positive), x, like=like)


def _encoded(x: Float[Array, "*shape"], block: int, positive: bool) -> QuantizedArray:
    shape = _scale_shape(x.shape, block)
    missing = math.prod(shape) * block - x.size
    padded = jnp.pad(x.reshape(-1), (0, missing)) if missing else x
    codes, scales = encode_blocks(padded.reshape(*shape, block), positive)
    codes = codes.reshape(-1)[: x.size] if missing else codes
    return QuantizedArray(codes.reshape(x.shape), scales, block)


def encode_like(x: Any, old: Any) -> Any:
    """``x``, encoded if ``old`` is."""
    return encode(x, old.block, old.codes.dtype == jnp.uint8) if is_coded(old) else x


def is_coded(part: Any) -> bool:
    """Whether a part of a state is encoded."""
    return isinstance(part, QuantizedArray)


def decode(part: Any) -> Any:
    """A part of a state, in float32 if it is encoded."""
    return on_auto_axes(_decoded, part, like=part.codes) if is_coded(part) else part


def _decoded(array: QuantizedArray) -> Float[Array, "*shape"]:
    codes, scales, block = array.codes, array.scales, array.block
    missing = scales.size * block - codes.size
    padded = jnp.pad(codes.reshape(-1), (0, missing)) if missing else codes
    x = decode_blocks(padded.reshape(*scales.shape, block), scales)
    x = x.reshape(-1)[: codes.size] if missing else x
    return x.reshape(codes.shape)
