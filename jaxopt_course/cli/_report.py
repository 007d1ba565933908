"""What is printed and written: the table of figures, and JSON that any reader takes."""

import json
import math
import os
import pathlib
import sys
from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table


__all__ = ["as_json", "print_json", "print_table", "write_text"]


def as_json(value: Any, indent: int | None = None) -> str:
    """``value`` as JSON, floats in full; those that are not finite are null."""
    return json.dumps(_finite(value), indent=indent, allow_nan=False)


def print_json(value: Any) -> None:
    """Print ``value`` as JSON on stdout."""
    sys.stdout.write(as_json(value, indent=2) + "\n")


def print_table(figures: Mapping[str, Mapping[str, float]]) -> None:
    """Print figures on stdout, one part of the data a row."""
    names = list(next(iter(figures.values())))
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("")
    for name in names:
        table.add_column(name.replace("_", " "), justify="right")
    for part, values in figures.items():
        table.add_row(part, *(_shown(name, values[name]) for name in names))
    Console(file=sys.stdout, highlight=False).print(table)


def write_text(path: pathlib.Path, text: str) -> None:
    """Write ``path``; whoever reads there sees the old text or the new one."""
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text(text)
    os.replace(temporary, path)


def _shown(name: str, value: float) -> str:
    return str(value) if name == "rows" else f"{value:.4f}" if abs(value) < 100 else f"{value:.1f}"


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
