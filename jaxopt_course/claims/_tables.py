"""Verdicts as a table, in Markdown."""

from collections.abc import Iterable

from ._claim import Verdict
from ._effects import COMPARISONS, COVERAGE, Effect


HEADER = ("name", "verdict", "effect", "interval", "claimed", "what it is", "why that size counts")
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
    return f"{table}\n\n{INTERVALS}\n\n{LEGEND}\n\n{conditions}\n"


def _rows(verdicts: Iterable[Verdict]) -> list[tuple[str, ...]]:
    """A row for each claim, with its verdict, and below it one for each effect, with its own."""
    rows: list[tuple[str, ...]] = []
    for verdict in verdicts:
        rows.append((verdict.name, _said(verdict), "", "", "", verdict.claim, ""))
        rows += [_numbers(effect, verdict.seeds) for effect in verdict.effects]
    return rows


def _said(verdict: Verdict) -> str:
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
