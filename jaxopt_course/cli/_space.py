"""What a search varies: how it is written on the command line, and what it is by default.

A range is written ``learning-rate=1e-4:0.1:log``, a list ``batch-size=32,64``, a value that is
fixed ``dropout=0.2``. Numbers are traced; what sets a program, such as a batch size, is a list.

What matters of decays such as 0.9, 0.99 and 0.999 is how far they are from 1, and its logarithm
is what is spread evenly: they are searched as ``"1 - b1"``, and written ``b1=0.9:0.999:decay``.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxopt_course.core import checks
from jaxopt_course.data import Dataset
from jaxopt_course.studies import Choice, Float

from ._errors import UsageError, usage_errors
from ._options import TrainOptions
from ._parse import flag, nearest
from ._recipes import RECIPES
from ._setup import describe_model, make_optimizer


Range = Float | Choice

FROM_ONE = "1 - "
DECAYS = ("momentum", "b1", "b2", "b3", "beta", "decay", "rho", "adam_b1", "adam_b2")
NUMBERS = ("learning_rate", "dropout", "warmup")  # of a training, whatever its optimizer is


def _width(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("x"))


def _one_of(key: str, *names: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        checks.choice("search", key, text, names)
        return text

    return read


def _switch(text: str) -> bool:
    checks.choice("search", "space", text, ("true", "false"))
    return text == "true"


SETTINGS: Mapping[str, Callable[[str], Any]] = {
    "batch_size": int,
    "epochs": int,
    "hidden": _width,
    "activation": str,
    "normalization": _one_of("normalization", "batch", "layer", "none"),
    "schedule": _one_of("schedule", "constant", "warmup_cosine"),
}


def default_space(options: TrainOptions) -> dict[str, Range]:
    """The ranges of an optimizer, about the values that its options have.

    The learning rate and the decay of the weights: a thirtieth to thirty times. Of momentum and
    decays the distance from 1: a tenth to ten times, up to 0.5. The dropout rate, where there is
    one: 0 to 0.6.
    """
    found: dict[str, Range] = {}
    if options.learning_rate > 0:
        found["learning_rate"] = _about(options.learning_rate, 30)
    for key, value in options.hyperparameters.items():
        if key in DECAYS and isinstance(value, float) and 0 < value < 1:
            found[FROM_ONE + key] = _about(1 - value, 10, most=max(0.5, 1 - value))
        if key == "weight_decay":
            found[key] = _about(value or 1e-3, 30)
    if options.dropout > 0:
        found["dropout"] = Float(0.0, 0.6)
    return found


def read_space(options: TrainOptions, texts: Sequence[str]) -> tuple[dict[str, Range], Any]:
    """The default space and what ``texts`` change about it; and the options with what they fix.

    Raises:
        UsageError: if a text names nothing that can be searched, or is no range of it.
    """
    ranges, fixed = default_space(options), dict[str, Any]()
    for text in texts:
        name, sign, said = text.partition("=")
        key = name.removeprefix("--").replace("-", "_")
        _check_name(name, key, options.optimizer)
        if not (sign and said):
            raise UsageError(f"--space is NAME=LOW:HIGH, NAME=A,B,... or NAME=VALUE, got {text!r}.")
        for place in (key, FROM_ONE + key):
            ranges.pop(place, None)
        fixed.pop(key, None)
        with usage_errors():
            try:
                place, found = _read(key, said, options.optimizer)
            except ValueError as error:
                sentence = str(error).removeprefix("search: ")
                raise ValueError(f"--space {text}: {sentence}") from error
        (ranges if isinstance(found, Range) else fixed)[place] = found
    if not ranges:
        raise UsageError("--space leaves nothing to search: all is fixed.")
    return ranges, with_values(options, fixed)


def spell(ranges: Mapping[str, Range]) -> list[str]:
    """The ranges as ``--space`` takes them."""
    texts = []
    for place, kind in ranges.items():
        key = place.removeprefix(FROM_ONE)
        name = flag(key).removeprefix("--")
        if isinstance(kind, Choice):
            texts.append(f"{name}={','.join(map(_word, kind.options))}")
        elif key != place:
            texts.append(f"{name}={1 - kind.high:.6g}:{1 - kind.low:.6g}:decay")
        else:
            texts.append(f"{name}={kind.low:.6g}:{kind.high:.6g}{':log' * kind.log}")
    return texts


def with_values(options: Any, configuration: Mapping[str, Any]) -> Any:
    """The options with the values of a configuration; those of an optimizer's own may be traced."""
    own, common = dict(options.hyperparameters), dict[str, Any]()
    for place, value in configuration.items():
        key = place.removeprefix(FROM_ONE)
        (own if key in own else common)[key] = value if key == place else 1 - value
    return dataclasses.replace(options, **common, hyperparameters=own)


