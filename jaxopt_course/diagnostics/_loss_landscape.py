"""The loss on a plane through the parameters, with the path of an optimizer projected onto it.

    L(a, b) = loss(w + a d_1 + b d_2)

Each filter of a random direction, the weights of one unit, is given the norm of the same filter in
the parameters, so that layers of different scale can be compared.

Reference: Li et al., "Visualizing the Loss Landscape of Neural Nets", NeurIPS 2018,
https://arxiv.org/abs/1712.09913, section 4.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from jaxopt_course.core import Params, canonical_convolutions, checks, l2_norm, numerics


class LossLandscape(NamedTuple):
    """Losses on a grid, and a path over it; ``print`` it.

    first, second: the coordinates a and b of the grid, f[points] each.
    losses: ``losses[i, j]`` is the loss at ``first[i]``, ``second[j]``.
    path: coordinates of the points of the path, f[steps, 2], or None. Points off the plane are
        projected onto it.
    """

    first: np.ndarray
    second: np.ndarray
    losses: np.ndarray
    path: np.ndarray | None

    def __str__(self) -> str:
        finite = np.isfinite(self.losses)
        if not finite.any():
            return "No loss on the plane is finite."
        least = np.where(finite, self.losses, np.inf)
        i, j = np.unravel_index(least.argmin(), self.losses.shape)
        others = int((~finite).sum())
        return (
            f"Losses from {least.min():.4g}, at ({self.first[i]:.3g}, {self.second[j]:.3g}), to "
            f"{self.losses[finite].max():.4g}"
            + (f"; {others} of {finite.size} are not finite." if others else ".")
        )


def loss_landscape(
    loss: Callable[[Params], Float[Array, ""]],
    params: Params,
    directions: tuple[Params, Params],
    *,
    span: float = 1.0,
    points: int = 41,
    path: Params | None = None,
) -> LossLandscape:
    """Evaluate the loss on a square grid around ``params``, in one program.

    Args:
        loss: a function of the parameters.
        params: the center of the plane.
        directions: two trees like ``params``, such as :func:`filter_normalized_direction` draws,
            or differences of parameters.
        span: extent of the grid to each side, in lengths of the directions, in (0, inf).
        points: number of points along each side of the grid, in [2, inf).
        path: parameters along a path; each leaf has an axis of steps in front.

    Examples:
        >>> loss = lambda w: w[0] ** 2 + 10 * w[1] ** 2
        >>> directions = (jnp.array([1.0, 0.0]), jnp.array([0.0, 1.0]))
        >>> land = loss_landscape(loss, jnp.zeros(2), directions, points=3, path=jnp.ones((1, 2)))
        >>> print(land.losses)
        [[11.  1. 11.]
         [10.  0. 10.]
         [11.  1. 11.]]
        >>> print(land.path)
        [[1. 1.]]
    """
    owner = "loss_landscape"
    checks.number(owner, "span", span, "(0, inf)")
    checks.integer(owner, "points", points, "[2, inf)")
    for direction in directions:
        checks.like(owner, "direction", direction, params)
    if path is not None:
        checks.like(owner, "point of the path", jax.tree.map(lambda x: x[0], path), params)
    ticks = jnp.linspace(-span, span, points)

    def at(place: Array) -> Array:
        a, b = place
        return loss(
            jax.tree.map(lambda w, u, v: w + (a * u + b * v).astype(w.dtype), params, *directions)
        )

    grid = jnp.stack(jnp.meshgrid(ticks, ticks, indexing="ij"), -1).reshape(-1, 2)
    of_grid = canonical_convolutions(lambda grid: jax.lax.map(at, grid))
    losses = jax.jit(of_grid)(grid).reshape(points, points)
    seen = None if path is None else _coordinates(path, params, directions)
    return LossLandscape(np.asarray(ticks), np.asarray(ticks), np.asarray(losses), seen)


def filter_normalized_direction(key: Key[Array, ""], params: Params) -> Params:
    """A random direction in which each filter has the same norm as in ``params``.

    Args:
        key: PRNG key of the draw.
        params: a filter is the part of a leaf of at least two axes that belongs to one entry of
            its last axis. For leaves of fewer axes, such as biases, the direction is 0.
    """
    leaves, structure = jax.tree.flatten(params)

    def direction(w: Array, k: Array) -> Array:
        if jnp.ndim(w) < 2:
            return jnp.zeros_like(w)
        drawn = jax.random.normal(k, w.shape, w.dtype)
        norm = lambda x: l2_norm(x, range(x.ndim - 1), keepdims=True).astype(x.dtype)
        return drawn * jnp.broadcast_to(numerics.safe_divide(norm(w), norm(drawn)), w.shape)

    keys = jax.random.split(key, len(leaves))
    drawn = [direction(w, k) for w, k in zip(leaves, keys, strict=True)]
    return jax.tree.unflatten(structure, drawn)


def _coordinates(path: Params, params: Params, directions: tuple[Params, Params]) -> np.ndarray:
    """The coordinates on the plane of the points of ``path``, by least squares."""
    steps = len(jax.tree.leaves(path)[0])
    plane = np.concatenate([_flat(direction) for direction in directions]).T
    return np.linalg.lstsq(plane, (_flat(path, steps) - _flat(params)).T, rcond=None)[0].T


def _flat(tree: Any, rows: int = 1) -> np.ndarray:
    """The leaves as one matrix with ``rows`` rows."""
    return np.concatenate(
        [np.asarray(x, float).reshape(rows, -1) for x in jax.tree.leaves(tree)], axis=1
    )
