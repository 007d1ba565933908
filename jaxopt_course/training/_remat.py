"""Loops whose derivatives compute their steps again instead of storing them.

The derivative of a loop of T steps stores what every step computed. Split the loop into segments of
s steps, store only the carry at the beginning of each, and compute a segment again when its
derivative is needed: T / s carries and the results of s steps are then in memory at a time. With
s = sqrt(T) both numbers are sqrt(T), for one more evaluation of the loop.

Reference: Griewank, "Achieving logarithmic growth of temporal and spatial complexity in reverse
automatic differentiation", 1992, https://doi.org/10.1080/10556789208805505; Chen et al., "Training
Deep Nets with Sublinear Memory Cost", 2016, https://arxiv.org/abs/1604.06174, section 4.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree


class Segments(NamedTuple):
    """How many turns of each of three nested loops are one segment; None: the loop is not split.

    intervals: of the loop over intervals between two evaluations.
    stretches: of the loop over the stretches of an interval, each within an epoch.
    steps: of the loop over the steps of a stretch.
    """

    intervals: int | None = None
    stretches: int | None = None
    steps: int | None = None


WHOLE = Segments()


def segments_of(total: int, interval: int, stretch: int) -> Segments:
    """Segments of at most sqrt(``total``) steps, the largest that some loop can be split into.

    Args:
        total: number of steps of the training, in [1, inf).
        interval: number of steps between two evaluations.
        stretch: number of steps that the innermost loop takes.
    """
    most = math.isqrt(total)
    if interval <= most:
        return Segments(intervals=most // interval)
    if stretch <= most:
        return Segments(stretches=most // stretch)
    return Segments(steps=most)


def scan(
    body: Callable[[Any, Any], tuple[Any, Any]], carry: PyTree, xs: Array, size: int | None
) -> tuple[PyTree, PyTree]:
    """``jax.lax.scan``, whose derivatives store only every ``size``-th carry; None: all."""
    plain = lambda carry, xs: jax.lax.scan(body, carry, xs)
    if size is None:
        return plain(carry, xs)
    number = xs.shape[0] // size
    cut, parts = number * size, []
    if number:
        segment = jax.checkpoint(plain, prevent_cse=False)  # nothing is merged across a loop
        carry, ys = jax.lax.scan(segment, carry, xs[:cut].reshape(number, size, *xs.shape[1:]))
        parts.append(jax.tree.map(lambda y: y.reshape(cut, *y.shape[2:]), ys))
    if cut < xs.shape[0]:
        carry, ys = jax.checkpoint(plain)(carry, xs[cut:])
        parts.append(ys)
    return carry, jax.tree.map(lambda *ys: jnp.concatenate(ys), *parts)
