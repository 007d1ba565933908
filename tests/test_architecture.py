"""The layers: a package may import only from itself and from packages in lower layers.

Across packages an import reads ``from jaxopt_course.x import y``, or
``from jaxopt_course import x`` for a whole package. Inside a package imports are relative. Any
other form is refused because it hides the layer from the reader.
"""

import ast
import pathlib

import pytest

import jaxopt_course


LAYERS = [
    {"_version", "core"},
    {
        *("activations", "checkpoints", "data", "initializers", "losses"),
        *("metrics", "regularizers", "schedules", "surfaces"),
    },
    {"nn", "problems", "transforms"},
    {"nnx"},
    {"optimizers", "tasks"},
    {"contrib", "minimization", "training", "transfer"},
    {"diagnostics", "studies"},
    {"workloads"},
    {"plots"},
    {"cli"},
    {"__main__"},
]
LAYER = {name: level for level, names in enumerate(LAYERS) for name in names}
ROOT = pathlib.Path(jaxopt_course.__file__).parent
SOURCES = {
    path.relative_to(ROOT).as_posix(): path.read_text() for path in sorted(ROOT.rglob("*.py"))
}


def imports(source: str, *, in_package: bool) -> tuple[set[str], list[str]]:
    """The sibling packages that ``source`` imports, lazily or not, and its forbidden imports.

    Args:
        source: the text of a module.
        in_package: whether the module lies in a package of the library and not beside the
            packages. Only inside a package may it write ``from .x import y``.
    """
    found: set[str] = set()
    forbidden: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            here = node.level == 1 and in_package
            module = (node.module or "").split(".")
            across = node.level == 0 and module[0] == "jaxopt_course"
            if any(alias.name == "*" for alias in node.names) and (here or node.level or across):
                forbidden.append(ast.unparse(node))
            elif across and len(module) == 2:
                found.add(module[1])
            elif across and all(alias.name in LAYER for alias in node.names):
                found.update(alias.name for alias in node.names)
            elif across or (node.level and not here) or module[0] == "importlib":
                forbidden.append(ast.unparse(node))
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
            if any(name.split(".")[0] in ("jaxopt_course", "importlib") for name in names):
                forbidden.append(ast.unparse(node))
        elif isinstance(node, ast.Name) and node.id in ("__import__", "importlib"):
            forbidden.append(ast.unparse(node))
    return found, forbidden


def violations(parts: tuple[str, ...], source: str) -> list[str]:
    """The imports in ``source``, the text of the module ``parts``, that the layers forbid."""
    package = parts[0]
    if package not in LAYER:
        return [f"{package} has no layer: add it to LAYERS"]
    found, forbidden = imports(source, in_package=len(parts) > 1)
    messages = [f"`{text}`: write `from jaxopt_course.x import y`" for text in forbidden]
    for other in sorted(found):
        if other == package:
            messages.append(f"inside {package} imports are relative")
        elif other not in LAYER:
            messages.append(f"{other} has no layer: add it to LAYERS")
        elif LAYER[other] >= LAYER[package]:
            messages.append(f"{package} (layer {LAYER[package]}) imports {other} ({LAYER[other]})")
    return messages


def in_all_modules(violations_of):
    """``violations_of(parts, source)`` of every module, each with the module's path."""
    return [
        f"{path}: {violation}"
        for path, source in SOURCES.items()
        for violation in violations_of(pathlib.Path(path).with_suffix("").parts, source)
    ]


def test_imports_point_downwards():
    # the lazy catalogue is checked by test_public_api through its stub
    of_module = lambda parts, source: [] if parts == ("__init__",) else violations(parts, source)
    assert in_all_modules(of_module) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("tasks/_task", "from jaxopt_course.training import fit"),
        ("optimizers/_adam", "from jaxopt_course.tasks import Task"),
        ("optimizers/_adam", "from jaxopt_course.optimizers import sgd"),
        ("optimizers/_adam", "from jaxopt_course.unheard_of import sgd"),
        ("optimizers/_adam", "import jaxopt_course"),
        ("unheard_of/_adam", ""),
    ],
)
def test_the_check_of_imports_rejects_violations(module, source):
    assert len(violations(tuple(module.split("/")), source)) == 1


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("from jaxopt_course.training import fit", {"training"}),
        ("def f():\n    from jaxopt_course.cli import main", {"cli"}),
        (
            "from typing import TYPE_CHECKING\n"
            "if TYPE_CHECKING:\n    from jaxopt_course.cli import main",
            {"cli"},
        ),
        ("from jaxopt_course import training", {"training"}),
        ("from ._adam import adam", set()),
        ("from . import _adam", set()),
        ("import jax.numpy as jnp\nfrom optax import *", set()),
    ],
)
def test_the_import_reader_finds_what_is_imported(source, expected):
    assert imports(source, in_package=True) == (expected, [])


