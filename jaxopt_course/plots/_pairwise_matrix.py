"""Every pair of optimizers in one table: how much the row costs over the column."""

import numpy as np
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure

from jaxopt_course.workloads import PairwiseDifferences

from ._contenders import view_label
from ._style import new_figure


WIDEST = np.log(4.0)  # the end of the colours: a factor of four


def pairwise_matrix(pairs: PairwiseDifferences, *, title: str | None = None) -> Figure:
    """Ratios of costs with intervals; bold, in a frame, where the interval leaves 1 out.

    Dark is far from 1; whether the row is the cheaper one, the number says.

    Args:
        pairs: of :func:`~jaxopt_course.workloads.pairwise_differences`.
        title: over the figure.
    """
    n = len(pairs.contenders)
    figure = new_figure(max(1.2 + 0.98 * n, 6.6), 1.4 + 0.72 * n, title)
    axes = figure.add_subplot()
    off = ~np.eye(n, dtype=bool)
    shown = np.where(off, np.clip(pairs.log_ratios, -WIDEST, WIDEST), np.nan)
    axes.imshow(shown, cmap="PuOr", norm=TwoSlopeNorm(0.0, -WIDEST, WIDEST), aspect="auto")
    for a, b in np.argwhere(off).tolist():
        ratio, low, high = np.exp([x[a, b] for x in (pairs.log_ratios, pairs.low, pairs.high)])
        dark = abs(shown[a, b]) > 0.62 * WIDEST
        clear = bool(pairs.differ[a, b])
        axes.text(
            b, a, f"{ratio:.2f}\n[{low:.2f}, {high:.2f}]", ha="center", va="center", fontsize=8,
            color="w" if dark else "k", weight="bold" if clear else "normal",
        )  # fmt: skip
        if clear:
            axes.plot(
                b + 0.46 * np.array([-1, 1, 1, -1, -1]), a + 0.44 * np.array([-1, -1, 1, 1, -1]),
                color="w" if dark else "k", linewidth=0.8,
            )  # fmt: skip
    axes.set_xticks(range(n), pairs.contenders, rotation=30, ha="left")
    axes.set_yticks(range(n), pairs.contenders)
    axes.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
    axes.set(xlim=(-0.5, n - 0.5), ylim=(n - 0.5, -0.5))
    axes.spines[:].set_visible(False)
    axes.set_xlabel(
        f"cost of the row over cost of the column, median over workloads\n"
        f"({view_label(pairs.clock, pairs.setting)}; tuned with {pairs.budget} trials; "
        "95 % of studies)"
    )
    return figure
