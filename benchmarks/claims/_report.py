"""The report of claims: a record, a table, a picture for each claim, and all of it as one page."""

import base64
import html
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks._machine import compact, save_picture
from benchmarks._measure import table
from jaxopt_course.plots._style import COLORS, finish, line_style, new_figure, panels

from ._claim import Verdict
from ._effects import COMPARISONS, COVERAGE, Effect
from ._pictures import Curves, Groups, Planes


RECORD, TABLES, PAGE = "claims.json", "report.md", "report.html"
BAND = (25, 75)  # percentiles over the seeds
HEADER = ("name", "verdict", "effect", "interval", "claimed", "effect measured", "threshold")
INTERVALS = (
    f"All {COMPARISONS} intervals hold the true numbers at once with a probability of 95 %: each "
    f"has the level {COVERAGE:.2%} (Bonferroni). Where a configuration was chosen by its results, "
    "the choice is repeated in each resample of the seeds. An effect holds if its whole interval "
    "lies in the claimed range, does not hold if the whole of it lies outside, and is undecided "
    "otherwise. A claim holds if all of its effects do, does not hold if none does, depends if "
    "some do and others do not, and is undecided otherwise. A value with >= or <= is a bound: "
    "trainings did not arrive, or no rate of the grid worked, or its last one did."
)
LEGEND = (
    "The conditions of the experiments. Letters are the parts of the course that claim it: T "
    "(Training), N (Deep Networks), A (About Training), K (Improving the way networks learn), R "
    "(Regularization)."
)
STYLE = """\
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
pre { overflow-x: auto; white-space: pre-wrap; font-size: 14px; }
img { max-width: 100%; height: auto; }
"""


def write_report(
    verdicts: Sequence[Verdict], directory: pathlib.Path, about: Mapping[str, Any]
) -> dict[str, Any]:
    """Write ``claims.json``, ``report.md``, a PNG for each claim, and all of it as ``report.html``.

    Args:
        verdicts: of claims, in the order of the report.
        directory: where the files are written; it must exist.
        about: how the numbers were measured, for the record.

    Returns:
        The record as it was written.
    """
    record = {**about, "claims": [verdict.as_json() for verdict in verdicts]}
    (directory / RECORD).write_text(compact(record))
    (directory / TABLES).write_text(verdicts_markdown(verdicts))
    parts = [f"<h2>In short</h2>\n<pre>{html.escape(summary_text(verdicts))}</pre>"]
    for verdict in verdicts:
        png = save_picture(verdict_figure(verdict), directory / f"{verdict.name}.png").read_bytes()
        data = base64.b64encode(png).decode("ascii")
        parts.append(
            f"<h2>{html.escape(verdict.claim)}</h2>\n<pre>{html.escape(str(verdict))}</pre>\n"
            f'<img src="data:image/png;base64,{data}" alt="{verdict.name}">'
        )
    (directory / PAGE).write_text(
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>The course's claims</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(["<h1>The course's claims</h1>", *parts, "</body>\n</html>\n"])
    )
    return record


def summary_text(verdicts: Iterable[Verdict]) -> str:
    """A line for each claim: its main effect with the interval, and the verdict on the claim."""
    return table(
        {
            f"{own.name}: {own.claim}": {
                "effect and interval": f"{own.effects[0].shown} {own.effects[0].interval}",
                "verdict": _verdict_of(own),
            }
            for own in verdicts
        }
    )


def verdicts_markdown(verdicts: Iterable[Verdict]) -> str:
    """A Markdown table of claims, one effect in a row, followed by the conditions."""
    found = list(verdicts)
    cells = [HEADER, ("---",) * len(HEADER), *_rows(found)]
    lines = "\n".join(f"| {' | '.join(row)} |" for row in cells)
    conditions = "\n".join(
        f"- {own.name} ({own.source}; {own.seeds} seeds): {own.condition}" for own in found
    )
    return f"{lines}\n\n{INTERVALS}\n\n{LEGEND}\n\n{conditions}\n"


def _rows(verdicts: Iterable[Verdict]) -> list[tuple[str, ...]]:
    """A row for each claim, with its verdict, and below it one for each effect, with its own."""
    rows: list[tuple[str, ...]] = []
    for verdict in verdicts:
        rows.append((verdict.name, _verdict_of(verdict), "", "", "", verdict.claim, ""))
        rows += [_numbers(effect, verdict.seeds) for effect in verdict.effects]
    return rows


def _verdict_of(verdict: Verdict) -> str:
    return f"{verdict.verdict} (quick)" if verdict.quick else verdict.verdict


