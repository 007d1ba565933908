"""Text as tokens: one for each byte of its UTF-8 encoding, so no vocabulary has to be learned.

A language model reads the tokens x_1, ..., x_T of a row and predicts x_2, ..., x_(T+1).
"""

import os
import pathlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int32, Integer

from jaxopt_course.core import checks


BYTES = 256  # the size of the vocabulary

Path = str | os.PathLike[str]


def encode_text(text: str) -> Int32[np.ndarray, "n"]:
    """The bytes of ``text`` in UTF-8, numbers in [0, 256).

    Examples:
        >>> encode_text("né").tolist()
        [110, 195, 169]
    """
    if not isinstance(text, str):
        raise TypeError(f"encode_text: `text` must be a str, got {checks.shown(text)}.")
    return np.frombuffer(text.encode(), np.uint8).astype(np.int32)


def decode_tokens(tokens: Integer[np.ndarray, "n"]) -> str:
    """The text of some bytes; those that are not UTF-8 become the replacement character.

    Examples:
        >>> decode_tokens(encode_text("né"))
        'né'
    """
    tokens = np.asarray(tokens)
    if tokens.ndim != 1 or not np.issubdtype(tokens.dtype, np.integer):
        raise TypeError(
            "decode_tokens: `tokens` must be a vector of integers, such as one row of a batch, "
            f"got {checks.shown(tokens)}."
        )
    outside = tokens[(tokens < 0) | (tokens >= BYTES)]
    if len(outside):
        raise ValueError(f"decode_tokens: `tokens` must lie in [0, 256), got {outside[0]}.")
    return tokens.astype(np.uint8).tobytes().decode(errors="replace")


def text(
    files: Path | Sequence[Path], length: int = 128
) -> tuple[Int32[np.ndarray, "rows length"], Int32[np.ndarray, "rows length"]]:
    """The bytes of some files as rows of inputs and targets for a language model.

    The files are joined in the order given and cut into rows; the rest that is shorter than a row
    is dropped. A target is the byte after its input, so the last target of a row is the first input
    of the next one. The last rows are the end of the text: use them for validation.

    Args:
        files: path of a file, or several paths.
        length: number of bytes of a row, in [1, inf).

    Returns:
        Inputs and targets, whose entries lie in [0, 256).

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if there are fewer than ``length + 1`` bytes.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "some.txt")
        ...     _ = path.write_text("to be or not")
        ...     inputs, targets = text(path, length=5)
        >>> [decode_tokens(row) for row in (*inputs, *targets)]
        ['to be', ' or n', 'o be ', 'or no']
    """
    checks.integer("text", "length", length, "[1, inf)")
    paths = [files] if isinstance(files, str | os.PathLike) else list(files)
    joined = np.frombuffer(b"".join(pathlib.Path(path).read_bytes() for path in paths), np.uint8)
    rows = (len(joined) - 1) // length
    if rows < 1:
        raise ValueError(
            f"text: `files` must have at least `length` + 1 = {length + 1} bytes, got "
            f"{checks.counted(len(joined), 'byte')} in {checks.counted(len(paths), 'file')}."
        )
    as_rows = lambda part: part.astype(np.int32).reshape(rows, length)
    return as_rows(joined[: rows * length]), as_rows(joined[1 : rows * length + 1])
