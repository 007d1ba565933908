"""The options of a training, from the command line, a config file, and their defaults.

An option that is missing on the command line is taken from the TOML file of ``--config``, and one
that is missing there has its default. The options of an optimizer are those of its recipe. The
parser is tyro, whose boxed error messages are turned into one line.
"""

import contextlib
import dataclasses
import io
import pathlib
import re
import shlex
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal

import tyro

from jaxopt_course.core import checks
from jaxopt_course.data import DATASETS

from ._process import UsageError, usage_errors
from ._recipes import RECIPES


def _without_default(metavar: str) -> Any:
    """An option whose help says in words what happens without it."""
    return tyro.conf.arg(metavar=metavar, help_behavior_hint="")


Directory = Annotated[pathlib.Path | None, _without_default("DIR")]
File = Annotated[pathlib.Path | None, _without_default("FILE")]
TableFile = Annotated[pathlib.Path | None, tyro.conf.Positional, _without_default("[FILE]")]
Name = Annotated[str | None, _without_default("NAME")]
Names = Annotated[tuple[str, ...], _without_default("NAME ...")]
Count = Annotated[int | None, _without_default("INT")]
Seconds = Annotated[float | None, _without_default("SECONDS")]

# tyro's message about a value that is not a number
UNREADABLE = re.compile(r"Error parsing (\S+): .*?(int\(|INT |float:|FLOAT ).*?('.*').*")

# Small data sets need more weight decay than the optimizer's default.
_DECAY: Mapping[str, Any] = MappingProxyType({"weight_decay": 1e-2})


@dataclasses.dataclass(frozen=True)
class TrainOptions:
    """The options of the command ``train``."""

    unused: ClassVar[tuple[str, ...]] = ()  # options that a command accepts and ignores

    file: TableFile = None
    """Train on this table, a .csv or .parquet file with one row per example."""
    target: Name = None
    """Column of FILE to predict: a class if it holds text or integers, a number if floats. Several
    columns A,B are labels if they hold booleans or 0 and 1, else numbers."""
    features: Name = None
    """Columns A,B,... of FILE that are inputs. By default all others."""
    drop: Name = None
    """Columns A,B,... of FILE that are not inputs."""
    dataset: Name = None
    """Train on this bundled data set, one of the list above. By default digits."""
    config: File = None
    """TOML file of options, named as here with _ for -; the command line takes precedence."""
    model: Literal["mlp", "cnn"] = "mlp"
    """Network: dense layers (mlp), or convolutions before them (cnn), which need images."""
    hidden: tuple[int, ...] = (256, 256)
    """Width of each hidden dense layer. Without a number the model is linear."""
    activation: str = "relu"
    """Activation of the hidden layers."""
    normalization: Literal["batch", "layer", "none"] = "batch"
    """Normalization in the hidden layers."""
    dropout: float = 0.4
    """Probability of dropping a hidden unit, in [0, 1)."""
    optimizer: Annotated[str, tyro.conf.arg(metavar="NAME")] = "adamw"
    """Optimizer, one of the list above; `--optimizer NAME --help` shows its options."""
    learning_rate: float = RECIPES["adamw"].learning_rate
    """Highest learning rate, in [0, inf). The default depends on the optimizer."""
    schedule: Literal["constant", "warmup_cosine"] = "warmup_cosine"
    """Learning rate over time: constant, or a linear warmup and then a cosine to 0."""
    warmup: float = 0.1
    """Share of the steps in which the learning rate warms up, in [0, 1]."""
    epochs: int = 40
    """Number of passes over the training rows, in [1, inf), with at most 2^31 - 1 steps."""
    batch_size: int = 64
    """Rows per step, in [1, training rows]."""
    patience: Count = None
    """Stop after this number of epochs without a lower validation loss, in [1, inf)."""
    validation: float = 0.15
    """Share of the rows that validate each epoch, in (0, 1)."""
    test: float = 0.2
    """Share of the rows that are kept for the final test, in (0, 1)."""
    scaling: Literal["auto", "standard", "min_max", "none"] = "auto"
    """Scaling of each feature; auto is none for the pixels of digits and standard otherwise."""
    seed: int = 0
    """Seed of the split, the initial parameters and all other random numbers, in [0, 2^32)."""
    out: Directory = None
    """Directory of the results. By default runs/<data set>-<optimizer>-<seed>."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Precision of the model's computations; the parameters are float32 in any case."""
    on_divergence: Literal["stop", "raise", "skip"] = "stop"
    """After a non-finite loss: stop, raise an error that names its origin, or skip the step."""
    max_time: Seconds = None
    """Stop after this time; `--resume` continues the training."""
    resume: bool = False
    """Resume from the newest checkpoint in --out, or start if there is none."""
    checkpoint_every: Annotated[float, tyro.conf.arg(metavar="SECONDS")] = 30.0
    """Time between checkpoints; the last one is saved when the training ends or is interrupted."""
    tensorboard: bool = False
    """Write events for TensorBoard to DIR/tensorboard."""
    smoke: bool = False
    """Run two steps (in a search, of two trials) and keep nothing."""
    overwrite: bool = False
    """Replace earlier results of this command in the same directory."""
    json: bool = False
    """Print all results as JSON instead of text. Progress always goes to stderr."""
    hyperparameters: Mapping[str, Any] = dataclasses.field(default_factory=lambda: _DECAY)
    """Hyperparameters of the optimizer besides its learning rate."""


