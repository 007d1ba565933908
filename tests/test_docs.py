"""The pages: links lead somewhere, names exist, and what is printed runs."""

import ast
import os
import pathlib
import re
import subprocess
import sys

import pytest

import jaxopt_course


ROOT = pathlib.Path(__file__).parent.parent
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
PATHS = [page.name for page in PAGES]
NEWCOMER = [ROOT / "docs" / f"first_{what}.md" for what in ("model", "optimizer", "search")]


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.M | re.S)


@pytest.mark.parametrize("page", PAGES, ids=PATHS)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text())
    local = [link for link in links if "://" not in link and "." in link]
    missing = [link for link in local if not (page.parent / link).exists()]
    assert not missing


def names_of(source):
    """Attributes of the package that a piece of code uses, dotted."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            name = ast.unparse(node)
            if re.fullmatch(r"(jc|jaxopt_course)(\.\w+)+", name):
                yield name.split(".", 1)[1]
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("jaxopt_course"):
            inside = node.module.split(".")[1:]
            yield from (".".join([*inside, alias.name]) for alias in node.names)


def reach(name):
    thing = jaxopt_course
    for part in name.split("."):
        thing = getattr(thing, part)
    return thing


@pytest.mark.parametrize("page", PAGES, ids=PATHS)
def test_names_in_the_code_of_a_page_exist(page):
    for source in blocks(page, "python"):
        for name in names_of(source):
            reach(name)


def test_a_wrong_name_is_noticed():
    with pytest.raises(AttributeError):
        reach(next(iter(names_of("import jaxopt_course as jc\njc.adamm(0.1)"))))


@pytest.mark.exhaustive
@pytest.mark.parametrize("page", NEWCOMER, ids=lambda page: page.stem)
def test_the_newcomers_pages_run_as_printed(page, tmp_path):
    """The Python of a page is one script, as one would type it; the commands run in a shell."""
    path = os.pathsep.join([str(pathlib.Path(sys.executable).parent), os.environ["PATH"]])
    run = lambda command: subprocess.run(
        command, cwd=tmp_path, env=os.environ | {"PATH": path}, check=True, timeout=600
    )
    for command in blocks(page, "bash"):
        run(["bash", "-euo", "pipefail", "-c", command])
    script = tmp_path / "page.py"
    script.write_text("\n".join(blocks(page, "python")))
    run([sys.executable, str(script)])
