"""The optimizers that the command line offers, taken from :mod:`jaxopt_course.optimizers`.

A recipe is an optimizer that takes a learning rate first and has defaults for everything else but a
key, which is 0 by default. Its numbers and switches become options, whose help is that of its
docstring. Its dtypes and masks do not.
"""

import inspect
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, get_args

from jaxopt_course import optimizers
from jaxopt_course.core import GradientTransformationExtraArgs


# Learning rates that train small networks on scaled data. The default is Adam's.
ADAM_RATE = 3e-3
LEARNING_RATES = {
    **dict.fromkeys(("adagrad", "delta_bar_delta", "heavy_ball", "nesterov"), 0.03),
    **dict.fromkeys(("rprop", "sign_sgd", "signum"), 1e-3),
    **{"ema_sgd": 0.3, "lion": 3e-4, "sgd": 0.1},
}


class Option(NamedTuple):
    """A hyperparameter of an optimizer as an option.

    kind: its type on the command line: bool, int, float, or float | None.
    default: default value of the optimizer's argument.
    help: entry of the optimizer's docstring.
    """

    kind: Any
    default: Any
    help: str


class Recipe(NamedTuple):
    """An optimizer.

    build: ``build(learning_rate, **hyperparameters)``.
    learning_rate: default learning rate.
    options: the other hyperparameters by name.
    """

    build: Callable[..., GradientTransformationExtraArgs]
    learning_rate: float
    options: Mapping[str, Option]


def _read(name: str, function: Any) -> Recipe | None:
    """``function`` as a recipe; None if it is not an optimizer with defaults."""
    if not inspect.isfunction(function) or name.startswith("scale_by_"):
        return None
    signature = inspect.signature(function)
    parameters = list(signature.parameters.values())
    is_optimizer = signature.return_annotation is GradientTransformationExtraArgs
    if not is_optimizer or not parameters or parameters[0].name != "learning_rate":
        return None
    others = parameters[1:]
    is_needed = lambda p: p.default is p.empty and p.kind != p.VAR_KEYWORD and p.name != "key"
    if any(map(is_needed, others)):
        return None
    helps = _argument_helps(inspect.getdoc(function) or "")
    options = {
        p.name: Option(kind, 0 if p.name == "key" else p.default, helps.get(p.name, ""))
        for p in others
        if (kind := _kind(p)) is not None
    }
    rate = LEARNING_RATES.get(name, ADAM_RATE)
    return Recipe(function, rate, MappingProxyType(options))


def _kind(parameter: inspect.Parameter) -> Any:
    """The type of an option: that of a number, a switch or a seed; None if it is none of these."""
    default, annotation = parameter.default, parameter.annotation
    if parameter.name == "key":
        return int
    if isinstance(default, bool):
        return bool
    if isinstance(default, int | float):
        return int if isinstance(default, int) and annotation is int else float
    return float | None if default is None and float in get_args(annotation) else None


def _argument_helps(doc: str) -> dict[str, str]:
    """The entries of the section "Args" of a docstring."""
    section = re.search(r"^Args:\n(.*?)(?=^\S|\Z)", doc, re.MULTILINE | re.DOTALL)
    if section is None:
        return {}
    entries = re.findall(r"^ {4}(\w+): (.*?)(?=^ {4}\w|\Z)", section[1], re.MULTILINE | re.DOTALL)
    # Neither a schedule nor a typed key can be given on the command line.
    words = {", or a schedule": "", "a typed key, or an int as its seed": "the seed of its key"}
    for api, shown in words.items():
        entries = [(name, " ".join(text.split()).replace(api, shown)) for name, text in entries]
    return {name: text[:1].upper() + text[1:] for name, text in entries}


RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        name: recipe
        for name, function in sorted(vars(optimizers).items())
        if (recipe := _read(name, function)) is not None
    }
)