def traced_apart(options: Any, configuration: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The options with a configuration, but for numbers that any training has: these apart."""
    numbers = {key: configuration[key] for key in NUMBERS if key in configuration}
    others = {key: value for key, value in configuration.items() if key not in numbers}
    return with_values(options, others), numbers


def values_at(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a configuration by option; numbers rounded as they were trained with.

    They are the shortest of those that round so.
    """
    kind = np.dtype(jnp.result_type(float)).type
    found = {}
    for place, value in configuration.items():
        key = place.removeprefix(FROM_ONE)
        if isinstance(value, float):
            rounded = kind(value) if key == place else kind(1) - kind(value)
            value = float(str(rounded))
        found[key] = value
    return found


def check_ends(
    options: TrainOptions, ranges: Mapping[str, Range], dataset: Dataset, n_train: int
) -> None:
    """Build model and optimizer at the ends of each range: traced numbers are not checked.

    Raises:
        UsageError: if one of them is refused.
    """
    ends = {
        place: kind.options if isinstance(kind, Choice) else (kind.low, kind.high)
        for place, kind in ranges.items()
    }
    first = {place: values[0] for place, values in ends.items()}
    for place, values in ends.items():
        for value in values:
            there = with_values(options, {**first, place: value})
            describe_model(there, dataset)
            make_optimizer(there, n_train)


def _about(middle: float, factor: float, most: float = math.inf) -> Float:
    """From ``middle / factor`` to ``middle * factor``, rounded to one digit."""
    low, high = (float(f"{x:.0e}") for x in (middle / factor, min(middle * factor, most)))
    return Float(low, high, log=True)


def _check_name(name: str, key: str, optimizer: str) -> None:
    known = [*NUMBERS, *SETTINGS, *RECIPES[optimizer].options]
    if key not in known:
        spelled = [flag(k).removeprefix("--") for k in known]
        hint = nearest(name, spelled)
        raise UsageError(
            f"--space has nothing called {name!r}; with {optimizer} it has {', '.join(spelled)}."
            f"{hint}"
        )


def _read(key: str, said: str, optimizer: str) -> tuple[str, Any]:
    """The place of a range in the space, and the range; or the key and its value."""
    kind: Callable[[str], Any] = float
    if key in SETTINGS:
        kind = SETTINGS[key]
    elif key not in NUMBERS:
        kinds: dict[Any, Callable[[str], Any]] = {bool: _switch, int: int}
        kind = kinds.get(RECIPES[optimizer].options[key].kind, float)
    if ":" not in said:
        values = [kind(part) for part in said.split(",")]
        return key, Choice(values) if len(values) > 1 else values[0]
    low, high, *how = said.split(":")
    if kind is not float:
        raise ValueError("it sets the program, so list its values, A,B,...")
    if how in ([], ["log"]):
        return key, Float(float(low), float(high), log=bool(how))
    if how == ["decay"]:
        return FROM_ONE + key, Float(1 - float(high), 1 - float(low), log=True)
    raise ValueError(f"after LOW:HIGH comes :log, :decay or nothing, got {':'.join(how)!r}.")


def _word(value: Any) -> str:
    if isinstance(value, tuple):
        return "x".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
