"""The manifest of a checkpoint, a JSON object that is saved beside the arrays, and all errors.

``{"format", "step", "loss", "time", "about", "leaves": [{"path", "dtype", "shape", "sha256",
"key"}], "sha256"}``

The last entry is the digest of all others, written as JSON with sorted keys and without blanks. It
is checked first, and every later format must keep it.
"""

import datetime
import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from jaxopt_course.core import sha256


FORMAT = 2

# For each older format: (about, leaves by path) -> the same in the next format. What the leaves of
# format 1 lack is filled in by the caller of `CheckpointStore.restore`, who knows the tree.
UPGRADES: dict[int, Callable[[dict[str, Any], dict[str, Any]], tuple[Any, dict[str, Any]]]] = {
    1: lambda about, leaves: (about, leaves)
}


class CheckpointError(RuntimeError):
    """A checkpoint cannot be written or read."""


class CheckpointCorruptError(CheckpointError):
    """A checkpoint on disk is not what was saved: damaged, truncated or incomplete."""


class CheckpointMismatchError(CheckpointError, ValueError):
    """The checkpoint is intact, but belongs to another state, program or data set."""


class CheckpointLockedError(CheckpointError):
    """Another store uses the directory."""


class CheckpointWarning(UserWarning):
    """A checkpoint was used that differs from the request: it is older, or has other numbers."""


def briefly(error: BaseException) -> str:
    """Type and message of ``error`` on one line; a long message is shortened in the middle."""
    text = " ".join(str(error).split()).rstrip(".")
    text = text if len(text) <= 300 else f"{text[:100]} ... {text[-195:]}"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


class LeafRecord(NamedTuple):
    """Description of one array of a checkpoint.

    path: its path in the tree.
    dtype: the name of its dtype; ``"key<...>"`` for a typed key.
    shape: its shape.
    sha256: the digest of its bytes in C order; for a typed key, of the bytes of its key data.
    key: the PRNG implementation of a typed key, else None.
    """

    path: str
    dtype: str
    shape: tuple[int, ...]
    sha256: str
    key: str | None = None

    @property
    def is_empty(self) -> bool:
        """Whether the array has no entries."""
        return 0 in self.shape


class Manifest(NamedTuple):
    """Description of a checkpoint and of all its arrays.

    step: number of steps taken.
    loss: loss by which checkpoints are ranked, or None.
    about: the caller's own description.
    leaves: its arrays; array n is saved under the name ``f"{n:04d}"``.
    time: time of saving.
    format: version of the format.
    """

    step: int
    loss: float | None
    about: dict[str, Any]
    leaves: tuple[LeafRecord, ...]
    time: datetime.datetime
    format: int = FORMAT


def encode_manifest(manifest: Manifest) -> dict[str, Any]:
    """``manifest`` as a JSON object that includes its own digest.

    Raises:
        TypeError, ValueError: if JSON cannot represent ``about``.
    """
    plain = manifest._asdict() | {
        "time": manifest.time.isoformat(timespec="milliseconds"),
        "leaves": [record._asdict() for record in manifest.leaves],
    }
    plain = json.loads(json.dumps(plain))  # as a reader sees it: tuples become lists
    return plain | {"sha256": _seal(plain)}


def decode_manifest(content: bytes, place: str) -> Manifest:
    """The manifest in a file with these bytes; messages call the checkpoint ``place``.

    Raises:
        CheckpointCorruptError: if the bytes are not those that were written.
        CheckpointError: if this version of the library does not read the format.
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
                leaves=tuple(LeafRecord(**x | {"shape": (*x["shape"],)}) for x in plain["leaves"]),
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


def _seal(plain: Mapping[str, Any]) -> str:
    return sha256(json.dumps(plain, sort_keys=True, separators=(",", ":")))
