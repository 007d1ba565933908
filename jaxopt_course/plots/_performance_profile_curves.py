"""Performance profiles as steps: high on the left is fast, high on the right is sure."""

from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from jaxopt_course.workloads import PerformanceProfiles

from ._contenders import legend_below, view_label
from ._style import finish, line_style, new_figure


def performance_profile_curves(
    profiles: PerformanceProfiles, *, title: str | None = None
) -> Figure:
    """The share of workloads within a factor of the cheapest, with bands over studies.

    Args:
        profiles: of :func:`~jaxopt_course.workloads.performance_profiles`.
        title: over the figure.
    """
    figure = new_figure(6.4, 4.6, title)
    axes = figure.add_subplot()
    for i, name in enumerate(profiles.contenders):
        style = line_style(i)
        every = max(len(profiles.factors) // 8, 1)
        axes.plot(
            profiles.factors, profiles.shares[i], label=name, markevery=(i % every, every), **style
        )
        axes.fill_between(
            profiles.factors, profiles.low[i], profiles.high[i], color=style["color"], alpha=0.07
        )
    axes.set(xscale="log", ylim=(-0.02, 1.02), ylabel="share of workloads")
    axes.set_xlabel(
        f"cost to the target over that of the cheapest\n"
        f"({view_label(profiles.clock, profiles.setting)}; tuned with {profiles.budget} trials)"
    )
    axes.set_xticks([1, 2, 4, 8, 16])
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.minorticks_off()
    finish(axes, legend=False)
    legend_below(figure, axes)
    return figure
