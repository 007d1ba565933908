"""The measured verdicts on claims of the course, printed by the notebooks that teach them.

A verdict is read from ``benchmarks/results/claims``, so that a lesson and the measurement agree.
``python -m benchmarks claims NAME`` measures a claim again.
"""

import json
import pathlib
import sys
import textwrap


REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
sys.path.append(str(REPOSITORY))  # `benchmarks` is not installed

from benchmarks.claims import Verdict  # noqa: E402


RECORD = REPOSITORY / "benchmarks" / "results" / "claims" / "claims.json"


def text(*names: str) -> str:
    """The verdict on each claim, with the numbers that led to it.

    Raises:
        KeyError: if a claim has not been measured.
    """
    stored = {own["name"]: own for own in json.loads(RECORD.read_text())["claims"]}
    verdicts = [f"{name}: {Verdict.from_json(stored[name])}" for name in names]
    lines = "\n".join(verdicts).splitlines()
    return "\n".join(
        textwrap.fill(line, 99, subsequent_indent="    ", break_on_hyphens=False) for line in lines
    )


def show(*names: str) -> None:
    """Print the verdict on each claim."""
    print(text(*names))
