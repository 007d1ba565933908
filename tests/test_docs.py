"""The pages: links lead somewhere, names exist, and what is printed runs."""

import ast
import os
import pathlib
import re
import subprocess
import sys

import pytest

import jaxopt_course
from docs import formulas, gallery, reference
from tests.names import public_names


ROOT = pathlib.Path(__file__).parent.parent
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
PATHS = [page.name for page in PAGES]
GENERATED = ("api/", "claims/", "course/", "gallery.rst", "pictures/")  # Sphinx checks these links
WHOLE = (  # pages that are one script
    *("index", "first_model", "first_optimizer", "first_search"),
    *("training", "schedules", "checkpoints", "precision", "sharding", "transfer"),
    "tuning_by_gradient",
)


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.M | re.S)


@pytest.mark.parametrize("page", PAGES, ids=PATHS)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text())
    local = [link for link in links if "://" not in link and "." in link]
    written = [link for link in local if page.parent == ROOT or not link.startswith(GENERATED)]
    missing = [link for link in written if not (page.parent / link).exists()]
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


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_bytes()) <= 8000


@pytest.mark.parametrize("package", reference.PACKAGES)
def test_every_public_name_has_a_place_in_the_reference(package):
    for title, symbols in reference.symbols_of(package).items():
        if title not in (reference.STATES, reference.TEXT):
            assert symbols
            assert all(map(reference.summary, symbols))


def test_a_name_without_a_place_in_the_reference_is_noticed():
    names = reference.public_names(jaxopt_course.losses)
    with pytest.raises(ValueError, match=r"must put \['a_new_loss'\] into a group"):
        reference.grouped("losses", [*names, "a_new_loss"])
    with pytest.raises(ValueError, match=r"lists \['squared_error'\], which are not public"):
        reference.grouped("losses", [name for name in names if name != "squared_error"])


def test_every_optimizer_and_schedule_has_a_picture():
    """Sphinx draws them; one that is not listed by name is an optimizer with its default rate."""
    assert set(gallery.SCHEDULES) == set(public_names(jaxopt_course.schedules))
    optimizers = set(public_names(jaxopt_course.optimizers))
    assert gallery.NO_OPTIMIZERS | gallery.ARGUMENTS.keys() <= optimizers
    for name in filter(gallery.is_optimizer, optimizers):
        assert hasattr(gallery.optimizer_of(name), "update"), name


@pytest.mark.parametrize(
    ("plain", "latex"),
    [
        ("m_t = b1 m_{t-1} + (1 - b1) g_t", r"m_{t} = b_{1}\,m_{t - 1} + (1 - b_{1})\,g_{t}"),
        ("w - a_t m_hat / n_t", r"w - \frac{a_{t}\,\hat{m}}{n_{t}}"),
        ("a b / c d", r"\frac{a\,b}{c}\,d"),
        ("D(h) / 2h", r"\frac{D(h)}{2h}"),
        ("sum_i x_i^2 / (2 a_i)", r"\sum_{i} \frac{x_{i}^{2}}{2\,a_{i}}"),
        ("sqrt(v_hat + eps_root)", r"\sqrt{\hat{v} + \varepsilon_{\mathrm{root}}}"),
        ("r.r / d.Hd", r"\frac{r\cdot r}{d\cdot H\,d}"),
    ],
)
def test_formulas_are_read_as_they_are_meant(plain, latex):
    assert formulas.Parser(plain).everything() == latex


@pytest.mark.parametrize("text", ["a + (b", "a ? b", "a +"])
def test_what_is_no_formula_is_refused(text):
    with pytest.raises(ValueError, match=r"expected|no formula|no factor"):
        formulas.Parser(text).everything()


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", WHOLE)
def test_pages_run_as_printed(name, tmp_path):
    """The Python of a page is one script, as one would type it; the commands run in a shell."""
    page = ROOT / "docs" / f"{name}.md"
    path = os.pathsep.join([str(pathlib.Path(sys.executable).parent), os.environ["PATH"]])
    run = lambda command: subprocess.run(
        command, cwd=tmp_path, env=os.environ | {"PATH": path}, check=True, timeout=600
    )
    for command in blocks(page, "bash"):
        run(["bash", "-euo", "pipefail", "-c", command])
    script = tmp_path / "page.py"
    script.write_text("\n".join(blocks(page, "python")))
    run([sys.executable, str(script)])
