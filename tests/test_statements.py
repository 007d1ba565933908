"""The list of the course's statements: every name, notebook and claim in it exists."""

import functools
import pathlib

import jaxopt_course
from benchmarks.claims import CLAIMS
from docs import reference, statements


NOTEBOOKS = pathlib.Path(__file__).parents[1] / "notebooks"
STATEMENTS = statements.read()


def exists(name):
    try:
        functools.reduce(getattr, name.split("."), jaxopt_course)
    except AttributeError:
        return False
    return True


def test_every_entry_is_resolved():
    assert not [name for s in STATEMENTS for name in s.names if not exists(name)]
    assert all(
        s.names and s.notebooks and set(s.parts) <= set(statements.PARTS) for s in STATEMENTS
    )
    assert all((NOTEBOOKS / f"{name}.ipynb").exists() for s in STATEMENTS for name in s.notebooks)


def test_every_claim_belongs_to_a_statement():
    assert {claim for statement in STATEMENTS for claim in statement.claims} == set(CLAIMS)


def test_every_statement_stands_once():
    assert len({statement.text for statement in STATEMENTS}) == len(STATEMENTS) >= 115


def test_the_page_has_a_row_for_each_statement_with_its_links_and_verdicts():
    symbols = [
        symbol
        for package in reference.PACKAGES
        for group in reference.symbols_of(package).values()
        for symbol in group
    ]
    page = statements.page({symbol.name: f"api/{symbol.page}.rst" for symbol in symbols})
    rows = [line for line in page.splitlines() if line.startswith("| ") and "](" in line]
    assert len(rows) == len(STATEMENTS)
    assert "[momentum](../claims/report.md): it depends" in page