@pytest.mark.parametrize(
    "source",
    [
        "import jaxopt_course",
        "import jaxopt_course as jc",
        "import jaxopt_course.training",
        "import os, jaxopt_course.training as t",
        "from jaxopt_course import adam",
        "from jaxopt_course.training import *",
        "from jaxopt_course.training._fit import fit",
        "from ..training import fit",
        "from .. import training",
        "from ._adam import *",
        "import importlib",
        "import importlib.util",
        "from importlib import import_module",
        "__import__('jaxopt_course.training')",
        "if TYPE_CHECKING:\n    import jaxopt_course",
    ],
)
def test_the_import_reader_refuses_other_forms(source):
    _, forbidden = imports(source, in_package=True)
    assert forbidden


@pytest.mark.parametrize("source", ["from .core import adam", "from . import core"])
def test_root_modules_may_not_import_relatively(source):
    _, forbidden = imports(source, in_package=False)
    assert forbidden


FORBIDDEN_NAMES = {"pickle", "cPickle", "joblib", "dill", "cloudpickle", "marshal", "shelve"}
FORBIDDEN_CALLS = {"eval", "exec"}
FORBIDDEN_KEYWORDS = {"allow_pickle", "shell"}


def unsafe_words(source: str) -> list[str]:
    """The parts of ``source`` that could run foreign code or use private names of jax and optax."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = getattr(node, "module", None) or ""
            names = [module, *(alias.name for alias in node.names)]
            found += [n for n in names if n.split(".")[0] in FORBIDDEN_NAMES]
            found += [n for n in names if n.startswith(("jax._src", "optax._src"))]
        elif isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name) and node.func.id in FORBIDDEN_CALLS:
                found.append(node.func.id)
            if ast.unparse(node.func) in ("yaml.load", "os.system"):
                found.append(ast.unparse(node.func))
            for keyword in node.keywords:
                if keyword.arg in FORBIDDEN_KEYWORDS and ast.unparse(keyword.value) != "False":
                    found.append(keyword.arg)
    return found


def test_nothing_can_run_foreign_code():
    assert in_all_modules(lambda parts, source: unsafe_words(source)) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from joblib import load",
        "eval('1')",
        "exec('1')",
        "np.load(f, allow_pickle=True)",
        "subprocess.run(c, shell=True)",
        "yaml.load(f)",
        "import jax._src.core",
        "from jax._src import core",
    ],
)
def test_the_reader_of_unsafe_words_bites(source):
    assert unsafe_words(source)


def test_a_file_has_at_most_400_lines():
    lengths = {path: len(source.splitlines()) for path, source in SOURCES.items()}
    assert {path: length for path, length in lengths.items() if length > 400} == {}


# Tests that import private names, each with its reason beside the import.
PRIVATE_IMPORTS = {
    *(
        "cli/test_diagnose.py",
        "cli/test_search_ranges.py",
        "sharded_packed.py",
        "sharded_search.py",
    ),
    *("studies/overnight.py", "studies/test_halving.py", "studies/test_population_based.py"),
    *("studies/test_resume.py", "studies/test_search.py", "studies/test_tune_by_gradient.py"),
    *("tasks/test_targets.py", "training/test_remat.py"),
    *("training/test_checkpoint_corruption.py", "training/test_checkpoints.py"),
    *("training/test_donation.py", "training/test_manifest.py"),
}


def private_imports(source: str) -> list[str]:
    """The imports of private names of the library in ``source``."""
    return [
        ast.unparse(node)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom)
        and (node.module or "").startswith("jaxopt_course")
        and any(
            part.startswith("_") and not part.startswith("__")
            for part in (*node.module.split("."), *(alias.name for alias in node.names))
        )
    ]


def test_tests_import_no_other_private_names():
    tests = pathlib.Path(__file__).parent
    found = {
        path.relative_to(tests).as_posix()
        for path in tests.rglob("*.py")
        if private_imports(path.read_text(encoding="utf-8"))
    }
    assert found == PRIVATE_IMPORTS
