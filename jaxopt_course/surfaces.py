"""Functions of two variables on which the behaviour of an optimizer can be seen.

Every function takes points with (x, y) on the last axis and works elementwise over the other axes:
one point, a path, or the grid of a contour plot. ``SURFACES`` holds the start, the minimum and the
bounds of each for plots and benchmarks.

References: Rosenbrock 1960, https://doi.org/10.1093/comjnl/3.3.175; Beale 1958; Himmelblau 1972;
Rastrigin 1974; Ackley 1987; collected in Jamil & Yang 2013, https://arxiv.org/abs/1308.4008.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, ScalarLike

from jaxopt_course.core import checks, numerics


__all__ = [
    "SURFACES",
    "Surface",
    "ackley",
    "beale",
    "himmelblau",
    "rastrigin",
    "ravine",
    "rosenbrock",
    "saddle",
]


def ravine(
    point: Float[Array, "*batch 2"], condition_number: ScalarLike = 100.0
) -> Float[Array, "*batch"]:
    """A long narrow valley along x: ``(x^2 + condition_number y^2) / 2``. Minimum 0 at (0, 0).

    The eigenvalues of its Hessian are 1 and ``condition_number``, which is in (0, inf).
    """
    x, y = _coordinates("ravine", point)
    checks.number("ravine", "condition_number", condition_number, "(0, inf)")
    return (jnp.square(x) + jnp.asarray(condition_number, point.dtype) * jnp.square(y)) / 2


def saddle(point: Float[Array, "*batch 2"]) -> Float[Array, "*batch"]:
    """A saddle: ``x^2 - y^2``. It has no minimum.

    It is stationary at (0, 0), where the eigenvalues of the Hessian are 2 and -2.
    """
    x, y = _coordinates("saddle", point)
    return jnp.square(x) - jnp.square(y)


def rosenbrock(point: Float[Array, "*batch 2"]) -> Float[Array, "*batch"]:
    """A curved flat valley: ``(1 - x)^2 + 100 (y - x^2)^2``. Minimum 0 at (1, 1)."""
    x, y = _coordinates("rosenbrock", point)
    return jnp.square(1 - x) + 100 * jnp.square(y - jnp.square(x))


def beale(point: Float[Array, "*batch 2"]) -> Float[Array, "*batch"]:
    """Flat plains between steep walls: the sum over k = 1, 2, 3 of ``(c_k - x + x y^k)^2``.

    c = (1.5, 2.25, 2.625). Minimum 0 at (3, 0.5).
    """
    x, y = _coordinates("beale", point)
    residuals = (1.5 - x + x * y, 2.25 - x + x * y**2, 2.625 - x + x * y**3)
    first, second, third = map(jnp.square, residuals)
    return first + second + third


def himmelblau(point: Float[Array, "*batch 2"]) -> Float[Array, "*batch"]:
    """Four equal minima: ``(x^2 + y - 11)^2 + (x + y^2 - 7)^2``.

    Minimum 0 at (3, 2), and near (-2.8051, 3.1313), (-3.7793, -3.2832) and (3.5844, -1.8481).
    """
    x, y = _coordinates("himmelblau", point)
    return jnp.square(jnp.square(x) + y - 11) + jnp.square(x + jnp.square(y) - 7)


def rastrigin(point: Float[Array, "*batch 2"]) -> Float[Array, "*batch"]:
    """A bowl with many dents: the sum over both coordinates of ``10 + z^2 - 10 cos(2 pi z)``.

    Minimum 0 at (0, 0), and a higher local minimum near every other integer point.
    """
    checks.rank("rastrigin", "point", point, 1)
    return jnp.sum(10 + jnp.square(point) - 10 * jnp.cos(2 * math.pi * point), axis=-1)


def ackley(point: Float[Array, "*batch 2"]) -> Float[Array, "*batch"]:
    """A dented plain with a funnel; r is the root mean square of x and y.

        20 (1 - exp(-r / 5)) + e - exp((cos(2 pi x) + cos(2 pi y)) / 2)

    Minimum 0 at (0, 0), the tip of a cone, where the gradient is defined as 0.
    """
    checks.rank("ackley", "point", point, 1)
    r = numerics.safe_sqrt(jnp.mean(jnp.square(point), axis=-1))
    waves = jnp.mean(jnp.cos(2 * math.pi * point), axis=-1)
    return -20 * jnp.expm1(-r / 5) - math.e * jnp.expm1(waves - 1)


def _coordinates(owner: str, point: Float[Array, "*batch 2"]) -> tuple[Array, Array]:
    checks.rank(owner, "point", point, 1)
    return point[..., 0], point[..., 1]


class Surface(NamedTuple):
    """A function to minimize, with what plots and benchmarks need.

    name: name of the surface.
    fn: function from points f[..., 2] to values f[...].
    start: the usual start of a descent.
    minimum: a point of the lowest value, which is 0; None if there is no minimum.
    bounds: the region to plot, ``((x_low, x_high), (y_low, y_high))``.
    """

    name: str
    fn: Callable[[Float[Array, "*batch 2"]], Float[Array, "*batch"]]
    start: tuple[float, float]
    minimum: tuple[float, float] | None
    bounds: tuple[tuple[float, float], tuple[float, float]]


SURFACES = {
    surface.name: surface
    for surface in (
        Surface("ravine", ravine, (-10.0, 1.0), (0.0, 0.0), ((-11.0, 11.0), (-3.0, 3.0))),
        Surface("saddle", saddle, (-1.0, 1e-3), None, ((-1.5, 1.5), (-1.5, 1.5))),
        Surface("rosenbrock", rosenbrock, (-1.2, 1.0), (1.0, 1.0), ((-2.0, 2.0), (-1.0, 3.0))),
        Surface("beale", beale, (1.0, 1.0), (3.0, 0.5), ((-4.5, 4.5), (-4.5, 4.5))),
        Surface("himmelblau", himmelblau, (0.0, 0.0), (3.0, 2.0), ((-5.0, 5.0), (-5.0, 5.0))),
        Surface("rastrigin", rastrigin, (3.3, -2.7), (0.0, 0.0), ((-5.12, 5.12), (-5.12, 5.12))),
        Surface("ackley", ackley, (3.3, -2.7), (0.0, 0.0), ((-5.0, 5.0), (-5.0, 5.0))),
    )
}
