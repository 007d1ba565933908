"""How Sphinx builds the documentation: `sphinx-build -W -b html docs docs/_build`.

The pages of the packages are written here from their catalogues; the executed notebooks and the
measured claims are copied in, so nothing is kept twice.
"""

import importlib
import pathlib
import pkgutil
import re
import shutil
from typing import Any

import jaxopt_course


HERE = pathlib.Path(__file__).parent
PACKAGES = [
    info.name
    for info in pkgutil.iter_modules(jaxopt_course.__path__)
    if not info.name.startswith("_") and info.name not in ("cli", "contrib")
]

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
exclude_patterns = ["_build", "conf.py", "jupyter_execute"]

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # docstrings say them in words; shapes would fill the signatures
napoleon_google_docstring, napoleon_numpy_docstring = True, False
napoleon_use_ivar = True
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # tests execute them; here their outputs are shown
suppress_warnings = ["myst.header"]


def write_pages() -> None:
    """``api/PACKAGE.rst`` for each package, ``course/`` with the notebooks, and ``claims/``."""
    api = HERE / "api"
    shutil.rmtree(api, ignore_errors=True)
    api.mkdir()
    for name in PACKAGES:
        module = f"jaxopt_course.{name}"
        package = importlib.import_module(module)
        links = ", ".join(f":py:obj:`{public}`" for public in public_names(package))
        lines = [
            name, "=" * len(name), "",
            f".. automodule:: {module}", "   :no-members:", "",
            f".. currentmodule:: {module}", "", links, "",
            *(line for public in public_names(package) for line in entry(package, public)),
        ]  # fmt: skip
        (api / f"{name}.rst").write_text("\n".join(lines))
    course = HERE / "course"
    shutil.rmtree(course, ignore_errors=True)
    course.mkdir()
    for notebook in (HERE.parent / "notebooks").glob("*.ipynb"):
        shutil.copy(notebook, course)
    claims = HERE / "claims"
    shutil.rmtree(claims, ignore_errors=True)
    left_out = shutil.ignore_patterns("*.json", "*.html", "kept")
    shutil.copytree(HERE.parent / "benchmarks/results/claims", claims, ignore=left_out)
    pictures = [f"![{path.stem}]({path.name})" for path in sorted(claims.glob("*.png"))]
    report = claims / "report.md"
    changes = claims / "changes.md"
    parts = ["# The claims, measured", report.read_text(), changes.read_text(), *pictures]
    report.write_text("\n\n".join(parts) + "\n")
    changes.unlink()


def entry(package: Any, name: str) -> list[str]:
    """The directive for a public name; tables, and what is jax's, are named only."""
    thing = getattr(package, name)
    if not getattr(thing, "__module__", "").startswith("jaxopt_course"):
        return [f".. py:data:: {name}", ""]
    if isinstance(thing, type):
        return [f".. autoclass:: {name}", "   :members:", ""]
    return [f".. autofunction:: {name}", ""]


def skip_fields(app: Any, what: str, name: str, thing: Any, skip: bool, options: Any) -> bool:
    """Fields of a NamedTuple are explained in its docstring."""
    return skip or type(thing).__name__ == "_tuplegetter"


SECTION = re.compile(r"(Args|Attributes|Returns|Yields|Raises|Examples|References?):$")


def as_markup(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Docstrings are plain text: formulas are shown as they stand, fields as a list."""
    found: list[str] = []
    in_section = in_formula = False
    for line in lines:
        indented, before = line.startswith(" "), found[-1] if found else ""
        if line and not indented:
            in_section, in_formula = bool(SECTION.match(line)), False
        if indented and not in_section and not before:
            if not in_formula:
                found += ["::", ""]
            in_formula = True
        if in_formula:
            found.append(line)
            continue
        line = re.sub(r"(``.*?``)|([|*])", lambda m: m[1] or "\\" + m[2], line)
        plain = what == "class" and not in_section and not indented
        field = plain and re.match(r"([\w, `]+): (?=\S)", line)
        if field and (not before or before.startswith((":", " "))) and "``" not in field[1]:
            line = f":{field[1]}: {line[field.end() :]}"
        found.append(line)
    lines[:] = found


def setup(app: Any) -> None:
    app.connect("autodoc-skip-member", skip_fields)
    app.connect("autodoc-process-docstring", as_markup, priority=100)  # before napoleon


write_pages()
