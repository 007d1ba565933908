"""A pytest plugin that lays this library over optax, so that optax's own tests run against it.

Loaded before collection (``-p tests.optax_suite.laid_over``): every module of optax then finds
our function or class under the name of its own. Each of our functions notes that it was called;
the report tells, of each case, how it ended and whether it reached one of them.
"""

import functools
import importlib
import inspect
import json
import os
import pkgutil
import sys

import optax
import pytest

from jaxopt_course import contrib, core, losses, optimizers, schedules, transforms
from tests.names import public_names


CALL_OPTAX = {"ctc_loss", "ctc_loss_with_forward_probs"}  # laid over optax's they call themselves
PACKAGES = (losses, optimizers, schedules, transforms)
OURS = {
    name: getattr(package, name)
    for package in PACKAGES
    for name in set(public_names(package)) - CALL_OPTAX
    if getattr(getattr(package, name), "__module__", "").startswith("jaxopt_course")
}
OURS["muon"] = contrib.muon  # with optax's default dimension numbers
reached: set[str] = set()
cases: dict[str, dict] = {}
laid: list[str] = []


def noting(name, function):
    """``function``, which notes every call of it, and of the transformation that it builds."""

    @functools.wraps(function)
    def noted(*args, **kwargs):
        reached.add(name)
        result = function(*args, **kwargs)
        if type(result) is core.GradientTransformationExtraArgs:
            return type(result)(noting(name, result.init), noting(name, result.update))
        return result

    return noted


def lay_over() -> list[str]:
    """Replace optax's names by ours in all of its modules; return the names."""
    for info in pkgutil.walk_packages(optax.__path__, "optax."):
        if not info.name.endswith("_test"):
            importlib.import_module(info.name)
    replacements = {
        name: noting(name, thing) if inspect.isfunction(thing) else thing
        for name, thing in OURS.items()
    }
    found = set()
    for module_name, module in list(sys.modules.items()):
        if not module_name.startswith("optax") or module_name.startswith("optax.tree"):
            continue  # `scale` of a tree is another thing than `scale`
        for name, theirs in list(vars(module).items()):
            is_theirs = getattr(theirs, "__module__", "").startswith("optax")
            if name in replacements and is_theirs and not inspect.ismodule(theirs):
                setattr(module, name, replacements[name])
                found.add(name)
    return sorted(found)


def pytest_configure():
    laid.extend(lay_over())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    reached.clear()
    return (yield)


def pytest_runtest_logreport(report):
    case = cases.setdefault(report.nodeid.split("optax/")[-1], {"outcome": "passed"})
    if report.outcome != "passed":
        case["outcome"] = report.outcome
    if report.when == "call":
        case["reached"] = sorted(reached)


def pytest_sessionfinish():
    with open(os.environ["OPTAX_SUITE_REPORT"], "w") as file:
        json.dump({"laid": laid, "cases": cases}, file)
