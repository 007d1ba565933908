"""The pages of the API reference: one a public name, and one a package that lists its groups.

``reference.toml`` says which names belong together.
"""

import fnmatch
import importlib
import inspect
import pathlib
import pkgutil
import re
import tomllib
from types import ModuleType
from typing import Any, NamedTuple

import jaxopt_course
from jaxopt_course import core


STATES = "States"
HIDDEN = {"cli", "contrib"}  # commands, and names of other packages
TEXT = "For this library's other packages"  # a group whose names are listed only
GROUPS: dict[str, dict[str, str]] = tomllib.loads(
    (pathlib.Path(__file__).parent / "reference.toml").read_text()
)
LINES = GROUPS.pop("lines")
PACKAGES = [
    info.name
    for info in pkgutil.iter_modules(jaxopt_course.__path__)
    if not info.name.startswith("_") and info.name not in HIDDEN
]
MODULES = {  # public modules: a page each
    "core": [info.name for info in pkgutil.iter_modules(core.__path__) if info.name[0] != "_"],
}


class Symbol(NamedTuple):
    """A public name.

    package: of the library, for example ``optimizers``.
    name: its own.
    path: under which it is documented: at the top level, where it is there.
    page: the name of its page.
    """

    package: str
    name: str
    path: str
    page: str

    @property
    def thing(self) -> Any:
        return getattr(importlib.import_module(f"jaxopt_course.{self.package}"), self.name)


def public_names(package: ModuleType) -> list[str]:
    """The names that an ``__init__`` lists, or the ``__all__`` of a module."""
    if hasattr(package, "__all__"):
        return list(package.__all__)
    hidden = lambda name, thing: name.startswith("_") or inspect.ismodule(thing)
    return [name for name, thing in vars(package).items() if not hidden(name, thing)]


def grouped(package: str, names: list[str]) -> dict[str, list[str]]:
    """The names of a package by group.

    Raises:
        ValueError: if a name belongs to no group or to two, or a group lists a name that is not
            public.
    """
    found: dict[str, list[str]] = {}
    patterns = [
        (title, pattern)
        for title, listed in GROUPS.get(package, {}).items()
        for pattern in listed.split()
    ]
    plain = [pattern for _, pattern in patterns if "*" not in pattern]
    unknown, twice = sorted({*plain} - {*names}), sorted({n for n in plain if plain.count(n) > 1})
    if unknown or twice:
        raise ValueError(
            f"docs/reference.toml: [{package}] lists {unknown}, which are not public, and "
            f"{twice} twice."
        )
    for title, pattern in patterns:
        matches = [pattern] if "*" not in pattern else fnmatch.filter(names, pattern)
        taken = {*plain, *(name for group in found.values() for name in group)}
        free = matches if pattern in plain else [name for name in matches if name not in taken]
        found.setdefault(title, []).extend(
            name for name in free if pattern in plain or not name.endswith("State")
        )
    left = set(names) - {name for group in found.values() for name in group}
    states = sorted(name for name in left if name.endswith("State"))
    if states:
        found[STATES] = [*found.pop(STATES, []), *states]
    if left - set(states):
        raise ValueError(
            f"docs/reference.toml: [{package}] must put {sorted(left - set(states))} into a group."
        )
    return found


def symbols_of(package: str) -> dict[str, list[Symbol]]:
    """The symbols of a package by group."""
    names = public_names(importlib.import_module(f"jaxopt_course.{package}"))
    lower = [name.lower() for name in names]
    top = set(jaxopt_course.__all__)

    def symbol(name: str) -> Symbol:
        path = f"jaxopt_course.{name}" if name in top else f"jaxopt_course.{package}.{name}"
        both = lower.count(name.lower()) > 1 and name[0].isupper()  # Dropout beside dropout
        return Symbol(package, name, path, f"{name}-class" if both else name)

    return {title: list(map(symbol, group)) for title, group in grouped(package, names).items()}


def summary(symbol: Symbol) -> str:
    """The first sentence of a docstring, or the line of ``reference.toml``.

    Raises:
        KeyError: if a name has neither.
    """
    thing = symbol.thing
    if not is_ours(thing):
        return LINES[symbol.name].replace("`", "``")
    paragraph = " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())
    first = re.split(r"(?<!e\.g)\.\s", paragraph, maxsplit=1)[0]
    whole = first.count("``") % 2 == 0  # no literal is cut in two
    return (first if whole else paragraph).rstrip(".") + "."


