"""What a checkpoint says about itself: one JSON object, saved beside the arrays.

``{"format", "step", "loss", "time", "about", "leaves": [{"path", "dtype", "shape", "sha256",
"key"}], "sha256"}``

The last entry is the digest of all others, written as JSON with sorted keys and no blanks: it is
checked first, in every format that is to come.
"""

import datetime
import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from ._checkpoint_errors import CheckpointCorruptError, CheckpointError, briefly


FORMAT = 2

# How what an older format says becomes what the next one would say: (about, leaves by path), both.
UPGRADES: dict[int, Callable[[dict[str, Any], dict[str, Any]], tuple[Any, dict[str, Any]]]] = {
    1: lambda about, leaves: (about, _with_skipped(leaves))
}


class LeafRecord(NamedTuple):
    """One array of a checkpoint.

    path: where it lies in the tree.
    dtype: the name of its dtype, of a typed key ``"key<...>"``.
    shape: its shape.
    sha256: the digest of its bytes in C order, of a typed key those of its data.
    key: the name of the generator that a typed key is for, else None.
    """

    path: str
    dtype: str
    shape: tuple[int, ...]
    sha256: str
    key: str | None = None

    @property
    def is_empty(self) -> bool:
        """Whether it has no bytes."""
        return 0 in self.shape


class Manifest(NamedTuple):
    """A checkpoint without its arrays.

    step: how many steps had been taken.
    loss: what the checkpoints are ranked by, or None.
    about: what the caller wrote of it.
    leaves: its arrays; the n-th is saved under the name ``f"{n:04d}"``.
    time: when it was saved.
    format: the version of the format.
    """

    step: int
    loss: float | None
    about: dict[str, Any]
    leaves: tuple[LeafRecord, ...]
    time: datetime.datetime
    format: int = FORMAT


def encode_manifest(manifest: Manifest) -> dict[str, Any]:
    """What JSON writes of ``manifest``, sealed by its digest.

    Raises:
        TypeError, ValueError: if ``about`` holds what JSON cannot write.
    """
    plain = manifest._asdict() | {
        "time": manifest.time.isoformat(timespec="milliseconds"),
        "leaves": [record._asdict() for record in manifest.leaves],
    }
    plain = json.loads(json.dumps(plain))  # as a reader will see it: lists for tuples
    return plain | {"sha256": _seal(plain)}


def decode_manifest(content: bytes, place: str) -> Manifest:
    """The manifest that was written as ``content``.

    Args:
        content: the bytes of the file.
        place: of which checkpoint, for the messages.

    Raises:
        CheckpointCorruptError: if it is not what was written.
        CheckpointError: if it is of a format that this library does not read.
    """
    try:
        plain = json.loads(content)
        if plain.pop("sha256") != _seal(plain):
            raise ValueError("the checksum differs")
        version = plain["format"]
        if version == FORMAT or version in UPGRADES:
            return Manifest(
                step=plain["step"],
                loss=plain["loss"],
                about=plain["about"],
                leaves=tuple(_record(leaf) for leaf in plain["leaves"]),
                time=datetime.datetime.fromisoformat(plain["time"]),
                format=version,
            )
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise CheckpointCorruptError(
            f"{place} is corrupt: its manifest: {briefly(error)}."
        ) from error
    raise CheckpointError(
        f"{place} has format {version}, this library reads format {FORMAT}: install the version "
        "of the library that wrote it, or a later one."
    )


def _record(plain: Mapping[str, Any]) -> LeafRecord:
    return LeafRecord(**{**plain, "shape": tuple(plain["shape"])})


def _seal(plain: Mapping[str, Any]) -> str:
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _with_skipped(leaves: dict[str, Any]) -> dict[str, Any]:
    """Format 1 is from before trainings could skip steps: none was."""
    is_training = ".state.step" in leaves
    return {**leaves, ".skipped": np.zeros((), np.int32)} if is_training else leaves
