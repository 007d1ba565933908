"""Figures of the reports of :mod:`jaxopt_course.diagnostics`."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from jaxopt_course.diagnostics import (
    HEALTHY_NORMS,
    BiasVarianceReport,
    CoordinateCheckReport,
    GradientFlowReport,
    LearningRateRangeReport,
    VarianceReport,
    WatchReport,
)

from ._style import (
    BAR,
    BEST,
    COLORS,
    LINESTYLES,
    MARKERS,
    count_along,
    finish,
    line_style,
    log_y,
    mark_failed,
    new_figure,
    of_wide_range,
    one_panel,
    panels,
    readable_path,
)


PARTS = {  # label, colour, hatch
    "bias_squared": ("bias squared", COLORS[0], ""),
    "variance": ("variance", COLORS[1], "///"),
    "noise": ("noise", "0.88", "..."),
}


def gradient_bars(report: GradientFlowReport, *, title: str | None = None) -> Figure:
    """Draw the gradient norm of each leaf, and the size of its update relative to the parameters.

    The left panel shades the healthy norms from 1e-6 to 1e3. The right panel, with the relative
    updates, is drawn if the report was given an optimizer. A value that is 0 or not finite is
    written instead of a bar. Scales are logarithmic.

    Args:
        report: result of :func:`~jaxopt_course.diagnostics.gradient_flow`, with at least one leaf.
        title: title of the figure.
    """
    if not report.leaves:
        raise ValueError("gradient_bars: `report` must have at least one leaf, got none.")
    names = [readable_path(path) for path in report.leaves]
    norms = np.array([leaf.gradient_norm for leaf in report.leaves.values()])
    ratios = np.array([leaf.update_ratio for leaf in report.leaves.values()])
    panels = 1 if np.isnan(ratios).all() else 2
    figure = new_figure(2.2 + 3.6 * panels, 1.5 + 0.28 * len(names), title)
    axes = figure.add_subplot(1, panels, 1)
    axes.axvspan(*HEALTHY_NORMS, color="0.88", label="healthy: 1e-6 to 1e3")
    unfit = (norms > 0) & ((norms < HEALTHY_NORMS[0]) | (norms > HEALTHY_NORMS[1]))
    _bars(axes, names, norms, unfit, (HEALTHY_NORMS[0] / 10, HEALTHY_NORMS[1] * 10))
    axes.set_xlabel("norm of the gradient")
    figure.legend(loc="outside lower left", ncols=2, frameon=False)
    if panels == 2:
        axes = figure.add_subplot(1, 2, 2, sharey=axes)
        none = np.zeros(len(names), bool)
        _bars(axes, names, ratios, none, (1e-5, 1e-1), "parameters are 0")
        axes.set_xlabel("norm of the update / norm of the parameters")
        axes.tick_params(labelleft=False)
    return figure


def _bars(
    axes: Axes,
    names: list[str],
    values: np.ndarray,
    unfit: np.ndarray,
    span: tuple[float, float],
    infinite: str = "not finite",
) -> None:
    """Bars over at least ``span``, the first leaf on top."""
    places, drawn = np.arange(len(names)), np.isfinite(values) & (values > 0)
    low = min([span[0], *values[drawn] / 3])
    for chosen, label, color, hatch in (
        (drawn & ~unfit, None, COLORS[0], ""),
        (drawn & unfit, "outside it", COLORS[1], "///"),
    ):
        if chosen.any():
            fill: dict[str, Any] = {"color": color, "hatch": hatch, "label": label}
            axes.barh(places[chosen], values[chosen], **fill, **BAR)
    for place, value in zip(places[~drawn], values[~drawn], strict=True):
        said = "0" if value == 0 else infinite if np.isinf(value) else "not finite"
        axes.text(low * 1.5, place, said, va="center", style="italic")
    axes.set_xscale("log")
    axes.set_xlim(low, max([span[1], *values[drawn] * 3]))
    axes.xaxis.set_major_locator(LogLocator(numticks=6))
    axes.set_yticks(places, names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    finish(axes, legend=False)
    axes.grid(visible=False, axis="y")


def learning_rate_curve(report: LearningRateRangeReport, *, title: str | None = None) -> Figure:
    """Draw the loss that each learning rate leads to.

    The best learning rate is starred, and the usable ones are shaded. Learning rates whose training
    diverged are crosses at the upper edge.

    Args:
        report: result of :func:`~jaxopt_course.diagnostics.learning_rate_range`.
        title: title of the figure.

    Examples:
        >>> from jaxopt_course.diagnostics import LearningRateRangeReport
        >>> rates, losses = np.array([0.1, 1.0, 10.0]), np.array([2.0, 0.5, np.nan])
        >>> figure = learning_rate_curve(LearningRateRangeReport(rates, losses, 2.3))
        >>> [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
        ['usable: 1 to 1', 'at the end', 'at the start', 'lowest: 0.5 at 1', 'diverged']
    """
    figure, axes = one_panel(5.6, 3.6, title)
    rates, losses = np.asarray(report.rates), np.asarray(report.losses)
    ended = np.isfinite(losses)
    if ended.any():
        low, high = report.usable
        if np.isfinite(low):
            axes.axvspan(low, high, color="0.88", label=f"usable: {low:.2g} to {high:.2g}")
        axes.plot(rates[ended], losses[ended], "o-", color=COLORS[0], ms=4, label="at the end")
    axes.axhline(report.start, color=COLORS[1], linestyle="--", label="at the start")
    if ended.any():
        lowest = f"lowest: {np.nanmin(losses):.3g} at {report.suggested:.2g}"
        axes.plot(report.suggested, np.nanmin(losses), **{**BEST, "markersize": 13}, label=lowest)
    if not ended.all():
        mark_failed(axes, rates[~ended], label="diverged")
    if of_wide_range(np.append(losses, report.start)):
        axes.set_yscale("log")
    axes.set(xscale="log", xlabel="learning rate", ylabel="training loss")
    finish(axes)
    return figure


def variance_curves(report: VarianceReport, *, title: str | None = None) -> Figure:
    """Draw the variances of activations and slopes against depth; a good initialization is level.

    The legend shows by which factor a layer multiplies each variance. A variance of 0 is left out
    of the logarithmic scale.

    Args:
        report: result of :func:`~jaxopt_course.diagnostics.variance_through_depth`.
        title: title of the figure.

    Examples:
        >>> from jaxopt_course.diagnostics import VarianceReport
        >>> halved = np.array([1.0, 0.5, 0.25])
        >>> figure = variance_curves(VarianceReport(np.array([8, 8, 8]), halved, halved[::-1]))
        >>> [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
        ['activations: times 0.5 a layer', 'slopes: times 0.5 a layer, backward']
    """
    figure, axes = one_panel(5.6, 3.6, title)
    forward = f"activations: times {report.forward_gain:.3g} a layer"
    backward = f"slopes: times {report.backward_gain:.3g} a layer, backward"
    for index, (label, values) in enumerate(
        ((forward, report.forward), (backward, report.backward))
    ):
        seen = np.isfinite(values) & (values > 0)
        line = axes.plot(np.flatnonzero(seen), values[seen], markersize=5, label=label)[0]
        line.set(color=COLORS[index], linestyle=LINESTYLES[index], marker=MARKERS[index])
    axes.set(yscale="log", xlabel="layer (0: the input)", ylabel="variance")
    count_along(axes)
    finish(axes)
    return figure


def layer_norms(report: WatchReport, *, title: str | None = None) -> Figure:
    """Draw the norms of parameters, gradients and updates of each layer over the steps.

    Crosses at the upper edge mark steps in which a norm is not finite. Scales are logarithmic, and
    norms of 0 are left out.

    Args:
        report: result of :func:`~jaxopt_course.diagnostics.watch`.
        title: title of the figure.

    Examples:
        >>> from jaxopt_course.diagnostics import WatchReport
        >>> norms = {"Dense_0": np.array([1.0, 0.5])}
        >>> figure = layer_norms(WatchReport(np.ones(2), norms, norms, norms))
        >>> [axes.get_title() for axes in figure.axes]
        ['parameters', 'gradients', 'updates']
    """
    names = list(report.parameters)
    figure = new_figure(11, 3.2 + 0.16 * -(-len(names) // 5), title)
    for axes, part in zip(
        figure.subplots(1, 3), ("parameters", "gradients", "updates"), strict=True
    ):
        failed = np.zeros(len(report.loss), bool)
        for number, name in enumerate(names):
            norms = getattr(report, part)[name]
            drawn = np.where(np.isfinite(norms) & (norms > 0), norms, np.nan)
            style = line_style(number) | {"marker": "" if len(norms) > 30 else MARKERS[number % 10]}
            axes.plot(drawn, **style, label=name)
            failed |= ~np.isfinite(norms)
        if failed.any():
            mark_failed(axes, np.flatnonzero(failed), label="not finite")
        axes.set(xlabel="step", title=part)
        axes.set_xlim(-0.5, len(failed) - 0.5)
        count_along(axes)
        log_y(axes)
        finish(axes, legend=False)
    figure.axes[0].set_ylabel("norm")
    found: dict[str, Any] = {}
    for axes in figure.axes:
        found |= dict(zip(*axes.get_legend_handles_labels()[::-1], strict=True))
    figure.legend(
        list(found.values()), list(found), loc="outside lower center", ncols=5, frameon=False
    )
    return figure


def bias_variance_bars(
    reports: BiasVarianceReport | Mapping[str, BiasVarianceReport], *, title: str | None = None
) -> Figure:
    """Stack squared bias, variance and noise of a regression, and mark the error that they sum to.

    The bars of the error have the length of one standard error on each side.

    Args:
        reports: a result of :func:`~jaxopt_course.diagnostics.bias_variance`, or a mapping
            name -> report, for example of models of increasing capacity.
        title: title of the figure.

    Examples:
        >>> from jaxopt_course.diagnostics import BiasVarianceReport
        >>> report = BiasVarianceReport(3.0, 1.0, 2.0, 0.0, {"error": 0.5}, 10)
        >>> [float(bar.get_height()) for bar in bias_variance_bars(report).axes[0].patches]
        [1.0, 2.0, 0.0]
    """
    named = {"": reports} if isinstance(reports, BiasVarianceReport) else dict(reports)
    if not named:
        raise ValueError("bias_variance_bars: `reports` must hold at least one report, got none.")
    figure, axes = one_panel(3.2 + 0.8 * len(named), 3.6, title)
    places, foot = np.arange(len(named)), np.zeros(len(named))
    for part, (label, color, hatch) in PARTS.items():
        heights = np.array([getattr(report, part) for report in named.values()])
        fill: dict[str, Any] = {"color": color, "hatch": hatch, "label": label}
        axes.bar(places, heights, 0.6, foot, **fill, **BAR)
        foot = foot + heights
    errors = [report.error for report in named.values()]
    spread = [report.standard_errors["error"] for report in named.values()]
    axes.errorbar(places, errors, spread, fmt="ko", capsize=4, mfc="w", label="error")
    axes.set_xticks(places, list(named))
    axes.set_ylabel("squared error (target's unit squared)")
    axes.set_xlim(-0.6, len(named) - 0.4)
    finish(axes, legend=False)
    figure.legend(loc="outside right upper", frameon=False)
    return figure


def coordinate_curves(
    reports: CoordinateCheckReport | Mapping[str, CoordinateCheckReport],
    *,
    title: str | None = None,
) -> Figure:
    """Draw the size of the activations of each layer against the width; they should be level.

    Solid lines are those after the last step, with their slopes in the legend, and faint ones those
    before the first step. Sizes that are 0 or not finite are left out.

    Args:
        reports: a result of :func:`~jaxopt_course.diagnostics.coordinate_check`, or a mapping
            name -> report, of which each gets a panel.
        title: title of the figure.

    Examples:
        >>> from jaxopt_course.diagnostics import CoordinateCheckReport
        >>> scales = {"Dense_0": np.array([[1.0, 1.0], [1.0, 2.0]])}
        >>> figure = coordinate_curves(CoordinateCheckReport(np.array([64, 128]), scales))
        >>> [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
        ['Dense_0: slope +1.00', 'before the first step']
    """
    named = {"": reports} if isinstance(reports, CoordinateCheckReport) else dict(reports)
    if not named:
        raise ValueError("coordinate_curves: `reports` must hold at least one report, got none.")
    most = max(len(report.scales) for report in named.values())
    figure = new_figure(4.8 * len(named), 3.4 + 0.2 * most, title)
    several = panels(figure, len(named), len(named), sharey=True)
    for axes, (name, report) in zip(several, named.items(), strict=True):
        for number, (layer, scale) in enumerate(report.scales.items()):
            drawn = np.where(np.isfinite(scale) & (scale > 0), scale, np.nan)
            style = line_style(number)
            label = f"{layer}: slope {report.slopes[layer][-1]:+.2f}"
            axes.plot(report.widths, drawn[:, -1], **style, label=label)
            faint = style | {"marker": "", "linestyle": ":", "linewidth": 1.0}
            axes.plot(report.widths, drawn[:, 0], **faint)
        axes.plot([], [], color="0.4", linestyle=":", linewidth=1.0, label="before the first step")
        axes.set_xscale("log", base=2)
        axes.set_xticks(report.widths, map(str, report.widths))
        axes.set(xlabel="width", title=name)
        log_y(axes)
        finish(axes, legend={"loc": "upper center", "bbox_to_anchor": (0.5, -0.2), "fontsize": 8})
    several[0].set_ylabel("root mean square of the activations")
    return figure
