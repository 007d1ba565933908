"""Parsing with tyro, whose boxes of complaint become one line."""

import contextlib
import dataclasses
import difflib
import io
from collections.abc import Sequence
from typing import Any

import tyro

from ._errors import UsageError


_FRAME = "╭╮╰╯│─ "


def flag(key: str) -> str:
    """The option of a key: ``"--batch-size"`` of ``"batch_size"``."""
    return "--" + key.replace("_", "-")


def value_of(arguments: Sequence[str], option: str) -> str | None:
    """The last value of an option that has to be known before the others can be parsed."""
    found = None
    for index, argument in enumerate(arguments):
        if argument == option and index + 1 < len(arguments):
            found = arguments[index + 1]
        elif argument.startswith(option + "="):
            found = argument[len(option) + 1 :]
    return found


def unknown_keys(kind: Any, arguments: Sequence[str]) -> list[str]:
    """The keys of the options in ``arguments`` that the dataclass ``kind`` does not have."""
    named = [a.removeprefix("--").partition("=")[0] for a in arguments if a.startswith("--")]
    keys = [name.replace("-", "_") for name in named]
    known = {"help", *_keys(kind)}
    return [key for key in keys if key not in known and key.removeprefix("no_") not in known]


def parse(kind: Any, arguments: Sequence[str], **options: Any) -> Any:
    """An instance of the dataclass ``kind``.

    Raises:
        UsageError: if an option is unknown or has a wrong value, or something else is on the line.
    """
    for key in unknown_keys(kind, arguments):
        hint = nearest(flag(key), list(map(flag, _keys(kind))))
        raise UsageError(f"there is no option {flag(key)!r}.{hint}")
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(
                kind, args=list(arguments), config=(tyro.conf.OmitArgPrefixes,), **options
            )
    except SystemExit as end:
        if end.code in (0, None):
            raise
        raise UsageError(_first_paragraph(complaint.getvalue())) from end


def nearest(name: str, known: Sequence[str]) -> str:
    """A suggestion for a name that is not known, or nothing."""
    near = difflib.get_close_matches(name, known, n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def _keys(kind: Any) -> list[str]:
    """The fields of a dataclass, and instead of a group the fields in it."""
    keys: list[str] = []
    for field in dataclasses.fields(kind):
        inner = getattr(field.type, "__origin__", field.type)  # of Annotated[inner, ...]
        keys += _keys(inner) if dataclasses.is_dataclass(inner) else [field.name]
    return keys


def _first_paragraph(box: str) -> str:
    """The text of a box up to its first rule, without the frame, its lines joined."""
    lines = box.splitlines()[1:]
    rule = next((i for i, line in enumerate(lines) if not line.strip(_FRAME)), len(lines))
    return " ".join(line.strip(_FRAME) for line in lines[:rule])
