"""Functions of two variables as contours, with the paths of optimizers over them."""

import math
from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike
from matplotlib import patheffects
from matplotlib.colors import Normalize, SymLogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from jaxopt_course.core import checks
from jaxopt_course.diagnostics import LossLandscape
from jaxopt_course.surfaces import Surface

from ._style import BEST, finish, line_style, one_panel


GRID = 201  # points on each side
SYMBOLS = 12  # markers on a path, about


def optimizer_paths(
    surface: Surface, paths: Mapping[str, ArrayLike], *, title: str | None = None
) -> Figure:
    """Draw the paths of optimizers over the contours of a surface.

    The contours are evenly spaced in the logarithm of the value. A star marks the minimum. The
    legend shows the final value and the number of steps of each path.

    Args:
        surface: one of :data:`~jaxopt_course.surfaces.SURFACES`, drawn within its own bounds. Paths
            are cut off where they leave them.
        paths: name -> points f[steps + 1, 2], the start first. Points that are not finite are
            left out.
        title: title of the figure. None: the name of the surface.

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
    figure, axes = one_panel(6.4, 4.8, title or surface.name)
    (x_low, x_high), (y_low, y_high) = surface.bounds
    x, y = np.linspace(x_low, x_high, GRID), np.linspace(y_low, y_high, GRID)
    values = lambda points: np.asarray(surface.fn(jnp.asarray(points)), float)
    heights = values(np.stack(np.meshgrid(x, y), axis=-1))
    levels, ticks, norm = value_levels(heights)
    filled = axes.contourf(x, y, heights, levels=levels, norm=norm, cmap="Greys", alpha=0.3)
    axes.contour(x, y, heights, levels=levels, colors="0.55", linewidths=0.6)
    figure.colorbar(filled, ax=axes, label="value", ticks=ticks, format="%g")
    for index, (name, path) in enumerate(points.items()):
        steps = len(path) - 1
        label = f"{name}: {values(path[-1]):.2g} after {checks.counted(steps, 'step')}"
        every = max(1, steps // SYMBOLS)
        axes.plot(*path.T, **line_style(index), markevery=every, label=label)
    if surface.minimum is not None:
        star = {**BEST, "markersize": 16, "markeredgecolor": "w", "zorder": 3}
        axes.plot(*surface.minimum, **star, label="minimum")
    axes.set(xlim=(x_low, x_high), ylim=(y_low, y_high), xlabel="x", ylabel="y")
    finish(axes, legend=False)
    axes.grid(visible=False)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def landscape_contours(landscape: LossLandscape, *, title: str | None = None) -> Figure:
    """Draw the loss on a plane through the parameters, and the path of a training over it.

    Where the loss spans more than a decade, contours are about evenly spaced in its logarithm.
    Dark is high. Losses that are not finite are left white.

    Args:
        landscape: result of :func:`~jaxopt_course.diagnostics.loss_landscape`.
        title: title of the figure.

    Examples:
        >>> from jaxopt_course.diagnostics import LossLandscape
        >>> ticks = np.linspace(-1, 1, 5)
        >>> losses = ticks[:, None] ** 2 + 10 * ticks**2
        >>> figure = landscape_contours(LossLandscape(ticks, ticks, losses, None))
        >>> figure.axes[0].get_xlabel()
        'along the first direction, in its lengths'
    """
    figure, axes = one_panel(5.6, 4.6, title)
    levels, ticks, norm = value_levels(landscape.losses)
    grid = (landscape.first, landscape.second, landscape.losses.T)
    filled = axes.contourf(*grid, levels=levels, norm=norm, cmap="YlGnBu")
    axes.contour(*grid, levels=levels, colors="0.3", linewidths=0.4)
    figure.colorbar(filled, ax=axes, label="loss", ticks=ticks, format="%g")
    if landscape.path is not None:
        x, y = landscape.path.T
        halo = [patheffects.withStroke(linewidth=4, foreground="w")]
        axes.plot(x, y, "k.-", linewidth=1.4, markersize=5, path_effects=halo, label="path")
        axes.plot(x[0], y[0], "ks", markerfacecolor="w", markersize=7, label="its start")
        axes.plot(x[-1], y[-1], "k*", markerfacecolor="w", markersize=13, label="its end")
        figure.legend(loc="outside lower center", ncols=3, frameon=False)
    ends = (landscape.first, landscape.second)
    axes.set(**{f"{a}lim": (t[0], t[-1]) for a, t in zip("xy", ends, strict=True)})
    axes.locator_params(nbins=5)
    axes.set_xlabel("along the first direction, in its lengths")
    axes.set_ylabel("along the second direction, in its lengths")
    finish(axes, legend=False)
    axes.grid(visible=False)
    return figure


def value_levels(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, Normalize]:
    """The levels of contours, those that get a label, and the color norm.

    The levels are 1, 2 and 5 times powers of ten, over the upper four decades or, where there are
    negative values, over the upper two of each sign. They are evenly spaced where the values span
    less than a decade.
    """
    seen = values[np.isfinite(values)] if np.isfinite(values).any() else np.zeros(1)
    low, high = float(seen.min()), float(seen.max())
    top = max(-low, high) or 1.0
    if low > 0.1 * top or high < -0.1 * top:
        levels = np.asarray(MaxNLocator(12).tick_values(low, high))
        return levels, levels[::2], Normalize(levels[0], levels[-1])
    last, decades = math.floor(math.log10(top)), 2 if low < 0 else 4
    powers = 10.0 ** np.arange(last - decades + 1, last + 2)
    steps = np.outer(powers, (1, 2, 5)).ravel()
    upto = lambda value: steps[: np.searchsorted(steps, value) + 1]
    if low >= steps[0]:
        levels = upto(high)[np.searchsorted(steps, low, "right") - 1 :]
    elif low >= 0:
        levels = np.append(0.0, upto(high))
    else:
        levels = np.append(-upto(-low)[::-1], upto(high) if high > 0 else 0.0)
    labeled = np.isin(np.abs(levels), np.append(powers, 0.0))
    return levels, levels[labeled], SymLogNorm(steps[0], vmin=levels[0], vmax=levels[-1])
