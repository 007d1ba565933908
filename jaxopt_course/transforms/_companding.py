"""Numbers of 8 or 4 bits with one scale per block: fine steps near 0, coarse ones near the largest.

With s the largest magnitude of a block and r = |x| / s, integers of 8 bits are

    signed:    code = round(127 * 2 r / (1 + r)), 0 below 1, with the sign;  r = y / (2 - y)
    positive:  code = round(255 * r^(1/4)), at least 1 where x > 0;          r = y^4

where y is the code over its largest. A signed number has an error of at most s / 127. Signed
numbers below the smallest code become 0: rounding them up could double an update of Adam. Positive
numbers keep their order of magnitude down to s / 255^4 = 2.4e-10 s, and smaller ones are raised to
it: a second moment never becomes 0, so that no update is divided by 0.

Floats of 8 bits are x / s times the largest of their dtype, rounded to nearest:

    signed:    float8_e4m3fn, relative error at most 1 / 16 down to 3.5e-5 s
    positive:  float8_e5m2, relative error at most 1 / 8 down to 1.1e-9 s, at least 2.7e-10 s where
               x > 0

Numbers of 4 bits are rounded to the nearest of 16 levels, times s:

    signed:    0, 1, and +-10^(e-2) times the centers of 2^e equal parts of [0.1, 1], e = 0, 1, 2
    positive:  1/16, 2/16, ..., 1

The smallest positive level is large on purpose: where a small second moment is rounded down, the
update is many times too large, and where it is rounded up, the update is too small.

References: Dettmers et al., "8-bit Optimizers via Block-wise Quantization", 2022,
https://arxiv.org/abs/2110.02861, for the blocks; Li et al., "Memory Efficient Optimizers with 4-bit
States", 2023, https://arxiv.org/abs/2309.01507, sections 3 and 4, for the levels, of which both
moments have blocks here (the paper also scales second moments by rows and columns).
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, Int, Shaped

from jaxopt_course.core import explicit_mesh, on_auto_axes, spec_of


TINY = float(jnp.finfo(jnp.float32).tiny)
LEVELS = {  # of 4 bits, by whether they are positive
    True: [n / 16 for n in range(1, 17)],
    False: sorted(
        [
            0.0,
            1.0,
            *(
                sign * 10.0 ** (e - 2) * (0.1 + 0.9 * (n + 0.5) / 2**e)
                for sign in (-1, 1)
                for e in range(3)
                for n in range(2**e)
            ),
        ]
    ),
}
FLOATS = {True: jnp.float8_e5m2, False: jnp.float8_e4m3fn}  # by whether they are positive
INTEGERS = {True: jnp.uint8, False: jnp.int8}
SMALLEST = 0.999 / (254 - 0.999)  # r of the code 0.999, so that the code 1 survives rounding


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["codes", "scales"], meta_fields=["block", "bits"]
)
@dataclasses.dataclass(frozen=True)
class QuantizedArray:
    """An array in blocks of 8-bit or 4-bit numbers.

    codes: int8 (signed) or uint8 (positive), or float8_e4m3fn (signed) or float8_e5m2 (positive),
        in the shape of the array. Two numbers of 4 bits that are neighbours along the last axis
        share a byte, the first one in its lower half.
    scales: the largest magnitude of each block, float32.
    block: number of entries, in the order of memory, that share a scale.
    bits: 8 or 4.
    """

    codes: Any
    scales: Any
    block: int
    bits: int = 8

    @property
    def decoded_shape(self) -> tuple[int, ...]:
        """The shape of the array."""
        shape: tuple[int, ...] = self.codes.shape
        return shape if self.bits == 8 else (*shape[:-1], 2 * shape[-1])

    def placed_by(self, rule: Callable[[tuple[int, ...]], Any]) -> "QuantizedArray":
        """The shardings of these arrays, given the ``rule`` from shapes to shardings.

        The codes lie where the array would, unless that splits a pair of them.
        """
        codes = rule(self.decoded_shape)
        try:
            codes.shard_shape(self.codes.shape)
        except ValueError:
            codes = rule(self.codes.shape)
        return dataclasses.replace(self, codes=codes, scales=rule(self.scales.shape))


def decode_blocks(codes: Any, scales: Any, dtype: Any, bits: int) -> Float[Array, "*blocks n"]:
    """The numbers of codes [*blocks, n] of this dtype with one scale per block, [*blocks]."""
    scales, positive = scales[..., None], _is_positive(dtype)
    if bits == 4:
        x = jnp.asarray(LEVELS[positive], jnp.float32)[codes] * scales
        return jnp.maximum(x, TINY) if positive else x
    code = codes.astype(jnp.float32)
    if _is_float(dtype):
        x = code / float(jnp.finfo(dtype).max) * scales
    elif positive:
        x = jnp.square(jnp.square(code * (1 / 255))) * scales
    else:
        x = code / (254 - jnp.abs(code)) * scales
    return jnp.where(code > 0, jnp.maximum(x, TINY), 0) if positive else x


def encode_blocks(
    x: Float[Array, "*blocks n"], dtype: Any, bits: int
) -> tuple[Shaped[Array, "*blocks n"], Float[Array, "*blocks"]]:
    """Codes [*blocks, n] to be cast to ``dtype``, and scales [*blocks] of float32 numbers.

    Only the lowest bits of integer codes count.
    """
    positive = _is_positive(dtype)
    scales = jnp.maximum(jnp.max(x if positive else jnp.abs(x), axis=-1), TINY)
    r = x * (1 / scales)[..., None]
    if bits == 4:
        halves = [(low + high) / 2 for low, high in itertools.pairwise(LEVELS[positive])]
        return sum((r >= half).astype(jnp.int32) for half in halves), scales
    if _is_float(dtype):
        info = jnp.finfo(dtype)
        y, least = r * float(info.max), float(info.smallest_subnormal)
    elif positive:
        y, least = _nearest(jnp.clip(255 * jnp.sqrt(jnp.sqrt(r)), 1, 255)), 1
    else:
        y = 254 * r / (1 + jnp.abs(r))
        return _nearest(jnp.where(jnp.abs(r) < SMALLEST, 0, y)), scales
    as_bits = jax.lax.bitcast_convert_type(x, jnp.int32)  # so that subnormal numbers are positive
    return (jnp.where(as_bits > 0, jnp.maximum(y, least), 0) if positive else y), scales


def _is_float(dtype: Any) -> bool:
    return jnp.dtype(dtype) in map(jnp.dtype, FLOATS.values())


def _is_positive(dtype: Any) -> bool:
    return jnp.dtype(dtype) in (jnp.dtype(FLOATS[True]), jnp.dtype(INTEGERS[True]))


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


def encode(x: Float[Array, "*shape"], block: int, dtype: Any, bits: int = 8) -> QuantizedArray:
    """``x``, float32, in blocks of codes of this dtype, of which the last may be short.

    Four bits become eight where a device does not hold whole pairs along the last axis.
    """
    codes, bits = (spec_of(x), bits) if bits == 8 or _has_pairs(x) else (spec_of(x), 8)
    like = QuantizedArray(codes, _scale_spec(x, block), block, bits)
    return on_auto_axes(lambda x: _encoded(x, block, dtype, bits), x, like=like)


def _has_pairs(x: Float[Array, "*shape"]) -> bool:
    """Whether each device holds an even number of entries along the last axis."""
    if not x.ndim:
        return False
    mesh, last = explicit_mesh(x), (*spec_of(x), *[None] * x.ndim)[x.ndim - 1]
    names = last if isinstance(last, tuple) else (last,)
    devices = math.prod(mesh.shape[name] for name in names if name) if mesh else 1
    return x.shape[-1] % (2 * devices) == 0


def _encoded(x: Float[Array, "*shape"], block: int, dtype: Any, bits: int) -> QuantizedArray:
    shape = _scale_shape(x.shape, block)
    missing = math.prod(shape) * block - x.size
    padded = jnp.pad(x.reshape(-1), (0, missing)) if missing else x
    codes, scales = encode_blocks(padded.reshape(*shape, block), dtype, bits)
    codes = codes.reshape(-1)[: x.size] if missing else codes
    codes = codes.reshape(x.shape)
    if bits == 4:
        pairs = codes.reshape(*x.shape[:-1], -1, 2)
        codes = pairs[..., 0] | (pairs[..., 1] << 4)
    return QuantizedArray(codes.astype(dtype), scales, block, bits)


def encode_like(x: Any, old: Any) -> Any:
    """``x``, encoded if ``old`` is."""
    return encode(x, old.block, old.codes.dtype, old.bits) if is_coded(old) else x


def is_coded(part: Any) -> bool:
    """Whether a part of a state is encoded."""
    return isinstance(part, QuantizedArray)


def decode(part: Any) -> Any:
    """A part of a state, in float32 if it is encoded."""
    return on_auto_axes(_decoded, part, like=part.codes) if is_coded(part) else part


def _decoded(array: QuantizedArray) -> Float[Array, "*shape"]:
    codes, scales, block = array.codes, array.scales, array.block
    if array.bits == 4:
        codes = codes.astype(jnp.int32)
        codes = jnp.stack([codes & 15, (codes >> 4) & 15], axis=-1).reshape(array.decoded_shape)
    missing = scales.size * block - codes.size
    padded = jnp.pad(codes.reshape(-1), (0, missing)) if missing else codes
    dtype = array.codes.dtype
    x = decode_blocks(padded.reshape(*scales.shape, block), scales, dtype, array.bits)
    x = x.reshape(-1)[: codes.size] if missing else x
    return x.reshape(array.decoded_shape)
