"""The trials of a comparison on disk: one file a cell, each of which says what it is.

A cell is what one contender did on one variant of one workload. Its file appears whole or not at
all. ``index.json`` says which cells belong to the comparison, in which order, and its targets.
"""

import json
import os
import pathlib
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxopt_course.core import replacing

from ._comparison import Comparison, Trials
from ._workload import VARIANTS


INDEX = "index.json"
Cell = tuple[str, str, str]  # contender, workload, variant


def check_name(owner: str, name: str) -> None:
    """Raise unless ``name`` may be part of a file's name."""
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*", name):
        raise ValueError(
            f"{owner}: a name must consist of letters, digits, `_`, `-` and `.`, which is not the "
            f"first, got {name!r}."
        )


def write_cell(
    directory: pathlib.Path, cell: Cell, trials: Trials, points: np.ndarray, about: dict[str, Any]
) -> None:
    """Keep the trials of a cell, and ``about``, which JSON can write."""
    directory.mkdir(parents=True, exist_ok=True)
    with replacing(_path(directory, cell)) as part, part.open("wb") as file:
        np.savez_compressed(
            file,
            values=np.asarray(trials.values, np.float32),
            costs=trials.costs,
            seconds_per_step=trials.seconds_per_step,
            points=points,
            about=json.dumps(about),
        )


def read_cell(
    directory: pathlib.Path, cell: Cell
) -> tuple[Trials, np.ndarray, dict[str, Any]] | None:
    """The trials of a cell, their points, and what was said about them; None if they are not there.

    Raises:
        ValueError: if its file is damaged.
    """
    path = _path(directory, cell)
    if not path.exists():
        return None
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            seconds = float(file["seconds_per_step"])
            trials = Trials(file["values"], file["costs"], seconds)
            return trials, file["points"], json.loads(str(file["about"]))
    except Exception as error:
        raise ValueError(f"compare: {path} is damaged ({error}); delete it.") from error


def write_index(directory: pathlib.Path, comparison: Comparison) -> None:
    """Note which cells there are, and the targets."""
    about = {
        "contenders": comparison.contenders,
        "workloads": comparison.workloads,
        "targets": [[*place, target] for place, target in comparison.targets.items()],
    }
    check_index(directory)
    with replacing(directory / INDEX) as part, part.open("wb") as file:
        file.write(f"{json.dumps(about, indent=2)}\n".encode())


def check_index(directory: pathlib.Path) -> None:
    """Raise if the index of ``directory`` is none of a comparison: it would be replaced."""
    path = directory / INDEX
    if not os.path.lexists(path):
        return
    try:
        about = {} if path.is_symlink() else json.loads(path.read_bytes())
    except (OSError, RecursionError, ValueError):
        about = {}
    if not (isinstance(about, dict) and {"contenders", "workloads", "targets"} <= about.keys()):
        raise ValueError(
            f"compare: {path} is not the index of a comparison, so it is not replaced: give "
            "another directory."
        )


def load_comparison(directory: str | os.PathLike[str]) -> Comparison:
    """The comparison that :func:`compare` has left in its directory ``resume``.

    Raises:
        ValueError: if there is none, or a cell of it is missing.
    """
    directory = pathlib.Path(directory)
    if not (directory / INDEX).exists():
        raise ValueError(f"load_comparison: {directory} must hold a finished comparison.")
    index = json.loads((directory / INDEX).read_text())
    found: dict[Cell, Trials] = {}
    points, about = {}, {}
    for workload in index["workloads"]:
        for variant in VARIANTS:
            for contender in index["contenders"]:
                cell = (contender, workload, variant)
                read = read_cell(directory, cell)
                if read is None:
                    raise ValueError(f"load_comparison: {_path(directory, cell)} is missing.")
                found[cell], points[contender], about[cell] = read
    targets = {(workload, variant): x for workload, variant, x in index["targets"]}
    return comparison_of(index["contenders"], index["workloads"], targets, found, points, about)


def comparison_of(
    contenders: list[str],
    workloads: list[str],
    targets: Mapping[tuple[str, str], float],
    trials: Mapping[Cell, Trials],
    points: Mapping[str, np.ndarray],
    about: Mapping[Cell, dict[str, Any]],
) -> Comparison:
    """Cells and what is said about them as a comparison."""
    first, last = contenders[0], workloads[-1]
    return Comparison(
        contenders=tuple(contenders),
        workloads=tuple(workloads),
        steps={name: about[first, name, "base"]["steps"] for name in workloads},
        targets=dict(targets),
        numbers={
            name: {k: np.array(v) for k, v in about[name, last, "base"]["numbers"].items()}
            for name in contenders
        },
        points=dict(points),
        trials=dict(trials),
    )


def _path(directory: pathlib.Path, cell: Cell) -> pathlib.Path:
    contender, workload, variant = cell
    return directory / f"{workload}.{variant}.{contender}.npz"
