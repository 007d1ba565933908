"""Record what other packages compute for the rows of ``docs/oracles.md``, and write its table.

    python -m tests.oracles.record [NAME ...]     the named rows, or all; needs their packages
    python -m tests.oracles.record --page         only the page

Run it again where a row is added or changed.
"""

import importlib.metadata
import json
import sys

import numpy as np

from tests.oracles.page import PAGE, ROWS, written
from tests.oracles.rows import KEPT, RECORDED, gradients_of, start_of


def record(name: str) -> None:
    """Write ``recorded/NAME.json``: the version, and the parameters after the kept steps."""
    row = ROWS[name]
    points = row.theirs(start_of(row), gradients_of(row))
    kept = {
        leaf: [np.asarray(points[t - 1][leaf], float).tolist() for t in KEPT] for leaf in row.shapes
    }
    content = {"package": row.package, "version": importlib.metadata.version(row.package)}
    (RECORDED / f"{name}.json").write_text(json.dumps(content | {"points": kept}) + "\n")


if __name__ == "__main__":
    RECORDED.mkdir(exist_ok=True)
    for name in [] if sys.argv[1:] == ["--page"] else sys.argv[1:] or ROWS:
        record(name)
        print(f"recorded {name}")  # noqa: T201
    PAGE.write_text(written(PAGE.read_text()))
