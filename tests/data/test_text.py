"""Text becomes rows of bytes, and targets are the bytes after them."""

import numpy as np
import pytest

from jaxopt_course.data import decode_tokens, encode_text, text


@pytest.fixture
def files(tmp_path):
    paths = [tmp_path / "one.txt", tmp_path / "two.txt"]
    for path, content in zip(paths, ("Grüße, ", "日本 and so on."), strict=True):
        path.write_text(content, encoding="utf-8")
    return paths


def test_rows_are_the_joined_files_and_targets_are_one_byte_ahead(files):
    inputs, targets = text(files, length=4)
    whole = b"".join(path.read_bytes() for path in files)
    rows = (len(whole) - 1) // 4
    assert inputs.shape == targets.shape == (rows, 4)
    assert inputs.dtype == targets.dtype == np.int32
    assert bytes(inputs.ravel().tolist()) == whole[: 4 * rows]
    assert bytes(targets.ravel().tolist()) == whole[1 : 4 * rows + 1]


def test_one_path_may_be_given_without_a_list(files):
    np.testing.assert_array_equal(text(str(files[1]), 4)[0], text([files[1]], 4)[0])


def test_every_text_comes_back():
    for string in ("", "plain", "Grüße 日本 \x00\n"):
        assert decode_tokens(encode_text(string)) == string
    assert decode_tokens(np.array([0x47, 0xC3])) == "G\N{REPLACEMENT CHARACTER}"


def test_what_is_too_short_or_missing_is_refused(files, tmp_path):
    with pytest.raises(ValueError, match=r"at least `length` \+ 1 = 101 bytes, got 2. bytes in 2"):
        text(files, length=100)
    with pytest.raises(FileNotFoundError):
        text(tmp_path / "none.txt")


@pytest.mark.usefixtures("as_users_run_it")
@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (lambda: decode_tokens(np.array([3, 256])), ValueError, r"lie in \[0, 256\), got 256"),
        (lambda: decode_tokens(np.array([-1])), ValueError, r"lie in \[0, 256\), got -1"),
        (lambda: decode_tokens(np.ones((2, 3), int)), TypeError, "must be a vector of integers"),
        (lambda: decode_tokens(np.ones(3)), TypeError, "must be a vector of integers"),
        (lambda: encode_text(b"bytes"), TypeError, "must be a str, got b'bytes'"),
        (lambda: text("x", length=0), ValueError, r"`length` must lie in \[1, inf\)"),
    ],
)
def test_bad_arguments_get_a_sentence(call, error, sentence):
    with pytest.raises(error, match=sentence):
        call()
