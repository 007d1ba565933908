"""The public names: reachable, documented, annotated, and said once."""

import ast
import importlib
import inspect
import pathlib
import pkgutil

import optax
import pytest

import jaxopt_course
from tests.names import public_names


ROOT = pathlib.Path(jaxopt_course.__file__).parent
PACKAGES = [
    importlib.import_module(f"jaxopt_course.{info.name}")
    for info in pkgutil.iter_modules(jaxopt_course.__path__)
    if not info.name.startswith("_") and info.name != "contrib"  # which repeats names of others
]
PUBLIC = [(package, name) for package in PACKAGES for name in public_names(package)]


def is_ours(thing) -> bool:
    return getattr(thing, "__module__", "").startswith("jaxopt_course")


@pytest.mark.parametrize("package", PACKAGES, ids=lambda p: p.__name__)
def test_a_package_says_what_it_is_and_what_it_offers(package):
    assert inspect.getdoc(package)
    assert public_names(package)


@pytest.mark.parametrize(("package", "name"), PUBLIC, ids=lambda x: getattr(x, "__name__", x))
def test_public_name_is_documented_and_annotated(package, name):
    thing = getattr(package, name)
    if not (inspect.isfunction(thing) or inspect.isclass(thing)) or not is_ours(thing):
        return
    assert inspect.getdoc(thing), f"{package.__name__}.{name} has no docstring"
    if inspect.isclass(thing) and hasattr(thing, "_fields"):
        silent = [field for field in thing._fields if field not in thing.__doc__]
        assert not silent, f"{name}: the docstring does not explain {silent}"
    if inspect.isfunction(thing):
        signature = inspect.signature(thing)
        bare = [p.name for p in signature.parameters.values() if p.annotation is p.empty]
        assert not bare, f"{name}: {bare} lack an annotation"
        assert signature.return_annotation is not signature.empty, f"{name}: no return annotation"


def test_each_name_is_public_in_one_place_only():
    names = [name for package, name in PUBLIC if package is not jaxopt_course.nnx]
    assert sorted(names) == sorted(set(names))


def test_the_layers_of_nnx_are_named_as_those_of_linen():
    assert {*public_names(jaxopt_course.nnx)} - {*dir(jaxopt_course.nn)} == {"Hyperparameter"}


# What a training is written with, beside optax's vocabulary.
NOUNS = {
    *("Batch", "EarlyStopping", "Rows", "Run", "Task"),
    *("evaluate", "fit", "make_population", "make_step", "make_train", "minimize", "predict"),
    *("function_task", "linen_task", "lora", "nnx_task", "starting_from"),
}


def makes_a_transformation(package, name):
    """Whether it is a function of ours that is annotated to return a gradient transformation.

    A scaling that optax lacks is the inner part of an optimizer, whose package has it.
    """
    thing = getattr(package, name)
    if not (inspect.isfunction(thing) and is_ours(thing)):
        return False
    if name.startswith("scale_by_") and package is jaxopt_course.optimizers:
        return hasattr(optax.contrib, name)
    return "GradientTransformation" in str(inspect.signature(thing).return_annotation)


def test_the_top_level_is_optax_the_transformations_and_the_nouns_of_training():
    """Every other name is reached through its package, and no name is missing."""
    of_optax = {name for name in dir(optax) if not name.startswith("_")}
    wanted = {
        f"{package.__name__.rpartition('.')[2]}.{name}"
        for package, name in PUBLIC
        if name in of_optax | NOUNS
        or (package.__name__ != "jaxopt_course.cli" and makes_a_transformation(package, name))
    }
    listed = set()
    for node in ast.walk(ast.parse((ROOT / "__init__.pyi").read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module != "_version":
            listed |= {f"{node.module}.{alias.name}" for alias in node.names}
    add, remove = sorted(wanted - listed), sorted(listed - wanted)
    assert not add, f"add to jaxopt_course/__init__.pyi: {add}"
    assert not remove, f"remove from jaxopt_course/__init__.pyi: {remove}"
    assert {name.rpartition(".")[2] for name in listed} >= NOUNS


def test_the_top_level_names_exist_and_are_few():
    for name in jaxopt_course.__all__:
        assert getattr(jaxopt_course, name) is not None
    assert len(jaxopt_course.__all__) <= 300


@pytest.mark.parametrize("package", ["optimizers", "transforms"])
def test_every_scaling_is_exported(package):
    public = set(public_names(getattr(jaxopt_course, package)))
    for path in (ROOT / package).glob("_[!_]*.py"):
        module = importlib.import_module(f"jaxopt_course.{package}.{path.stem}")
        own = {
            n for n, x in vars(module).items() if getattr(x, "__module__", "") == module.__name__
        }
        links = {name for name in own if name.startswith("scale_by_")}
        missing = sorted(links - public)
        assert not missing, f"add to jaxopt_course/{package}/__init__.py: {missing}"
