import gzip
import struct

import numpy as np
import pytest

from jaxopt_course.data import mnist, read_idx


TYPES = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}


def idx(array) -> bytes:
    """The file of an array, written without the reader."""
    kind = array.dtype.str[1:]
    header = bytes([0, 0, TYPES[kind], array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    codes = dict(zip(TYPES, "Bbhifd", strict=True))
    return header + struct.pack(f">{array.size}{codes[kind]}", *array.ravel().tolist())


def write(path, content):
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("compress", [False, True])
def test_every_type_is_read_compressed_or_not(tmp_path, kind, compress):
    array = np.arange(-6, 18).astype(kind).reshape(2, 3, 4)
    content = idx(array)
    path = write(tmp_path / "no-ending", gzip.compress(content) if compress else content)
    np.testing.assert_array_equal(read_idx(path), array, strict=True)
    assert read_idx(path).dtype.isnative


VECTOR = idx(np.arange(5, dtype=np.uint8))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"must begin with two zero bytes, .*, got \[\]"),
        (b"\0\0\x08", r"must begin with two zero bytes"),
        (b"\1" + VECTOR[1:], r"must begin with two zero bytes, .*, got \[1, 0, 8, 1\]"),
        (
            b"\0\0\x0a\1" + VECTOR[4:],
            r"must begin with .* a type of \[8, 9, 11, 12, 13, 14\] .* got \[0, 0, 10, 1\]",
        ),
        (
            b"\0\0\x08\0" + VECTOR[4:],
            r"must begin with .* number of axes above 0, got \[0, 0, 8, 0\]",
        ),
        (VECTOR[:6], "ends within its header"),
        (VECTOR[:-1], r"must hold 5 bytes after its header, for uint8 of shape \(5,\), got 4"),
        (VECTOR + b"\0", "must hold 5 bytes after its header, .*, got more"),
        # A header that claims more than any memory is refused without taking any.
        (b"\0\0\x08\4" + b"\xff" * 16, "must hold 3402823.* bytes after its header, .*, got 0"),
    ],
)
@pytest.mark.parametrize("compress", [False, True])
def test_anything_else_is_refused(tmp_path, content, message, compress):
    path = write(tmp_path / "bad", gzip.compress(content) if compress else content)
    with pytest.raises(ValueError, match="read_idx: .*bad' " + message):
        read_idx(path)


@pytest.mark.parametrize("damage", ["cut", "flip"])
def test_a_damaged_archive_is_refused(tmp_path, damage):
    content = bytearray(gzip.compress(VECTOR))
    if damage == "cut":
        content = content[:-6]
    else:
        content[-7] ^= 1  # of the checksum
    with pytest.raises(ValueError, match=r"read_idx: cannot decompress .*bad"):
        read_idx(write(tmp_path / "bad", bytes(content)))


def four_files(folder, n=7):
    generator = np.random.default_rng(0)
    written = {}
    for part, ending in (("train", ""), ("t10k", ".gz")):
        images = generator.integers(0, 256, (n, 28, 28), np.uint8)
        labels = generator.integers(0, 10, n).astype(np.uint8)
        pack = gzip.compress if ending else bytes
        write(folder / f"{part}-images-idx3-ubyte{ending}", pack(idx(images)))
        write(folder / f"{part}-labels-idx1-ubyte{ending}", pack(idx(labels)))
        written[part] = images, labels
    return written


def test_mnist_is_read_from_its_four_files(tmp_path):
    written = four_files(tmp_path)
    train, test = mnist(tmp_path)
    assert (train.name, test.name) == ("mnist", "mnist_test")
    for data, (images, labels) in zip((train, test), written.values(), strict=True):
        assert data.inputs.dtype == np.float32
        np.testing.assert_allclose(data.inputs.reshape(-1, 28, 28) * 255, images, rtol=1e-6)
        np.testing.assert_array_equal(data.targets, labels)
        assert data.targets.dtype == np.int32
        assert (len(data.feature_names), len(data.target_names)) == (784, 10)
        assert data.problem == "multiclass"


def test_files_that_are_not_mnists_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"mnist: there is no file .*train-images.*'.gz'"):
        mnist(tmp_path)
    four_files(tmp_path)
    labels = tmp_path / "train-labels-idx1-ubyte"
    for content, message in [
        (idx(np.zeros(6, np.uint8)), "every input needs one target: got 7 inputs and 6 targets"),
        (idx(np.full(7, 10, np.uint8)), r"labels must lie in \[0, 9\], got 10"),
        (idx(np.zeros((7, 1), np.uint8)), r"must hold bytes on 1 axes, got uint8 of shape \(7, 1"),
        (idx(np.zeros(7, np.int16)), r"must hold bytes on 1 axes, got int16"),
    ]:
        labels.write_bytes(content)
        with pytest.raises(ValueError, match="mnist: .*" + message):
            mnist(tmp_path)
