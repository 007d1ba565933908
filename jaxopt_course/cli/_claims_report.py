"""The report of claims: one directory with its record, its table and its pictures."""

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from jaxopt_course.claims import Verdict, verdicts_markdown
from jaxopt_course.plots import verdict_figure

from ._html import Section, as_png, write_report
from ._report import as_json, table_text, write_text


FILES = RECORD, TABLES, PAGE = "claims.json", "report.md", "report.html"
TITLE = "The course's claims"


def write_claims_report(
    verdicts: Sequence[Verdict],
    directory: str | os.PathLike[str],
    *,
    about: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write claims.json, report.md, a picture a claim as PNG, and all of it as report.html.

    Args:
        verdicts: of claims, in the order of the report.
        directory: is made if it is not there; what has these names in it is replaced.
        about: where the figures come from, for the record.

    Returns:
        The record as it was written.
    """
    place = pathlib.Path(directory)
    place.mkdir(parents=True, exist_ok=True)
    record = {**(about or {}), "claims": [verdict.as_json() for verdict in verdicts]}
    write_text(place / RECORD, as_json(record, indent=2) + "\n")
    write_text(place / TABLES, verdicts_markdown(verdicts))
    sections = [Section("In short", summary_text(verdicts))]
    for verdict in verdicts:
        picture = as_png(verdict_figure(verdict))
        sections.append(Section(verdict.claim, str(verdict), {verdict.name: picture}))
    write_report(place / PAGE, TITLE, sections)
    return record


def summary_text(verdicts: Sequence[Verdict]) -> str:
    """A row a claim: its main effect with the interval, and the verdict of all its effects."""
    rows = [
        (
            f"{own.name}: {own.claim}",
            f"{own.effects[0].shown} {own.effects[0].interval}",
            f"{own.verdict} (quick)" if own.quick else own.verdict,
        )
        for own in verdicts
    ]
    return table_text(("claim", "effect and interval", "verdict"), rows)
