"""The options of a training: their defaults, the config file, the command line.

What is not on the command line comes from the TOML file of ``--config``, and what is not there
from the defaults. The options of an optimizer are those of its recipe.
"""

import dataclasses
import pathlib
import shlex
import tomllib
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal

import tyro

from jaxopt_course.data import DATASETS

from ._errors import UsageError
from ._parse import flag, nearest, parse, unknown_keys, value_of
from ._recipes import RECIPES


# For small data sets, more than the recipe's own.
_DECAY: Mapping[str, Any] = MappingProxyType({"weight_decay": 1e-2})


@dataclasses.dataclass(frozen=True)
class TrainOptions:
    """All that decides a training, and where its results go."""

    unused: ClassVar[tuple[str, ...]] = ()  # what a config may hold, to no effect

    file: Annotated[pathlib.Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="[FILE]")] = (
        None
    )
    """A table, .csv or .parquet, with one row an example, instead of a bundled data set."""
    target: str | None = None
    """The column of FILE to predict: classes if it holds text or integers, else numbers."""
    dataset: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """A bundled data set: digits, which is the default, or another of the list above."""
    config: Annotated[pathlib.Path | None, tyro.conf.arg(metavar="FILE")] = None
    """A TOML file of options, named as here with _ for -; the command line overrides it."""
    model: Literal["mlp", "cnn"] = "mlp"
    """The network: dense layers, or convolutions before them, which need images (digits)."""
    hidden: tuple[int, ...] = (256, 256)
    """The width of each hidden dense layer; none for a linear model."""
    activation: str = "relu"
    """The activation of the hidden layers."""
    normalization: Literal["batch", "layer", "none"] = "batch"
    """The normalization in the hidden layers."""
    dropout: float = 0.4
    """The probability to drop a hidden unit, in [0, 1)."""
    optimizer: Annotated[str, tyro.conf.arg(metavar="NAME")] = "adamw"
    """The optimizer, one of the list above; `--optimizer NAME --help` shows its options."""
    learning_rate: float = RECIPES["adamw"].learning_rate
    """The highest learning rate, in [0, inf); its default is the optimizer's."""
    schedule: Literal["constant", "warmup_cosine"] = "warmup_cosine"
    """How the learning rate goes: constant, or up from 0 and down to 0."""
    warmup: float = 0.1
    """The share of the steps that the learning rate rises for, in [0, 1]."""
    epochs: int = 40
    """How often every training row is seen, in [1, inf); at most 2^31 - 1 steps in all."""
    batch_size: int = 64
    """Rows a step, in [1, training rows]."""
    patience: int | None = None
    """End after so many epochs without a lower validation loss, in [1, inf). None: never."""
    validation: float = 0.15
    """The share of the rows to choose the best epoch by, in (0, 1)."""
    test: float = 0.2
    """The share of the rows held apart for the final figures, in (0, 1)."""
    scaling: Literal["auto", "standard", "min_max", "none"] = "auto"
    """What is done to each feature. auto: nothing to pixels, else mean 0 and deviation 1."""
    seed: int = 0
    """Of the split, the first parameters and everything else that is random, in [0, 2^32)."""
    out: Annotated[pathlib.Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Where the results go. None: runs/<data set>-<optimizer>-<seed>."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """What the model computes in; parameters are float32, and float16 has its loss scaled."""
    on_divergence: Literal["stop", "raise", "skip"] = "stop"
    """If a loss is not finite: stop; raise, and say where it comes from; or skip such steps."""
    max_time: Annotated[float | None, tyro.conf.arg(metavar="SECONDS")] = None
    """End after so long; --resume goes on. None: no limit."""
    resume: bool = False
    """Go on from the newest checkpoint of --out, bit for bit, or begin if there is none."""
    checkpoint_every: Annotated[float, tyro.conf.arg(metavar="SECONDS")] = 30.0
    """How often to save; also at the end, on Ctrl-C, on SIGTERM, and if something fails."""
    tensorboard: bool = False
    """Write events for TensorBoard too, in DIR/tensorboard."""
    smoke: bool = False
    """Try two steps of everything, and keep nothing."""
    overwrite: bool = False
    """Replace the results of an earlier run in the same place."""
    json: bool = False
    """Print the record of the run as JSON instead of a table; progress goes to stderr anyway."""
    hyperparameters: Mapping[str, Any] = dataclasses.field(default_factory=lambda: _DECAY)
    """What only this optimizer has."""


OF_A_CALL = ("config", "hyperparameters", "json", "out", "overwrite", "resume", "smoke")


def parse_options(
    arguments: Sequence[str],
    kind: type[TrainOptions] = TrainOptions,
    *,
    command: str = "train",
    about: str = "Train a model, and keep it with the record of its training.",
    notes: Callable[[Any], str] = lambda default: "",
) -> Any:
    """The options of a command line, as an instance of ``kind``.

    Args:
        arguments: without the name of the command.
        kind: :class:`TrainOptions`, or a class of its fields with other helps, and of more.
        command: its name, for the help.
        about: the first line of the help.
        notes: what the help says of the options' defaults besides.

    Raises:
        UsageError: if it is wrong, or the config file is.
    """
    path = value_of(arguments, "--config")
    table = {} if path is None else _read_config(path)
    named = value_of(arguments, "--optimizer") or table.get("optimizer", TrainOptions.optimizer)
    name = str(named)
    check_known("optimizer", name, RECIPES)
    common = [f.name for f in dataclasses.fields(kind) if f.name != "hyperparameters"]
    known = [*(key for key in common if key != "config"), *RECIPES[name].options]
    for key in table:
        _check_key(key, known, f"{path}: there is no key {{!r}}{_of(key, name)}.")

    table = {key: value for key, value in table.items() if key not in kind.unused}
    extended = _with_hyperparameters(kind, name)
    default = _default(kind, name)
    options = {
        "prog": f"jaxopt-course {command}",
        "description": _description(about) + notes(default),
    }
    default = extended(optimizer=name, learning_rate=default.learning_rate)
    if table:
        try:
            default = parse(extended, _as_arguments(table), default=default, **options)
        except UsageError as error:
            raise UsageError(f"{path}: {error}") from error
    flags = [flag(key) for key in [*known, "config"]]
    for key in unknown_keys(extended, arguments):
        _check_key(flag(key), flags, f"there is no option {{!r}}{_of(key, name)}.")
    parsed = parse(extended, arguments, default=default, **options)
    shallow = {key: getattr(parsed, key) for key in common}
    resolved = kind(**shallow, hyperparameters=dataclasses.asdict(parsed.hyperparameters))
    _check(resolved)
    return resolved


def command_of(options: TrainOptions) -> str:
    """The command line that trains with these options, ready for a shell."""
    default = _default(TrainOptions, options.optimizer)
    said = dataclasses.asdict(dataclasses.replace(default, dataset=None, optimizer=""))
    said |= default.hyperparameters
    every = {f.name: getattr(options, f.name) for f in dataclasses.fields(TrainOptions)}
    if options.file is None:
        every["dataset"] = options.dataset or "digits"
    differing = {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in {**every, **options.hyperparameters}.items()
        if key not in OF_A_CALL and value != said[key]
    }
    return shlex.join(["jaxopt-course", "train", *_as_arguments(differing)])


def _default(kind: type[TrainOptions], name: str) -> Any:
    """The options that an optimizer has if nothing is said."""
    own = {key: option.default for key, option in RECIPES[name].options.items()}
    own |= _DECAY if name == TrainOptions.optimizer else {}
    rate = RECIPES[name].learning_rate
    return kind(optimizer=name, learning_rate=rate, hyperparameters=own)


def _check(options: TrainOptions) -> None:
    if options.file is not None and options.dataset is not None:
        raise UsageError("give either a FILE or --dataset, not both.")
    if options.dataset is not None:
        check_known("dataset", options.dataset, DATASETS)
    if (options.file is None) != (options.target is None):
        missing = "--target COLUMN" if options.target is None else "FILE"
        raise UsageError(f"a FILE needs --target and --target a FILE; {missing} is missing.")
    if options.file is not None and not options.file.is_file():
        raise UsageError(f"there is no file {str(options.file)!r}.")


def check_known(what: str, name: str, known: Sequence[str] | Mapping[str, Any]) -> None:
    """Raise a UsageError unless ``name`` is one of ``known``; suggest the nearest."""
    if name not in known:
        hint = nearest(name, list(known))
        raise UsageError(f"there is no {what} {name!r}; there are {', '.join(known)}.{hint}")


def check_names(what: str, names: Sequence[str], known: Mapping[str, Any]) -> None:
    """Raise a UsageError unless each of ``names`` is one of ``known``, and there once."""
    for name in names:
        check_known(what, name, known)
        if names.count(name) > 1:
            raise UsageError(f"the {what} {name!r} is there twice.")


def _check_key(key: str, known: Sequence[str], message: str) -> None:
    if key not in known:
        raise UsageError(message.format(key) + nearest(key, known))


def _of(key: str, optimizer: str) -> str:
    """What else to say of an unknown option: whose it is, and what the optimizer has."""
    owners = [name for name, recipe in RECIPES.items() if key in recipe.options]
    if not owners:
        return ""
    own = ", ".join(RECIPES[optimizer].options) or "none"
    return f" for {optimizer}, whose own are {own}; it belongs to {', '.join(owners)}"


def _read_config(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except FileNotFoundError as error:
        raise UsageError(f"there is no file {path!r}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not TOML: {error}.") from error


def _as_arguments(table: dict[str, Any]) -> list[str]:
    """A config as the command line that says the same."""
    arguments: list[str] = []
    for key, value in table.items():
        if key == "file":
            arguments.insert(0, str(value))
        elif isinstance(value, bool):
            arguments.append(flag(key) if value else flag(f"no_{key}"))
        elif isinstance(value, list) and key == "space":  # one range an option
            arguments += [part for item in value for part in (flag(key), str(item))]
        elif isinstance(value, list):
            arguments += [flag(key), *map(str, value)]
        else:
            arguments += [flag(key), str(value)]
    return arguments


def _with_hyperparameters(kind: type[TrainOptions], name: str) -> Any:
    """``kind`` with the options of one optimizer as a group of their own."""
    own = _DECAY if name == TrainOptions.optimizer else {}
    fields = [
        (key, Annotated[of, tyro.conf.arg(help=help)], own.get(key, default))
        for key, (of, default, help) in RECIPES[name].options.items()
    ]
    group = dataclasses.make_dataclass("Hyperparameters", fields, frozen=True)
    field = ("hyperparameters", Annotated[group, tyro.conf.arg(name=name)], group())
    return dataclasses.make_dataclass("Options", [field], bases=(kind,), frozen=True)


def _description(about: str) -> str:
    lines = [about, ""]
    lines += [f"Data sets: {', '.join(DATASETS)}, or a FILE with --target.", "", "Optimizers:"]
    lines += [f"  {key}: {', '.join(map(flag, r.options)) or '-'}" for key, r in RECIPES.items()]
    return "\n".join(lines)
