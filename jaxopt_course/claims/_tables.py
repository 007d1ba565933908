"""Verdicts as a table, in Markdown."""

from collections.abc import Iterable

from ._claim import Verdict
from ._effects import Effect


__all__ = ["verdicts_markdown"]

HEADER = ("name", "verdict", "effect", "95 % interval", "claimed in", "what it is")
LEGEND = (
    "The conditions of the experiments. Letters are the decks of the course that claim it: T "
    "(Training), N (Deep Networks), A (About Training), K (Improving the way networks learn), R "
    "(Regularization)."
)


def verdicts_markdown(verdicts: Iterable[Verdict]) -> str:
    """A table of all claims in Markdown, an effect a row, and below it their conditions."""
    found = list(verdicts)
    cells = [HEADER, ("---",) * len(HEADER), *_rows(found)]
    table = "\n".join(f"| {' | '.join(row)} |" for row in cells)
    conditions = "\n".join(
        f"- {own.name} ({own.source}; {own.seeds} seeds): {own.condition}" for own in found
    )
    return f"{table}\n\n{LEGEND}\n\n{conditions}\n"


def _rows(verdicts: Iterable[Verdict]) -> list[tuple[str, ...]]:
    """A row for each claim, with its verdict, and below it one for each effect, with its own."""
    rows: list[tuple[str, ...]] = []
    for verdict in verdicts:
        rows.append((verdict.name, _said(verdict), "", "", "", verdict.claim))
        rows += [("", effect.verdict, *_numbers(effect)) for effect in verdict.effects]
    return rows


def _said(verdict: Verdict) -> str:
    return f"{verdict.verdict} (quick)" if verdict.quick else verdict.verdict


def _numbers(effect: Effect) -> tuple[str, str, str, str]:
    least, most = effect.accepted
    return (
        f"{effect.value:.3g}",
        f"[{effect.low:.3g}, {effect.high:.3g}]",
        f"({least:g}, {most:g})",
        effect.what,
    )
