"""MNIST and its relatives: checked downloads, and files in the IDX format.

    0, 0, type, number of axes        one byte each
    length of each axis               four bytes each, big-endian
    the entries                       big-endian, the last axis the fastest

Reference: LeCun, Cortes & Burges, "The MNIST database", http://yann.lecun.com/exdb/mnist/.
"""

import gzip
import hashlib
import io
import math
import os
import pathlib
import re
import urllib.parse
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Shaped

from jaxopt_course.core import checks, replacing

from ._dataset import Dataset, check_examples


_DTYPES = {8: "u1", 9: "i1", 11: "i2", 12: "i4", 13: "f4", 14: "f8"}
_CHUNK = 2**20  # bytes read at a time, because a header may claim any size
_TIMEOUT = 60.0  # seconds without a byte


def download(
    url: str,
    path: str | os.PathLike[str],
    sha256: str,
    *,
    max_bytes: int = 2**30,
    progress: Callable[[int], Any] | None = None,
) -> pathlib.Path:
    """Download ``url`` to ``path``, unless the file is there already.

    The file is replaced atomically, after its digest has been checked.

    Args:
        url: an ``https://`` or ``file://`` URL.
        path: path of the file; its directory is made if it does not exist.
        sha256: digest of the content, 64 hexadecimal digits.
        max_bytes: largest size of the file in bytes, in [1, inf).
        progress: function that is called with the number of bytes received so far.

    Returns:
        The path.

    Raises:
        ValueError: if an argument is invalid, or the content has another digest or is too large.
        OSError: if the URL cannot be read, or the file cannot be written.
    """
    owner = "download"
    _check_scheme(url)
    checks.integer(owner, "max_bytes", max_bytes, "[1, inf)")
    if not re.fullmatch("[0-9a-fA-F]{64}", sha256):
        raise ValueError(f"{owner}: `sha256` must be 64 hexadecimal digits, got {sha256!r}.")
    path, wanted = pathlib.Path(path), sha256.lower()
    if path.is_file() and _digest(path) == wanted:
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        _fetch(url, part, max_bytes, progress)
        got = _digest(part)
        if got != wanted:
            raise ValueError(f"{owner}: {url!r} must have the SHA-256 {wanted}, got {got}.")
    return path


def _check_scheme(url: str) -> None:
    checks.choice("download", "url scheme", urllib.parse.urlsplit(url).scheme, ("https", "file"))


def _fetch(
    url: str, path: pathlib.Path, max_bytes: int, progress: Callable[[int], Any] | None
) -> None:
    from urllib import error, request

    try:
        source = request.urlopen(
            request.Request(url, headers={"User-Agent": "jaxopt_course"}), timeout=_TIMEOUT
        )
    except error.URLError as reason:
        raise OSError(f"download: cannot read {url!r}: {reason}") from reason
    size = 0
    with source, path.open("wb") as file:
        _check_scheme(source.url)  # after redirections
        while chunk := source.read(_CHUNK):
            size += len(chunk)
            if size > max_bytes:
                raise ValueError(
                    f"download: {url!r} must have at most {max_bytes} bytes, got more."
                )
            file.write(chunk)
            if progress is not None:
                progress(size)


def _digest(path: pathlib.Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_idx(path: str | os.PathLike[str]) -> Shaped[np.ndarray, "..."]:
    """The array in an IDX file, in the machine's byte order.

    Args:
        path: path of the file, which may be compressed by gzip whatever its name is.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the header is invalid, or does not match the number of entries.
    """
    path = pathlib.Path(path)
    with path.open("rb") as raw:
        compressed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        try:
            if not compressed:
                return _array(path, raw)
            with gzip.GzipFile(fileobj=raw) as file:
                return _array(path, file)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ValueError(f"read_idx: cannot decompress {str(path)!r}: {error}") from error


def mnist(directory: str | os.PathLike[str]) -> tuple[Dataset, Dataset]:
    """The training and test examples of MNIST, or of a data set in the same format.

    Args:
        directory: directory of ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte``,
            ``t10k-images-idx3-ubyte`` and ``t10k-labels-idx1-ubyte``, each with or without ``.gz``.

    Returns:
        Two data sets of flat images in [0, 1]; ``inputs.reshape(-1, 28, 28, 1)`` are images.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if a file has another content.
    """
    return _digits(directory, "train"), _digits(directory, "t10k")


def _digits(directory: str | os.PathLike[str], part: str) -> Dataset:
    images = _bytes(directory, f"{part}-images-idx3-ubyte", 3)
    labels = _bytes(directory, f"{part}-labels-idx1-ubyte", 1)
    check_examples("mnist", images, labels)
    if labels.max() > 9:
        raise ValueError(f"mnist: labels must lie in [0, 9], got {labels.max()}.")
    n, height, width = images.shape
    return Dataset(
        inputs=images.reshape(n, -1).astype(np.float32) / np.float32(255),
        targets=labels.astype(np.int32),
        feature_names=tuple(f"pixel_{i}_{j}" for i in range(height) for j in range(width)),
        target_names=tuple(map(str, range(10))),
        name="mnist" if part == "train" else "mnist_test",
        problem="multiclass",
        description=f"Images of {height}x{width} grey pixels in ten classes.",
    )


def _bytes(directory: str | os.PathLike[str], name: str, axes: int) -> np.ndarray:
    places = [pathlib.Path(directory, name + ending) for ending in ("", ".gz")]
    found = [place for place in places if place.is_file()]
    if not found:
        raise FileNotFoundError(f"mnist: there is no file {str(places[0])!r}, nor with '.gz'.")
    array = read_idx(found[0])
    if array.dtype != np.uint8 or array.ndim != axes:
        raise ValueError(
            f"mnist: {str(found[0])!r} must hold bytes on {axes} axes, "
            f"got {array.dtype.name} of shape {array.shape}."
        )
    return array


def _array(path: pathlib.Path, file: io.BufferedIOBase) -> Shaped[np.ndarray, "..."]:
    owner = f"read_idx: {str(path)!r}"
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _DTYPES or magic[3] == 0:
        raise ValueError(
            f"{owner} must begin with two zero bytes, a type of {sorted(_DTYPES)} and a number of "
            f"axes above 0, got {list(magic)}."
        )
    header = file.read(4 * magic[3])
    if len(header) < 4 * magic[3]:
        raise ValueError(f"{owner} ends within its header.")
    shape = tuple(map(int, np.frombuffer(header, ">u4")))
    dtype = np.dtype(_DTYPES[magic[2]])
    expected = math.prod(shape) * dtype.itemsize
    content = _read(file, expected + 1)
    if len(content) != expected:
        size = "more" if len(content) > expected else len(content)
        raise ValueError(
            f"{owner} must hold {expected} bytes after its header, for {dtype.name} of shape "
            f"{shape}, got {size}."
        )
    return np.frombuffer(content, dtype.newbyteorder(">")).reshape(shape).astype(dtype)


def _read(file: io.BufferedIOBase, limit: int) -> bytearray:
    """The rest of ``file``, up to ``limit`` bytes."""
    content = bytearray()
    while chunk := file.read(min(_CHUNK, limit - len(content))):
        content += chunk
    return content
