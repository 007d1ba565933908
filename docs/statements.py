"""The course, statement by statement: what the library has for each, and where it is taught.

``statements.toml`` is the list. Verdicts are read from the measured claims.
"""

import json
import pathlib
import tomllib
from typing import NamedTuple


HERE = pathlib.Path(__file__).parent
RECORD = HERE.parent / "benchmarks/results/claims/claims.json"
PARTS = {
    "T": "training",
    "N": "deep networks",
    "A": "about training",
    "K": "improving the way networks learn",
    "R": "regularization",
}


class Statement(NamedTuple):
    """One statement of the course.

    topic: the section that it belongs to.
    parts: letters of the parts of the course that make it.
    text: the statement.
    names: public names, relative to the library.
    notebooks: stems of the notebooks that teach it.
    claims: names of the claims that measure it; empty if it is a definition or a formula.
    """

    topic: str
    parts: tuple[str, ...]
    text: str
    names: tuple[str, ...]
    notebooks: tuple[str, ...]
    claims: tuple[str, ...]


def read() -> list[Statement]:
    """All statements, in the order of the course."""
    topics = tomllib.loads((HERE / "statements.toml").read_text())
    stems = {path.stem[:2]: path.stem for path in (HERE.parent / "notebooks").glob("[0-9]*.py")}
    found = []
    for topic, rows in topics.items():
        for parts, text, names, notebooks, claims in rows:
            taught = tuple(stems[number] for number in notebooks.split())
            known = tuple(tuple(words.split()) for words in (parts, names, claims))
            found.append(Statement(topic, known[0], text, known[1], taught, known[2]))
    return found


def page(paths: dict[str, str]) -> str:
    """The page in Markdown, with a table for each topic.

    Args:
        paths: page of the reference of each public name, by its last part.
    """
    statements, verdicts = read(), _verdicts()
    parts = ", ".join(f"{letter} {title}" for letter, title in PARTS.items())
    measured = sum(bool(statement.claims) for statement in statements)
    lines = [
        "# The course, statement by statement",
        "",
        f"The course makes {len(statements)} statements. Each has a name in the library and a "
        f"notebook that teaches it. Claims measure {measured} of them, and the last column has the "
        f"verdicts. The parts of the course are {parts}.",
    ]
    for topic in dict.fromkeys(statement.topic for statement in statements):
        lines += ["", f"## {topic}", "", "| part | statement | library | notebook | verdict |"]
        lines += ["|---|---|---|---|---|"]
        for statement in statements:
            if statement.topic == topic:
                cells = (
                    "".join(statement.parts),
                    statement.text,
                    "<br>".join(_link(name, paths) for name in statement.names),
                    ", ".join(f"[{stem[:2]}]({stem}.ipynb)" for stem in statement.notebooks),
                    "<br>".join(
                        f"[{claim}](../claims/report.md): {verdicts[claim]}"
                        for claim in statement.claims
                    ),
                )
                lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _link(name: str, paths: dict[str, str]) -> str:
    own = name.rpartition(".")[2]
    return f"[`{own}`](../{paths[own]})"


def _verdicts() -> dict[str, str]:
    return {own["name"]: own["verdict"] for own in json.loads(RECORD.read_text())["claims"]}