def _numbers(effect: Effect, seeds: int) -> tuple[str, ...]:
    bounds = ((effect.at_least, "a lower"), (effect.at_most, "an upper"))
    said = "".join(f" It is {what} bound in {n} of {seeds} seeds." for n, what in bounds if n)
    return (
        "",
        effect.verdict,
        effect.shown,
        effect.interval,
        str(effect.claimed),
        effect.what + said,
        effect.claimed.reason,
    )


def verdict_figure(verdict: Verdict, *, title: str | None = None) -> Figure:
    """The picture of a claim.

    Curves and groups show medians over seeds, with the middle half of the seeds shaded. Planes show
    the level curves of the first seed.

    Args:
        verdict: the verdict whose ``picture`` is drawn.
        title: title of the figure. None: the name of the claim and the verdict.
    """
    said = f"{verdict.name}: {_verdict_of(verdict)}"
    title, picture = said if title is None else title, verdict.picture
    if isinstance(picture, Planes):
        return _planes_figure(picture, title)
    figure = new_figure(7.2, 4.2, title)
    axes = figure.add_subplot()
    if isinstance(picture, Curves):
        _curves(axes, picture)
        figure.legend(loc="outside right upper", frameon=False)
    else:
        _groups(axes, picture)
    axes.set_ylabel(picture.y_label)
    if picture.log_y:
        axes.set_yscale("log")
    finish(axes, legend=False)
    return figure


def _curves(axes: Axes, picture: Curves) -> None:
    for i, (name, values) in enumerate(picture.lines.items()):
        style = line_style(i) | ({} if len(picture.x) <= 20 else {"marker": None})
        low, middle, high = np.nanpercentile(values, (BAND[0], 50, BAND[1]), axis=0)
        axes.plot(picture.x, middle, label=name, **style)
        axes.fill_between(picture.x, low, high, color=style["color"], alpha=0.2, linewidth=0)
    axes.set_xlabel(picture.x_label)
    if picture.log_x:
        axes.set_xscale("log")


def _groups(axes: Axes, picture: Groups) -> None:
    for i, values in enumerate(picture.values.values()):
        spread = np.linspace(-0.15, 0.15, len(values)) if len(values) > 1 else np.zeros(1)
        axes.plot(i + spread, values, "o", color=COLORS[i % len(COLORS)], markersize=3.5)
        low, middle, high = np.nanpercentile(values, (BAND[0], 50, BAND[1]))
        axes.plot([i - 0.25, i + 0.25], [middle, middle], color="k")
        axes.fill_between([i - 0.25, i + 0.25], low, high, color="k", alpha=0.12, linewidth=0)
    names = [name.replace(", ", ",\n").replace(": ", ":\n") for name in picture.values]
    axes.set_xticks(range(len(names)), names, fontsize="small")
    axes.set_xlim(-0.6, len(names) - 0.4)


def _planes_figure(picture: Planes, title: str) -> Figure:
    figure = new_figure(1.2 + 3.2 * max(len(picture.fields), 2), 4.6, title)
    drawn: dict[str, Any] = {}
    for name, axes in zip(
        picture.fields,
        panels(figure, len(picture.fields), len(picture.fields), sharex=True, sharey=True),
        strict=True,
    ):
        field = picture.fields[name]
        # Few bands: a picture is stored with a palette of few colours.
        axes.contourf(picture.x, picture.y, field, 8, cmap="RdBu_r", alpha=0.25)
        axes.contour(picture.x, picture.y, field, picture.levels, colors="k", linewidths=1.0)
        for i, (label, points) in enumerate(picture.lines[name].items()):
            color, width = COLORS[(i + 2) % len(COLORS)], 0.8
            drawn[label] = axes.plot(*points.T, color=color, linewidth=width)[0]
        for i, (label, points) in enumerate(picture.dots[name].items()):
            drawn[label] = axes.plot(*points.T, "os^D"[i % 4], color=COLORS[i], markersize=3.5)[0]
        axes.set(title=name, xlabel=picture.x_label, aspect="equal")
        axes.set_xlim(picture.x[0], picture.x[-1])
        axes.set_ylim(picture.y[0], picture.y[-1])
        finish(axes, legend=False)
    figure.axes[0].set_ylabel(picture.y_label)
    one = len(picture.fields) == 1
    place = {"loc": "outside right upper"} if one else {"loc": "outside lower center", "ncols": 4}
    figure.legend(drawn.values(), drawn.keys(), frameon=False, **place)
    return figure
