"""How the benchmarks measure: ways take turns, warmed up before, and medians are compared."""

import argparse
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def options_of(text: str, quick: str) -> argparse.ArgumentParser:
    """The options of a benchmark: its first line says what it is, ``quick`` what is left out."""
    parser = argparse.ArgumentParser(description=text.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help=quick)
    return parser


def seconds(run: Callable[[], Any]) -> float:
    """How long ``run`` takes until its result is there."""
    import jax

    begin = time.perf_counter()
    jax.block_until_ready(run())
    return time.perf_counter() - begin


def interleaved(
    runs: Mapping[str, Callable[[], Any]], rounds: int, *, warm_up: int = 0
) -> dict[str, list[float]]:
    """The seconds of each in so many rounds, in which they take turns."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(warm_up + rounds):
        for name, run in runs.items():
            took = seconds(run)
            if turn >= warm_up:
                times[name].append(took)
    return times


def medians(times: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The median of each."""
    return {name: statistics.median(values) for name, values in times.items()}


def table(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Lines of text: a row's name, and its figures under the names of all rows' figures."""
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    aligned = [_aligned(["", *rows], left=True)]
    for column in columns:
        values = [row.get(column) for row in rows.values()]
        texts = any(isinstance(value, str) for value in values)
        aligned.append(_aligned([column, *map(_as_text, values)], left=texts))
    return "\n".join("  ".join(line).rstrip() for line in zip(*aligned, strict=True))


def _aligned(cells: Sequence[str], *, left: bool) -> list[str]:
    width = max(map(len, cells))
    return [cell.ljust(width) if left else cell.rjust(width) for cell in cells]


def _as_text(value: Any) -> str:
    """Three digits of a number; nothing for None."""
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
    return "" if value is None else str(value)
