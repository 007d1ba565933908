"""Numerics that stay finite and exact. Each function names the defect that it prevents."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, DTypeLike, Float, Inexact, Int, Real, ScalarLike

from ._protocols import ScalarOrSchedule


def wide_dtype(dtype: DTypeLike) -> Any:
    """``dtype``, but at least float32; for integers a float dtype.

    Prevents sums that stall: in bfloat16 the decay 0.999 rounds to 1, and a running mean of unit
    gradients never exceeds 0.5.
    """
    return jax.dtypes.canonicalize_dtype(np.promote_types(dtype, jnp.float32))


def as_float(value: Any) -> Float[Array, "*shape"]:
    """``value`` in the default float dtype: float64 under x64, else float32.

    Prevents the type error of integer counts combined with floats under strict promotion.
    """
    return jnp.asarray(value, jnp.result_type(float))


def alike(*numbers: Any) -> list[Real[Array, "..."]]:
    """``numbers`` in one dtype: integer if all of them are whole, else the default float.

    Prevents counts above 2^24 from being rounded to float32. Integers, integer arrays and Python
    floats without a fraction are whole. A Python number too large for integer dtypes makes all of
    them floats.
    """
    whole = [int(x) if isinstance(x, float) and x.is_integer() else x for x in numbers]
    bare = [x for x in whole if isinstance(x, int | np.integer)]
    dtypes = [jnp.result_type(x) for x in whole if not isinstance(x, int | np.integer)]
    if not all(jnp.issubdtype(dtype, jnp.integer) for dtype in dtypes):
        return [as_float(x) for x in numbers]
    default = jnp.result_type(int)
    dtype = functools.reduce(np.promote_types, dtypes, np.dtype(np.int32)) if dtypes else default
    dtype = jax.dtypes.canonicalize_dtype(dtype)
    largest = max((abs(int(x)) for x in bare), default=0)
    dtype = dtype if largest <= jnp.iinfo(dtype).max else default
    if largest > jnp.iinfo(dtype).max:
        return [as_float(x) for x in numbers]
    return [jnp.asarray(x, dtype) for x in whole]


def abs_sq(x: Inexact[Array, "*shape"]) -> Float[Array, "*shape"]:
    """``|x|^2``, which is real for complex ``x`` too.

    Prevents complex squares, whose running mean is not a second moment.
    """
    if jnp.iscomplexobj(x):
        return jnp.square(x.real) + jnp.square(x.imag)
    return jnp.square(x)


def complement(decay: ScalarLike, dtype: DTypeLike) -> Inexact[Array, ""]:
    """``1 - decay``, computed before rounding if ``decay`` is a Python number.

    Prevents the relative error of 2e-4 of ``1 - float32(0.99999)``.
    """
    if isinstance(decay, int | float):
        return jnp.asarray(1 - decay, dtype)
    return 1 - jnp.asarray(decay, dtype)


def at_count(rate: ScalarOrSchedule, count: Int[Array, ""]) -> Any:
    """The rate itself, or the value of a schedule at ``count``."""
    return rate(count) if callable(rate) else rate


def of_rates(f: Callable[..., Any], *rates: Any) -> Any:
    """``f(*rates)``, or the schedule of its values if one of the rates is a schedule."""
    if not any(callable(rate) for rate in rates):
        return f(*rates)
    return lambda count: f(*(at_count(rate, count) for rate in rates))


def one_minus_power(
    decay: ScalarLike, count: Int[Array, ""], dtype: DTypeLike
) -> Inexact[Array, ""]:
    """``1 - decay ** count`` as ``-expm1(count * log(decay))``, for decays in [0, 1).

    Prevents the cancellation of a power close to 1, and the infinite logarithm of a decay of 0.
    """
    real = jnp.finfo(dtype).dtype  # that of the parts, where ``dtype`` is complex
    smallest = float(jnp.finfo(dtype).tiny)
    if isinstance(decay, int | float):
        log = jnp.asarray(math.log(max(decay, smallest)), real)
    else:
        log = jnp.log(jnp.maximum(jnp.asarray(decay, real), jnp.asarray(smallest, real)))
    return -jnp.expm1(count.astype(real) * log).astype(dtype)


@jax.custom_jvp
def safe_sqrt(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """The square root, with derivative 0 at 0.

    Prevents NaN meta-gradients: the true derivative at 0 is infinite, and is multiplied by 0.
    """
    return jnp.sqrt(x)


@safe_sqrt.defjvp
def _safe_sqrt_jvp(primals, tangents):  # type: ignore[no-untyped-def]
    (x,), (dx,) = primals, tangents
    root = safe_sqrt(x)
    positive = x > 0
    slope = jnp.where(positive, 0.5 / jnp.where(positive, root, jnp.ones_like(root)), 0)
    return root, slope * dx


def magnitude(x: Inexact[Array, "*shape"]) -> Float[Array, "*shape"]:
    """|x|, with derivative 0 at 0, where that of ``jnp.abs`` is 1."""
    return safe_sqrt(abs_sq(x)) if jnp.iscomplexobj(x) else x * jnp.sign(x)


def safe_divide(
    numerator: Inexact[Array, "*shape"], denominator: Inexact[Array, "*shape"]
) -> Inexact[Array, "*shape"]:
    """``numerator / denominator``, and 0 where the denominator is 0.

    Prevents 0 / 0 before the first nonzero gradient if the caller chose ``eps = 0``.
    """
    nonzero = denominator != 0
    return jnp.where(nonzero, numerator / jnp.where(nonzero, denominator, 1), 0)


def power_of_two(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """A power of two near ``x >= 0``, by which to divide without rounding.

    Prevents infinite squares, and quotients that are 0: XLA divides by a large number by
    multiplying with its inverse, and flushes subnormal numbers to 0. Neither the power nor its
    inverse is infinite or subnormal.
    """
    limits = jnp.finfo(x.dtype)
    power = jax.lax.reduce_precision(x, limits.nexp, 0)
    return jnp.clip(power, float(limits.tiny), 1 / float(limits.tiny))


def safe_increment(count: Int[Array, ""]) -> Int[Array, ""]:
    """``count + 1``, or ``count`` if it is the largest integer of its dtype.

    Prevents the wrap-around to negative counts, which would make bias corrections NaN.
    """
    return jnp.minimum(count, jnp.iinfo(count.dtype).max - 1) + 1


def is_due(count: Int[Array, ""], interval: ScalarLike) -> Bool[Array, ""]:
    """Whether ``count`` is a multiple of ``interval``, rounded to an integer of at least 1.

    Prevents an event that never happens because a vmapped interval is 9.999.
    """
    now, every = alike(count, interval)
    if not jnp.issubdtype(every.dtype, jnp.integer):
        most = _most(count, every)
        now, every = count, jnp.rint(jnp.minimum(every, most)).astype(count.dtype)
    return now % jnp.maximum(every, 1) == 0


def has_reached(count: Int[Array, ""], bound: ScalarLike) -> Bool[Array, ""]:
    """``count >= bound``, compared as integers.

    Prevents counts above 2^24 from being rounded to float32. A bound between two integers is
    reached at the larger one; NaN and bounds beyond the count's dtype are never reached.
    """
    now, least = alike(count, bound)
    if jnp.issubdtype(least.dtype, jnp.integer):
        return now >= least
    most = _most(count, least)
    return (least <= most) & (count >= jnp.ceil(jnp.minimum(least, most)).astype(count.dtype))


def _most(count: Array, number: Array) -> Any:
    """The largest float that the count's dtype holds: 2^31 - 128 for float32 and int32."""
    kind = number.dtype.type
    return np.nextafter(kind(jnp.iinfo(count.dtype).max), kind(0))


def in_dtype(value: ScalarLike) -> Callable[[Any], Array]:
    """A function from a dtype to ``value`` in it, converted once per dtype, not once per leaf.

    To be called inside ``update``, because what it converts belongs to one trace.
    """
    return functools.cache(lambda dtype: jnp.asarray(value, dtype))


def nonzero_in_dtype(eps: ScalarLike) -> Callable[[Any], Array]:
    """As :func:`in_dtype`, but with the smallest number of the dtype where ``eps`` is 0.

    Prevents 0 / 0 at a lower cost than :func:`safe_divide`, where ``eps`` is added anyway.
    """
    return functools.cache(
        lambda dtype: jnp.maximum(jnp.asarray(eps, dtype), jnp.finfo(dtype).tiny)
    )
