"""The notebooks: text and notebook agree, each keeps the form of a story, and all of them run."""

import ast
import os
import pathlib
import re
import subprocess
import sys

import jupytext
import nbformat
import pytest
from jupytext.compare import NotebookDifference, compare_notebooks

import jaxopt_course
from benchmarks.claims import CLAIMS


LIBRARY = pathlib.Path(jaxopt_course.__file__).parent
FOLDER = pathlib.Path(__file__).parents[1] / "notebooks"
TEXTS = sorted(FOLDER.glob("[0-9]*.py"))
CHAIN = re.compile(r"jc\.(?:(\w+)\.)?(\w+)")
LONGEST_CELL = 20  # lines: what is seen at one glance
LONGEST = 190  # lines of a text
LARGEST = 300_000  # bytes of a notebook, most of them pictures

NOT_TAUGHT = ()  # claims that no notebook shows

sys.path.append(str(FOLDER))
import verdicts  # noqa: E402


every_notebook = pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.stem)


def read_text(path):
    return jupytext.read(path, fmt="py:percent")


def read_notebook(path):
    return nbformat.read(path.with_suffix(".ipynb"), as_version=4)


def code_cells(book):
    return [cell for cell in book.cells if cell.cell_type == "code"]


def compare(notebook, text):
    """Cell by cell; a text says nothing of kernels."""
    text.metadata = notebook.metadata
    compare_notebooks(notebook, text, "py:percent")


def imported_and_used(source):
    """Names of the library: (package or "", name), from imports and from attributes of ``jc``."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("jaxopt_course"):
            package = node.module.removeprefix("jaxopt_course").removeprefix(".")
            found |= {(package, alias.name) for alias in node.names}
        elif isinstance(node, ast.Import):
            for alias in node.names:
                inside = alias.name.startswith("jaxopt_course.")
                if inside or (alias.name == "jaxopt_course" and alias.asname != "jc"):
                    found.add(("", f"import {alias.name}"))
        elif isinstance(node, ast.Attribute) and (chain := CHAIN.fullmatch(ast.unparse(node))):
            found.add((chain[1] or "", chain[2]))
    return found


def offered(package):
    """The public names of a package, read and not imported; None if it is none."""
    places = [LIBRARY / package.replace(".", "/") / "__init__.py", LIBRARY / f"{package}.py"]
    for place in filter(pathlib.Path.exists, places):
        body = ast.parse(place.read_text()).body
        if place.name == "__init__.py":
            listed = [n for n in body if isinstance(n, ast.ImportFrom) and n.level == 1]
            return {alias.asname for node in listed for alias in node.names}
        for node in body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                return set(ast.literal_eval(node.value))
    return None


def private_names(source):
    """Those among them that the library does not offer."""
    private = set()
    for package, name in imported_and_used(source):
        public = offered(package) if package else jaxopt_course.__all__
        if public is None and package in jaxopt_course.__all__:
            continue  # a class and its method
        if name not in (public or ()):
            private.add(f"{package}.{name}".lstrip("."))
    return private


def test_there_are_eighteen_in_the_order_of_the_course():
    assert [path.stem[:3] for path in TEXTS] == [f"{number:02d}_" for number in range(1, 19)]
    listed = re.findall(r"\((\d\d_\w+)\.ipynb\)", (FOLDER / "README.md").read_text())
    assert listed == [path.stem for path in TEXTS]
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == {path.stem for path in TEXTS}


@every_notebook
def test_text_and_notebook_are_in_step(path):
    compare(read_notebook(path), read_text(path))
    tags = lambda book: [cell.metadata.get("tags") for cell in book.cells]
    assert tags(read_notebook(path)) == tags(read_text(path))


def test_a_text_that_went_ahead_is_noticed():
    text = read_text(TEXTS[0])
    text.cells[-1].source += "\nprint(1)"
    with pytest.raises(NotebookDifference):
        compare(read_notebook(TEXTS[0]), text)


@every_notebook
def test_a_notebook_is_a_short_story(path):
    book = read_text(path)
    prose = [cell.source for cell in book.cells if cell.cell_type == "markdown"]
    assert prose[0].startswith(f"# {int(path.stem[:2])}. ")
    assert sum(source.count("$$") for source in prose) >= 2, "no formula"
    assert 80 <= len(path.read_text().splitlines()) <= LONGEST
    assert max(len(cell.source.splitlines()) for cell in book.cells) <= LONGEST_CELL


@every_notebook
def test_it_ends_with_an_exercise_whose_solution_is_folded(path):
    *_, question, solution = read_text(path).cells
    assert "## Exercise" in question.source
    assert solution.cell_type == "code"
    assert solution.metadata["tags"] == ["hide-cell"]
    assert solution.metadata["jupyter"] == {"source_hidden": True, "outputs_hidden": True}
    assert read_notebook(path).cells[-1].outputs, "the solution shows nothing"


def claims_of(path):
    """The claims whose verdicts a notebook prints."""
    calls = re.findall(r"^verdicts\.show\((.*?)\)$", path.read_text(), re.M | re.S)
    return [name for call in calls for name in re.findall(r'"(\w+)"', call)]


@every_notebook
def test_its_verdicts_are_those_that_were_measured(path):
    names = claims_of(path)
    assert set(names) <= set(CLAIMS)
    outputs = [output for cell in code_cells(read_notebook(path)) for output in cell.outputs]
    printed = [output.text for output in outputs if "text" in output]
    if names:
        assert "../benchmarks/results/claims/report.md" in path.read_text(), "no link"
        assert verdicts.text(*names) + "\n" in printed


def test_the_claims_of_the_course_are_taught():
    taught = {name for path in TEXTS for name in claims_of(path)}
    assert set(NOT_TAUGHT) == set(CLAIMS) - taught


def test_a_claim_that_was_not_measured_is_refused():
    with pytest.raises(KeyError, match="no_such_claim"):
        verdicts.text("momentum", "no_such_claim")


@every_notebook
def test_it_takes_what_the_library_offers(path):
    assert not private_names(path.read_text())


def test_a_private_name_is_noticed():
    source = """
import jaxopt_course.plots
from jaxopt_course.nn._moments import Moments
jc.plots.new_figure(), jc.no_such_name, jc.plots.histograms, jc.adam
"""
    assert private_names(source) == {
        *("import jaxopt_course.plots", "nn._moments.Moments"),
        *("plots.new_figure", "no_such_name"),
    }


@every_notebook
def test_the_outputs_are_all_there_and_say_nothing_of_the_machine(path):
    file = path.with_suffix(".ipynb")
    book, cells = read_notebook(path), code_cells(read_notebook(path))
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert not [o for o in outputs if o.output_type == "error" or o.get("name") == "stderr"]
    assert any("image/png" in o.get("data", {}) for o in outputs), "no picture"
    said = "".join(o.get("text", "") + o.get("data", {}).get("text/plain", "") for o in outputs)
    assert not re.findall(r"/(?:tmp|home|usr|root|work|venvs)\b|\bat 0x|[Ww]arning", said)
    assert set(book.metadata) == {"kernelspec", "language_info"}
    assert not [cell.metadata for cell in cells if set(cell.metadata) - {"tags", "jupyter"}]
    assert file.stat().st_size < LARGEST


@pytest.mark.exhaustive
@every_notebook
def test_it_runs(path):
    done = subprocess.run(
        [sys.executable, "-W", "error", path.name],
        cwd=FOLDER,
        env=os.environ | {"MPLBACKEND": "agg"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
