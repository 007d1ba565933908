"""The loss on a plane through the parameters, as a map, with the way that a training took."""

from matplotlib import patheffects
from matplotlib.figure import Figure

from jaxopt_course.diagnostics import LossLandscape

from ._style import finish, new_figure, value_levels


def landscape_contours(landscape: LossLandscape, *, title: str | None = None) -> Figure:
    """Filled contours of the losses, dark where they are high, and the path over them.

    Args:
        landscape: of :func:`~jaxopt_course.diagnostics.loss_landscape`.
        title: over the figure.

    Returns:
        A figure; its contours are evenly spaced in the logarithm of the loss, about, where
        that spans more than a decade. Losses that are not finite leave white holes.

    Examples:
        >>> import numpy as np
        >>> from jaxopt_course.diagnostics import LossLandscape
        >>> ticks = np.linspace(-1, 1, 5)
        >>> losses = ticks[:, None] ** 2 + 10 * ticks**2
        >>> figure = landscape_contours(LossLandscape(ticks, ticks, losses, None))
        >>> figure.axes[0].get_xlabel()
        'along the first direction, in its lengths'
    """
    figure = new_figure(5.6, 4.6, title)
    axes = figure.add_subplot()
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
