"""All rows, and the table of ``docs/oracles.md`` that says what they are compared with."""

import pathlib

from tests.oracles import decays, existing, muon_family, orthogonal, precision, transfer, whitening
from tests.oracles.rows import Row, recorded


FAMILIES = (decays, existing, muon_family, orthogonal, precision, transfer, whitening)
ROWS: dict[str, Row] = {name: row for family in FAMILIES for name, row in family.ROWS.items()}

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "oracles.md"
HEAD = "| method | compared with | dtype | largest relative distance | convention or difference |"


def table() -> str:
    """The table in Markdown, a line for each row in alphabetical order."""
    lines = [HEAD, "|---|---|---|---|---|"]
    for name, row in sorted(ROWS.items()):
        version = recorded(name)["version"]
        cells = (name, f"{row.package} {version}", row.dtype, f"{row.bound:.0e}", row.note)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def written(page: str) -> str:
    """``page`` with its table, which is the last thing on it, as the rows are now."""
    return page.split(HEAD)[0] + table()
