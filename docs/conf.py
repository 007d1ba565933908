"""How Sphinx builds the documentation: `sphinx-build -W -b html docs docs/_build`.

The API reference and the gallery are written here; the executed notebooks and the measured claims
are copied in, so nothing is kept twice.
"""

import pathlib
import re
import shutil
import sys
from typing import Any


HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from docutils import nodes
from sphinx.util.nodes import make_refnode

import jaxopt_course
from docs import formulas, gallery, reference, statements


project = "jaxopt_course"
version = release = jaxopt_course.__version__
extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "myst_nb",
]
html_theme = "furo"
html_title = project
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
exclude_patterns = ["_build", "jupyter_execute"]

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # docstrings say them in words; shapes would fill the signatures
autodoc_preserve_defaults = True
napoleon_google_docstring, napoleon_numpy_docstring = True, False
napoleon_use_ivar = True
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # tests execute them; here their outputs are shown
suppress_warnings = ["myst.header"]

SYMBOLS = {package: reference.symbols_of(package) for package in reference.PACKAGES}
EVERY = [symbol for groups in SYMBOLS.values() for group in groups.values() for symbol in group]
PATHS = {symbol.name: symbol.path for symbol in EVERY}


def write_pages() -> None:
    """``api/`` and ``gallery.rst``, ``course/`` with the notebooks, and ``claims/``."""
    names = [symbol.name for symbol in EVERY if symbol.package in ("optimizers", "schedules")]
    drawn = gallery.draw(fresh("pictures", keep=True), names)
    write_reference(drawn)
    write_gallery(drawn)
    course = fresh("course")
    for notebook in (HERE.parent / "notebooks").glob("*.ipynb"):
        text = notebook.read_text().replace("../benchmarks/results/claims/", "../claims/")
        (course / notebook.name).write_text(text)
    pages = {symbol.name: f"api/{symbol.package}/{symbol.page}.rst" for symbol in EVERY}
    (course / "00_statements.md").write_text(statements.page(pages))
    claims = fresh("claims")
    left_out = shutil.ignore_patterns("*.json", "*.html", "kept")
    measured = HERE.parent / "benchmarks/results/claims"
    shutil.copytree(measured, claims, ignore=left_out, dirs_exist_ok=True)
    pictures = [f"![{path.stem}]({path.name})" for path in sorted(claims.glob("*.png"))]
    report, changes = claims / "report.md", claims / "changes.md"
    parts = ["# The claims, measured", report.read_text(), changes.read_text(), *pictures]
    report.write_text("\n\n".join(parts) + "\n")
    changes.unlink()


def fresh(name: str, *, keep: bool = False) -> pathlib.Path:
    """An empty folder of that name beside this file, or the one that is there."""
    folder = HERE / name
    if not keep:
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(exist_ok=True)
    return folder


def write_reference(drawn: set[str]) -> None:
    """A page for each package, each symbol and each public module."""
    api = fresh("api")
    (api / "index.rst").write_text(reference.contents_page())
    for package, groups in SYMBOLS.items():
        (api / f"{package}.rst").write_text(reference.index_page(package, markup))
        (api / package).mkdir()
        for title, symbols in groups.items():
            for symbol in symbols if title != reference.TEXT else ():
                picture = f"/pictures/{symbol.name}.png" if symbol.name in drawn else None
                page = reference.symbol_page(symbol, title, markup, picture)
                (api / package / f"{symbol.page}.rst").write_text(page)
        for module in reference.MODULES.get(package, ()):
            (api / package / f"{module}.rst").write_text(reference.module_page(package, module))


