"""Paths: the ways of several optimizers over one surface, seen from above."""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike
from matplotlib.figure import Figure

from jaxopt_course.core import checks
from jaxopt_course.surfaces import Surface

from ._style import BEST, finish, line_style, new_figure, value_levels


GRID = 201  # points on each side
SYMBOLS = 12  # markers on a path, about


def optimizer_paths(
    surface: Surface, paths: Mapping[str, ArrayLike], *, title: str | None = None
) -> Figure:
    """Contours of a surface, evenly spaced in the logarithm of its value, and paths over them.

    Args:
        surface: one of :data:`~jaxopt_course.surfaces.SURFACES`. The window is its own: a path
            that leaves it is cut off there.
        paths: name -> points f[steps + 1, 2], the start first. Points that are not finite are
            left out.
        title: over the figure. None: the surface's name.

    Returns:
        A figure, with a star at the minimum if there is one. The legend says what value each path
        ends at, after how many steps.

    Raises:
        ValueError: if there is no path, or one is of another shape.

    Examples:
        >>> from jaxopt_course.surfaces import SURFACES
        >>> path = np.array([[-10.0, 1.0], [-5.0, 0.1]])
        >>> figure = optimizer_paths(SURFACES["ravine"], {"sgd": path})
        >>> figure.legends[0].get_texts()[0].get_text()
        'sgd: 13 after 1 step'
    """
    points = {name: np.asarray(path, float) for name, path in paths.items()}
    if not points:
        raise ValueError("optimizer_paths: `paths` must hold at least one path, got none.")
    for name, path in points.items():
        if path.ndim != 2 or path.shape[1] != 2 or not len(path):
            raise ValueError(
                f"optimizer_paths: the path {name!r} must be f[steps + 1, 2], "
                f"got the shape {path.shape}."
            )
    figure = new_figure(6.4, 4.8, title or surface.name)
    axes = figure.add_subplot()
    (x_low, x_high), (y_low, y_high) = surface.bounds
    x, y = np.linspace(x_low, x_high, GRID), np.linspace(y_low, y_high, GRID)
    heights = _values(surface, np.stack(np.meshgrid(x, y), axis=-1))
    levels, ticks, norm = value_levels(heights)
    filled = axes.contourf(x, y, heights, levels=levels, norm=norm, cmap="Greys", alpha=0.3)
    axes.contour(x, y, heights, levels=levels, colors="0.55", linewidths=0.6)
    figure.colorbar(filled, ax=axes, label="value", ticks=ticks, format="%g")
    for index, (name, path) in enumerate(points.items()):
        steps = len(path) - 1
        axes.plot(
            *path.T,
            **line_style(index),
            markevery=max(1, steps // SYMBOLS),
            label=f"{name}: {_values(surface, path[-1]):.2g} after {checks.counted(steps, 'step')}",
        )
    if surface.minimum is not None:
        star = {**BEST, "markersize": 16, "markeredgecolor": "w", "zorder": 3}
        axes.plot(*surface.minimum, **star, label="minimum")
    axes.set(xlim=(x_low, x_high), ylim=(y_low, y_high), xlabel="x", ylabel="y")
    finish(axes, legend=False)
    axes.grid(visible=False)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def _values(surface: Surface, points: np.ndarray) -> np.ndarray:
    return np.asarray(surface.fn(jnp.asarray(points)), float)