OF_A_CALL = ("config", "hyperparameters", "json", "out", "overwrite", "resume", "smoke")


def parse_options(
    arguments: Sequence[str],
    kind: type[TrainOptions] = TrainOptions,
    *,
    command: str = "train",
    about: str = "Train a model, and save it with a record of its training.",
    notes: Callable[[Any], str] = lambda default: "",
) -> Any:
    """The options of a command line, as an instance of ``kind``.

    Args:
        arguments: command line without the name of the command.
        kind: :class:`TrainOptions` or a subclass.
        command: name of the command.
        about: first line of the help.
        notes: function from the default options to more text for the help.
    """
    path = _value_of(arguments, "--config")
    table = {} if path is None else _read_config(path)
    name = str(_value_of(arguments, "--optimizer") or table.get("optimizer", "adamw"))
    check_names(command, "optimizer", [name], RECIPES)
    default = default_options(kind, name)
    extended = _extended(kind, default)
    described = {
        "prog": f"jaxopt-course {command}",
        "description": _description(about) + notes(default),
    }
    start = extended(optimizer=name, learning_rate=default.learning_rate)
    if table:
        try:
            said = {key: value for key, value in table.items() if key not in kind.unused}
            if "config" in said:
                raise UsageError("a config file must not name another one in `config`.")
            _refuse_others(name, said)
            start = parse(extended, _as_arguments(said), default=start, **described)
        except UsageError as error:
            raise UsageError(f"{path}: {error}") from error
    _refuse_others(name, [a.partition("=")[0] for a in arguments if a.startswith("--")])
    parsed = parse(extended, arguments, default=start, **described)
    shared = {f.name: getattr(parsed, f.name) for f in dataclasses.fields(kind)}
    shared["hyperparameters"] = dataclasses.asdict(parsed.hyperparameters)
    resolved = kind(**shared)
    _check(command, resolved)
    return resolved


def parse(kind: Any, arguments: Sequence[str], **options: Any) -> Any:
    """An instance of the dataclass ``kind`` from a command line."""
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(
                kind, args=list(arguments), config=(tyro.conf.OmitArgPrefixes,), **options
            )
    except SystemExit as end:
        if end.code in (0, None):
            raise
        # The first line is a title. Rules separate the message from similar options.
        bare = [line.strip("╰╯│─ ") for line in complaint.getvalue().splitlines()[1:]]
        text = " ".join(line if line.strip("-") else "\n" for line in bare)
        message, *more = (part.strip() for part in text.split("\n") if part.strip())
        if found := UNREADABLE.fullmatch(message):
            kind = "an integer" if found[2].lower().startswith("int") else "a number"
            message = f"{found[1]} must be {kind}, got {found[3]}"
        similar = re.search(r"(?:Perhaps you meant|similar to \S+): +(--[\w-]+)", " ".join(more))
        hint = f". Did you mean {similar[1]!r}?" if similar else "."
        raise UsageError(message.rstrip(".") + hint) from end


def flag(key: str) -> str:
    """The option of a key: ``"--batch-size"`` of ``"batch_size"``."""
    return "--" + key.replace("_", "-")


def command_of(options: TrainOptions) -> str:
    """The command line that trains with these options, quoted for a shell."""
    default = default_options(TrainOptions, options.optimizer)
    usual = {**vars(default), "dataset": None, "optimizer": "", **default.hyperparameters}
    every = {f.name: getattr(options, f.name) for f in dataclasses.fields(TrainOptions)}
    if options.file is None:
        every["dataset"] = options.dataset or "digits"
    differing = {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in {**every, **options.hyperparameters}.items()
        if key not in OF_A_CALL and value != usual[key]
    }
    return shlex.join(["jaxopt-course", "train", *_as_arguments(differing)])


