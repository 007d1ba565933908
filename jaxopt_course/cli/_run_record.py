"""The record of a run as it is read back: each part that is used is checked first."""

import json
import math
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

from ._errors import UsageError
from ._options import TrainOptions


class RunRecord(NamedTuple):
    """What ``evaluate`` needs of a run's record.

    path: of its file, for messages.
    outcome: how the training ended.
    options: those that decide the data and its split; all others are defaults.
    data_sha256: the digest of the data set.
    feature_names: one for each column of the inputs.
    """

    path: pathlib.Path
    outcome: str
    options: TrainOptions
    data_sha256: str
    feature_names: tuple[str, ...]


Rule = tuple[str, Callable[[Any], bool]]  # in words, and as a test


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_number(value: Any) -> bool:
    return isinstance(value, float) and math.isfinite(value)


TEXT: Rule = ("a string", _is_text)
TEXT_OR_NULL: Rule = ("a string or null", lambda x: x is None or _is_text(x))
NUMBER: Rule = ("a number", _is_number)
INTEGER: Rule = ("an integer", lambda x: isinstance(x, int) and not isinstance(x, bool))
TABLE: Rule = ("an object", lambda x: isinstance(x, dict))
NAMES: Rule = (
    "a list of different strings",
    lambda x: isinstance(x, list) and all(map(_is_text, x)) and len(set(x)) == len(x) > 0,
)
CONFIG = {
    "file": TEXT_OR_NULL,
    "target": TEXT_OR_NULL,
    "dataset": TEXT_OR_NULL,
    "model": ("'mlp' or 'cnn'", lambda x: x in ("mlp", "cnn")),
    "scaling": (
        "'auto', 'standard', 'min_max' or 'none'",
        lambda x: x in ("auto", "standard", "min_max", "none"),
    ),
    "validation": NUMBER,
    "test": NUMBER,
    "seed": INTEGER,
}


def read_record(path: pathlib.Path) -> RunRecord:
    """The record in the file ``path``.

    Raises:
        UsageError: if there is no such file.
        ValueError: if it is damaged, or the record of something else.
    """
    if not path.is_file():
        raise UsageError(f"{str(path.parent)!r} holds no run: it has no {path.name}.")
    try:
        record = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        why = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise ValueError(f"{path} is not JSON, so not the record of a run: {why}.") from error
    if not isinstance(record, dict):
        raise ValueError(f"{path} is not the record of a run: it must hold an object.")
    config, dataset = (_part(path, record, name, TABLE) for name in ("config", "dataset"))
    said = {name: _part(path, config, name, rule, "config.") for name, rule in CONFIG.items()}
    file = said.pop("file")
    if (file is None) != (said["target"] is None) or (file is not None and said["dataset"]):
        raise ValueError(f"{path} is damaged: `config` names two data sets, or none.")
    return RunRecord(
        path=path,
        outcome=_part(path, record, "outcome", TEXT),
        options=TrainOptions(**said, file=None if file is None else pathlib.Path(file)),
        data_sha256=_part(path, dataset, "sha256", TEXT, "dataset."),
        feature_names=tuple(_part(path, dataset, "feature_names", NAMES, "dataset.")),
    )


def _part(
    path: pathlib.Path, table: dict[str, Any], name: str, rule: Rule, within: str = ""
) -> Any:
    """The entry ``name``, which must be there and obey ``rule``."""
    words, obeys = rule
    if name not in table:
        raise ValueError(f"{path} is not the record of a run: it has no `{within}{name}`.")
    value = table[name]
    if not obeys(value):
        shown = repr(value)
        shown = shown if len(shown) <= 60 else f"{shown[:60]}..."
        raise ValueError(f"{path} is damaged: `{within}{name}` must be {words}, got {shown}.")
    return value
