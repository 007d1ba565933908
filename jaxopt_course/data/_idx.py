"""IDX files, the format of MNIST: arrays with a short header, compressed or not.

    0, 0, type, number of axes        one byte each
    length of each axis               four bytes each, big-endian
    the entries                       big-endian, the last axis the fastest

Reference: LeCun, Cortes & Burges, "The MNIST database", http://yann.lecun.com/exdb/mnist/.
"""

import gzip
import io
import math
import os
import pathlib
import zlib

import numpy as np
from jaxtyping import Shaped

from ._dataset import Dataset, check_examples


_DTYPES = {8: "u1", 9: "i1", 11: "i2", 12: "i4", 13: "f4", 14: "f8"}
_CHUNK = 2**20  # a header may claim any size: memory is taken only as data come


def read_idx(path: str | os.PathLike[str]) -> Shaped[np.ndarray, "..."]:
    """The array in an IDX file, compressed by gzip or not.

    Args:
        path: the file; what it holds decides, not its name.

    Returns:
        The array, in the machine's byte order.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the magic number, the type or the number of axes is none of the format's,
            or the entries are fewer or more than the header says.
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
    """The training and the test examples of MNIST, from the four files of its distribution.

    That is ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte`` and, with ``t10k`` in place
    of ``train``, those of the test; each with or without ``.gz``. Data sets of the same form,
    such as Fashion-MNIST, are read too. See :func:`download` for how to get them.

    Args:
        directory: where they are.

    Returns:
        Two data sets, of images as rows of pixels in [0, 1]: ``inputs.reshape(-1, 28, 28, 1)``.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if a file is not what its name says.
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
    """What is left of ``file``, up to ``limit`` bytes."""
    content = bytearray()
    while piece := file.read(min(_CHUNK, limit - len(content))):
        content += piece
    return content
