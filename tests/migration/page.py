"""The page for those who come from optax, torch or Keras: its tables, and what stands in them.

A row whose first two cells are code is evaluated: what stands on both sides does the same. The rows
of "Your loop" have a check each, by their first cell.
"""

import ast
import pathlib
import re
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

import jaxopt_course as jc


PAGE = (pathlib.Path(__file__).parents[2] / "docs" / "migration.md").read_text()
COUNTS = np.arange(100)


class Row(NamedTuple):
    """Theirs, ours, and the rest of a row, as they stand on the page."""

    theirs: str
    ours: str
    convention: str


def table_rows(page):
    """The rows of all tables, without their heads."""
    lines = page.splitlines()
    cells = [re.split(r" ?\| ?", line)[1:-1] for line in lines if line.startswith("|")]
    # a head is what a line of dashes follows
    dashes = [set("".join(row)) == {"-"} for row in cells]
    heads = [*dashes[1:], False]
    kept = zip(cells, dashes, heads, strict=True)
    return [Row(*row, *[""] * (3 - len(row))) for row, a, b in kept if not (a or b)]


def code(cell):
    """The Python of a cell that holds nothing else, or None."""
    match = re.fullmatch(r"`([^`]+)`", cell)
    return match and match.group(1)


ALL = table_rows(PAGE)
LIBRARIES = ("optax", "torch", "keras")
ROWS = [row for row in ALL if (code(row.theirs) or "").split(".")[0] in LIBRARIES]


def value_of(source, **names):
    """The value of ``source``, whose names are resolved as by `from jaxopt_course import ...`."""
    used = {node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)}
    own = {name: getattr(jc, name) for name in used - names.keys() if hasattr(jc, name)}
    return eval(source, {"jnp": jnp, **own, **names})