def write_gallery(drawn: set[str]) -> None:
    """The pictures of all optimizers and schedules, by group, each a link to its page."""
    lines = ["Gallery", "=======", "", *GALLERY.splitlines(), ""]
    for package in ("optimizers", "schedules"):
        for title, symbols in SYMBOLS[package].items():
            shown = [symbol for symbol in symbols if symbol.name in drawn]
            if shown:
                title = title if package == "optimizers" else f"Schedules: {title.lower()}"
                lines += [title, "-" * len(title), "", ".. container:: gallery", ""]
            for symbol in shown:
                page = f"api/{package}/{symbol.page}"
                lines += [
                    f"   .. figure:: pictures/{symbol.name}.png",
                    f"      :target: {page}.html",
                ]
                lines += [
                    f"      :alt: {symbol.name}",
                    "",
                    f"      :doc:`{symbol.name} <{page}>`",
                    "",
                ]
    (HERE / "gallery.rst").write_text("\n".join(lines))


GALLERY = f"""\
The path of each optimizer over {gallery.STEPS} steps along a ravine,
``(x^2 + 100 y^2) / 2``, from (-10, 1), and the curve of each schedule. A marker stands at every
fifth step. The learning rates suit this ravine and are neither tuned nor recommended:
``docs/gallery.py`` lists them. The parameters are a matrix with one row and two columns, so Muon's
step is the gradient at about unit length. The proximal methods minimize the ravine with an L1
penalty of strength 1, whose minimum is the same.
"""

SECTION = re.compile(r"(Args|Attributes|Returns|Yields|Raises|Examples|References?):$")


def markup(source: list[str], fields: bool = False) -> list[str]:
    """Plain text as reStructuredText: formulas as mathematics, where they parse as such.

    ``fields`` says that lines like `name: text` are a list of fields.
    """
    found: list[str] = []
    formula: list[str] = []
    in_section = in_example = False
    for line in [*source, ""]:
        indented = line.startswith(" ")
        before = source_before(found, formula)
        if indented and not in_section and (formula or not before):
            formula.append(line)
            continue
        if formula:
            found += [*as_mathematics(formula), ""]
            formula = []
        if line and not indented:
            in_section = bool(SECTION.match(line))
        in_example = line.lstrip().startswith(">>>") or (in_example and bool(line))
        if in_example:
            found.append(line)
            continue
        line = re.sub(r"(``.*?``)|([|*])", lambda m: m[1] or "\\" + m[2], line)
        field = fields and not in_section and not indented and re.match(r"([\w, `]+): (?=\S)", line)
        if field and (not before or before.startswith((":", " "))) and "``" not in field[1]:
            line = f":{field[1]}: {line[field.end() :]}"
        found.append(line)
    return found[:-1]


def source_before(found: list[str], formula: list[str]) -> str:
    return formula[-1] if formula else found[-1] if found else ""


def as_mathematics(formula: list[str]) -> list[str]:
    """A block of formulas as a table of MathML, or as it stands."""
    try:
        drawn = formulas.table("\n".join(formula))
    except Exception:  # a block of words, or notation that the parser of LaTeX does not know
        return ["::", "", *formula, ""]
    return [".. raw:: html", "", f"   {drawn}", ""]


def as_markup(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Docstrings are plain text, and those of classes explain their fields."""
    lines[:] = markup(lines, fields=what == "class")


def skip_fields(app: Any, what: str, name: str, thing: Any, skip: bool, options: Any) -> bool:
    """Fields of a NamedTuple are explained in its docstring."""
    return skip or type(thing).__name__ == "_tuplegetter"


def resolve(app: Any, env: Any, node: Any, content: nodes.Element) -> Any:
    """A reference to a public name by its last part, wherever in the library it stands."""
    name = node.get("reftarget", "").lstrip("~.").rpartition(".")[2]
    if node.get("refdomain") != "py" or name not in PATHS:
        return None
    entry = env.get_domain("py").objects.get(PATHS[name])
    if entry is None:
        return None
    place = node.get("refdoc", "index")
    return make_refnode(app.builder, place, entry.docname, entry.node_id, content, PATHS[name])


def setup(app: Any) -> None:
    app.connect("autodoc-skip-member", skip_fields)
    app.connect("autodoc-process-docstring", as_markup, priority=100)  # before napoleon
    app.connect("missing-reference", resolve)


write_pages()