def is_ours(thing: Any) -> bool:
    return callable(thing) and getattr(thing, "__module__", "").startswith("jaxopt_course")


def index_page(package: str, markup: Any) -> str:
    """The page of a package: what it is, and its groups with a line for each name."""
    module = importlib.import_module(f"jaxopt_course.{package}")
    header = inspect.getdoc(module) or ""
    lines = [package, "=" * len(package), "", *markup(header.splitlines()), ""]
    if package in MODULES:
        lines += ["Modules", "-------", ""]
        for name in MODULES[package]:
            about = (getattr(module, name).__doc__ or "").splitlines()[0]
            lines += [f"- :doc:`{name} <{package}/{name}>`: {about}"]
        lines += [""]
    for title, symbols in symbols_of(package).items():
        lines += [title, "-" * len(title), ""]
        if title == TEXT:
            lines += [", ".join(f"``{symbol.name}``" for symbol in symbols), ""]
            continue
        if title == STATES:
            lines += [", ".join(link(symbol) for symbol in symbols), ""]
            continue
        lines += [".. list-table::", "   :class: symbols", "   :widths: auto", ""]
        for symbol in symbols:
            about = "\n".join(markup([summary(symbol)])).strip()
            lines += [f"   * - {link(symbol)}", f"     - {about}"]
        lines += [""]
    return "\n".join(lines)


def contents_page() -> str:
    """The packages in the order of ``reference.toml``, a line each."""
    packages = sorted(PACKAGES, key=[*GROUPS, *PACKAGES].index)
    lines = ["API reference", "=============", "", ".. list-table::", "   :class: symbols", ""]
    for package in packages:
        module = importlib.import_module(f"jaxopt_course.{package}")
        about = (inspect.getdoc(module) or "").split("\n\n")[0].replace("\n", " ")
        about = re.sub(r"^Floor \d+: ", "", about)
        lines += [f"   * - :doc:`{package}`", f"     - {about[:1].upper()}{about[1:]}"]
    lines += ["", ".. toctree::", "   :hidden:", "   :maxdepth: 1", ""]
    return "\n".join([*lines, *(f"   {package}" for package in packages), ""])


def link(symbol: Symbol) -> str:
    return f":py:obj:`{symbol.name} <{symbol.path}>`"


def symbol_page(symbol: Symbol, title: str, markup: Any, picture: str | None) -> str:
    """The page of one name: what it is called, its docstring, a picture and its algorithm."""
    thing = symbol.thing
    lines = [
        ":orphan:", "", symbol.name, "=" * len(symbol.name), "",
        f":doc:`{symbol.package} <../{symbol.package}>` / {title}", "",
    ]  # fmt: skip
    if not is_ours(thing):
        lines += [f".. py:data:: {symbol.path}", ""]
        lines += [f"   {LINES[symbol.name].replace('`', '``')}", ""] if title != STATES else []
    elif isinstance(thing, type):
        lines += [f".. autoclass:: {symbol.path}", "   :members:", ""]
    else:
        lines += [f".. autofunction:: {symbol.path}", ""]
    if picture:
        lines += [f".. image:: {picture}", f"   :alt: {symbol.name}", "   :width: 400px", ""]
    header = header_of(thing)
    if header and title != STATES:
        lines += ["Formula and reference", "---------------------", "", *markup(header), ""]
    return "\n".join(lines)


def header_of(thing: Any) -> list[str]:
    """The header of the file of a function, if it holds a formula or a reference."""
    module = inspect.getmodule(thing) if is_ours(thing) and not isinstance(thing, type) else None
    if module is None or not module.__name__.rpartition(".")[2].startswith("_"):
        return []
    header = inspect.getdoc(module) or ""
    return header.splitlines() if re.search(r"^    \S|^References?:", header, re.M) else []


def module_page(package: str, name: str) -> str:
    """The page of a public module of functions."""
    path = f"jaxopt_course.{package}.{name}"
    module = importlib.import_module(path)
    functions = [
        thing
        for thing in vars(module).values()
        if inspect.isfunction(thing) and thing.__module__ == path and thing.__name__[0] != "_"
    ]
    names = ", ".join(thing.__name__ for thing in functions)
    lines = [
        ":orphan:", "", f"{package}.{name}", "=" * (len(package) + len(name) + 1), "",
        f":doc:`{package} <../{package}>`", "",
        f".. automodule:: {path}", f"   :members: {names}", "   :member-order: bysource", "",
    ]  # fmt: skip
    return "\n".join(lines)
