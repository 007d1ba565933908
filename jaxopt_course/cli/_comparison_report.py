"""The report of a comparison of optimizers: one directory with its record, tables and pictures."""

import os
import pathlib
from collections.abc import Mapping
from typing import Any

from jaxopt_course.core import checks
from jaxopt_course.plots import comparison_figures
from jaxopt_course.workloads import Comparison, Summary, summarize

from ._html import Section, as_png, write_report
from ._report import as_json, write_text


RECORD, TABLES, PAGE = "comparison.json", "report.md", "report.html"
VIEWS = [f"{c}_{s}" for c in ("steps", "seconds") for s in ("fresh_seed", "held_out")]
STEMS = [f"{figure}_{view}" for figure in ("tuning", "profiles", "pairs") for view in VIEWS]
FILES = (RECORD, TABLES, PAGE, *(f"{stem}.png" for stem in ("curves", "tuning_each", *STEMS)))
TITLE = "Comparison of optimizers"


def write_comparison_report(
    comparison: Comparison,
    directory: str | os.PathLike[str],
    *,
    about: Mapping[str, Any] | None = None,
) -> tuple[Summary, dict[str, Any]]:
    """Write comparison.json, report.md, the pictures as PNGs, and all of it as report.html.

    Args:
        comparison: of :func:`~jaxopt_course.workloads.compare`.
        directory: is made if it is not there; what has these names in it is replaced.
        about: where the figures come from, for the record.

    Returns:
        The summary, and the record as it was written.
    """
    place = pathlib.Path(directory)
    place.mkdir(parents=True, exist_ok=True)
    summary = summarize(comparison)
    record = {**(about or {}), **summary.as_json()}
    write_text(place / RECORD, as_json(record, indent=2) + "\n")
    tables = summary.markdown()
    write_text(place / TABLES, tables)
    figures = comparison_figures(comparison, summary)
    pictures = {_caption(stem): as_png(figure) for stem, figure in figures.items()}
    counts = "\n".join(
        f"{checks.counted(len(names), noun)}: {', '.join(names)}."
        for noun, names in (
            ("optimizer", comparison.contenders),
            ("workload", comparison.workloads),
        )
    )
    parts = [Section("What is compared", counts), Section("In short", str(summary))]
    parts += [Section(caption, "", {caption: png}) for caption, png in pictures.items()]
    write_report(place / PAGE, TITLE, [*parts, Section("Tables", tables)])
    return summary, record


def _caption(stem: str) -> str:
    """``"Tuning curves"`` of ``"tuning_curves"``."""
    return stem.replace("_", " ").capitalize()
