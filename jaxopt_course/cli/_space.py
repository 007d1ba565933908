"""The space of a search: how ranges are written on the command line, and the default ranges.

A range is written ``learning-rate=1e-4:0.1:log``, a list ``batch-size=32,64``, and a fixed value
``dropout=0.2``. Numbers are traced. What changes the compiled program, such as the batch size, is
a list.

What matters of decays such as 0.9, 0.99 and 0.999 is their distance from 1, on a logarithmic scale.
They are searched as ``"1 - b1"`` and written ``b1=0.9:0.999:decay``.
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

from ._options import TrainOptions, flag
from ._process import UsageError, usage_errors
from ._recipes import RECIPES
from ._setup import describe_model, make_optimizer


Range = Float | Choice

FROM_ONE = "1 - "
DECAYS = ("momentum", "b1", "b2", "b3", "beta", "decay", "rho", "adam_b1", "adam_b2")
NUMBERS = ("learning_rate", "dropout", "warmup")  # of every training, whatever its optimizer


def _one_of(key: str, *names: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        checks.choice("search", key, text, names)
        return text

    return read


def _switch(text: str) -> bool:
    return _one_of("space", "true", "false")(text) == "true"


SETTINGS: Mapping[str, Callable[[str], Any]] = {
    "batch_size": int,
    "epochs": int,
    "hidden": lambda text: tuple(int(part) for part in text.split("x")),
    "activation": str,
    "normalization": _one_of("normalization", "batch", "layer", "none"),
    "schedule": _one_of("schedule", "constant", "warmup_cosine"),
}


def default_space(options: TrainOptions) -> dict[str, Range]:
    """The default ranges of an optimizer, around the values of its options.

    The learning rate and the weight decay vary from a thirtieth to thirty times their value. For
    momentum and decays, the distance from 1 varies from a tenth to ten times its value, up to 0.5.
    A dropout rate above 0 varies from 0 to 0.6.
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
    return dict(sorted(found.items()))


def read_space(options: TrainOptions, texts: Sequence[str]) -> tuple[dict[str, Range], Any]:
    """The default space changed by ``texts``, and the options with the values that they fix.

    The ranges are sorted, as JAX sorts the leaves of a dictionary.
    """
    ranges, fixed = default_space(options), dict[str, Any]()
    known = [*NUMBERS, *SETTINGS, *RECIPES[options.optimizer].options]
    for text in texts:
        name, sign, said = text.partition("=")
        key = name.removeprefix("--").replace("-", "_")
        with usage_errors():
            checks.choice(
                f"--space with {options.optimizer}", "NAME", _word(key), map(_word, known)
            )
        if not (sign and said):
            raise UsageError(
                f"--space must be NAME=LOW:HIGH, NAME=A,B,... or NAME=VALUE, got {text!r}."
            )
        for place in (key, FROM_ONE + key):
            ranges.pop(place, None)
        fixed.pop(key, None)
        try:
            place, found = _read(key, said, options.optimizer)
        except (TypeError, ValueError) as error:
            sentence = str(error).removeprefix("search: ")
            raise UsageError(f"--space {text}: {sentence}") from error
        (ranges if isinstance(found, Range) else fixed)[place] = found
    if not ranges:
        raise UsageError("--space must leave at least one number to search, but all are fixed.")
    return dict(sorted(ranges.items())), with_values(options, fixed)


def spell(ranges: Mapping[str, Range]) -> list[str]:
    """The ranges as ``--space`` takes them."""
    texts = []
    for place, kind in ranges.items():
        key = place.removeprefix(FROM_ONE)
        if isinstance(kind, Choice):
            said = ",".join(map(_value_word, kind.options))
        elif key != place:
            said = f"{1 - kind.high:.6g}:{1 - kind.low:.6g}:decay"
        else:
            said = f"{kind.low:.6g}:{kind.high:.6g}{':log' * kind.log}"
        texts.append(f"{_word(key)}={said}")
    return texts


def with_values(options: Any, configuration: Mapping[str, Any]) -> Any:
    """The options with the values of a configuration; the optimizer's own may be traced."""
    own, common = dict(options.hyperparameters), dict[str, Any]()
    for place, value in configuration.items():
        key = place.removeprefix(FROM_ONE)
        (own if key in own else common)[key] = value if key == place else 1 - value
    return dataclasses.replace(options, **common, hyperparameters=own)


def traced_apart(options: Any, configuration: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The options with a configuration, except for ``NUMBERS``, which are returned separately."""
    numbers = {key: configuration[key] for key in NUMBERS if key in configuration}
    others = {key: value for key, value in configuration.items() if key not in numbers}
    return with_values(options, others), numbers


def values_at(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a configuration by option.

    Numbers are the shortest decimals that round to the number of the training.
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
    """Build model and optimizer at both ends of each range, because tracers are not checked."""
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


def _read(key: str, said: str, optimizer: str) -> tuple[str, Any]:
    """The place in the space and the range; or the key and its value."""
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
        raise ValueError(f"each value needs a compilation, so list the values A,B,..., got {said}.")
    if how in ([], ["log"]):
        return key, Float(float(low), float(high), log=bool(how))
    if how == ["decay"]:
        return FROM_ONE + key, Float(1 - float(high), 1 - float(low), log=True)
    raise ValueError(f"LOW:HIGH may be followed by :log or :decay, got {':'.join(how)!r}.")


def _word(key: str) -> str:
    return flag(key).removeprefix("--")


def _value_word(value: Any) -> str:
    if isinstance(value, tuple):
        return "x".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
