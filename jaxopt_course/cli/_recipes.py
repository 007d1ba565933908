"""The optimizers that the command line offers, read off the catalogue.

A recipe is a function of :mod:`jaxopt_course.optimizers` that takes a learning rate first and
returns a gradient transformation. Its numbers and switches become options, with the help of its
docstring; dtypes and masks do not.
"""

import inspect
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, get_args

from jaxopt_course import optimizers
from jaxopt_course.core import GradientTransformationExtraArgs


# Rates that train small networks on scaled data; where a recipe is not named, Adam's.
ADAM_RATE = 3e-3
LEARNING_RATES = {
    "adagrad": 0.03,
    "delta_bar_delta": 0.03,
    "ema_sgd": 0.3,
    "heavy_ball": 0.03,
    "lion": 3e-4,
    "nesterov": 0.03,
    "rprop": 1e-3,
    "sgd": 0.1,
    "sign_sgd": 1e-3,
    "signum": 1e-3,
}


class Option(NamedTuple):
    """A hyperparameter as an option.

    kind: its type on the command line: bool, int, float, or float | None.
    default: the recipe's.
    help: what the recipe's docstring says of it.
    """

    kind: Any
    default: Any
    help: str


class Recipe(NamedTuple):
    """An optimizer.

    build: ``build(learning_rate, **hyperparameters)``.
    learning_rate: the default.
    options: its other hyperparameters, by name.
    """

    build: Callable[..., GradientTransformationExtraArgs]
    learning_rate: float
    options: Mapping[str, Option]


def _read(name: str, function: Any) -> Recipe | None:
    """``function`` as a recipe; None if it is none, or needs what no option can say."""
    if not inspect.isfunction(function) or name.startswith("scale_by_"):
        return None
    signature = inspect.signature(function)
    parameters = list(signature.parameters.values())
    if signature.return_annotation is not GradientTransformationExtraArgs or not parameters:
        return None
    first, *others = parameters
    kinds = {p.name: _kind(p) for p in others}
    unsaid = [p for p in others if p.default is p.empty and p.kind != p.VAR_KEYWORD]
    if first.name != "learning_rate" or unsaid:
        return None
    helps = _argument_helps(inspect.getdoc(function) or "")
    return Recipe(
        build=function,
        learning_rate=LEARNING_RATES.get(name, ADAM_RATE),
        options=MappingProxyType(
            {
                p.name: Option(kinds[p.name], p.default, helps.get(p.name, ""))
                for p in others
                if kinds[p.name] is not None
            }
        ),
    )


def _kind(parameter: inspect.Parameter) -> Any:
    """The type of a hyperparameter on the command line; None for what is no number or switch."""
    default, annotation = parameter.default, parameter.annotation
    if isinstance(default, bool):
        return bool
    if isinstance(default, float) or (isinstance(default, int) and annotation is not int):
        return float
    if isinstance(default, int):
        return int
    if default is None and float in get_args(annotation):
        return float | None
    return None


def _argument_helps(doc: str) -> dict[str, str]:
    """What the section "Args" of a docstring says of each argument."""
    section = re.search(r"^Args:\n(.*?)(?=^\S|\Z)", doc, re.MULTILINE | re.DOTALL)
    if section is None:
        return {}
    entries = re.findall(r"^ {4}(\w+): (.*?)(?=^ {4}\w|\Z)", section[1], re.MULTILINE | re.DOTALL)
    return {name: " ".join(text.split()) for name, text in entries}


RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        name: recipe
        for name, function in sorted(vars(optimizers).items())
        if (recipe := _read(name, function)) is not None
    }
)