def default_options(kind: type[TrainOptions], name: str) -> Any:
    """The default options of an optimizer."""
    own = {key: option.default for key, option in RECIPES[name].options.items()}
    own |= _DECAY if name == TrainOptions.optimizer else {}
    rate = RECIPES[name].learning_rate
    return kind(optimizer=name, learning_rate=rate, hyperparameters=own)


def check_names(command: str, what: str, names: Sequence[str], known: Mapping[str, Any]) -> None:
    """Raise a UsageError unless ``names`` are different keys of ``known``."""
    for name in names:
        with usage_errors():
            checks.choice(command, what, name, known)
        if names.count(name) > 1:
            raise UsageError(f"`{what}` must not be repeated, got {name!r} more than once.")


def _check(command: str, options: TrainOptions) -> None:
    if options.dataset is not None:
        if options.file is not None:
            raise UsageError("FILE and --dataset exclude each other, got both.")
        check_names(command, "dataset", [options.dataset], dict.fromkeys(DATASETS))
    if (options.file is None) != (options.target is None):
        missing = "--target COLUMN" if options.target is None else "FILE"
        raise UsageError(f"FILE and --target must be given together; {missing} is missing.")
    if options.features is not None and options.drop is not None:
        raise UsageError("--features and --drop exclude each other, got both.")
    if options.file is None and (options.features or options.drop):
        raise UsageError("--features and --drop need a FILE.")
    if options.file is not None and not options.file.is_file():
        raise UsageError(f"FILE does not exist: {str(options.file)!r}.")


def _refuse_others(optimizer: str, named: Iterable[str]) -> None:
    """Raise a UsageError if one of the options belongs to other optimizers only."""
    own = RECIPES[optimizer].options
    for option in named:
        key = option.removeprefix("--").removeprefix("no-").replace("-", "_")
        owners = [name for name, recipe in RECIPES.items() if key in recipe.options]
        if owners and key not in own:
            raise UsageError(
                f"unknown option {option!r} for {optimizer}, whose options are "
                f"{', '.join(own) or 'none'}; it belongs to {', '.join(owners)}."
            )


def _read_config(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except FileNotFoundError as error:
        raise UsageError(f"--config FILE does not exist: {path!r}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not TOML: {error}.") from error


def _value_of(arguments: Sequence[str], option: str) -> str | None:
    """The last value of an option that is needed before the others can be parsed."""
    found = None
    for index, argument in enumerate(arguments):
        if argument == option and index + 1 < len(arguments):
            found = arguments[index + 1]
        elif argument.startswith(option + "="):
            found = argument[len(option) + 1 :]
    return found


def _as_arguments(table: dict[str, Any]) -> list[str]:
    """A config file as a command line."""
    arguments: list[str] = []
    for key, value in table.items():
        if key == "file":
            arguments.insert(0, str(value))
        elif isinstance(value, bool):
            arguments.append(flag(key) if value else flag(f"no_{key}"))
        elif isinstance(value, list) and key == "space":  # repeated once per range
            arguments += [part for item in value for part in (flag(key), str(item))]
        elif isinstance(value, list):
            arguments += [flag(key), *map(str, value)]
        else:
            arguments += [flag(key), str(value)]
    return arguments


def _extended(kind: type[TrainOptions], default: TrainOptions) -> Any:
    """``kind`` without its unused options, and with those of one optimizer as a group."""
    options = RECIPES[default.optimizer].options
    group: Any = dataclasses.make_dataclass(
        "Hyperparameters",
        [
            (key, Annotated[options[key].kind, tyro.conf.arg(help=options[key].help)], value)
            for key, value in default.hyperparameters.items()
        ],
        frozen=True,
    )
    suppressed: Any = tyro.conf.Suppress
    fields: list[Any] = [
        (field.name, suppressed[field.type], field.default)
        for field in dataclasses.fields(kind)
        if field.name in kind.unused
    ]
    named = Annotated[group, tyro.conf.arg(name=default.optimizer)]
    fields.append(("hyperparameters", named, group()))
    return dataclasses.make_dataclass("Options", fields, bases=(kind,), frozen=True)


def _description(about: str) -> str:
    lines = [about, ""]
    lines += [f"Data sets: {', '.join(DATASETS)}, or a FILE with --target.", "", "Optimizers:"]
    lines += [f"  {key}: {', '.join(map(flag, r.options)) or '-'}" for key, r in RECIPES.items()]
    return "\n".join(lines)
