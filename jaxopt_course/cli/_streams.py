"""Standard streams that can be closed, full, or a pipe that nobody reads.

What a person is told on stderr is lost if it cannot be written: that ends no training. What a
command prints on stdout is its result: if it cannot be written, the command has failed.
"""

import io
import os
import sys


def open_streams() -> None:
    """Give the process the streams that it lacks, and a stderr that never fails."""
    # A file that is opened later would get the number of a closed stream, and its output.
    for number, mode in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, mode)  # to write to 1 is an error, as it was
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    encoding = "utf-8" if sys.stderr is None else sys.stderr.encoding
    sys.stderr = io.TextIOWrapper(
        io.BufferedWriter(_Lossy()), encoding, "backslashreplace", line_buffering=True
    )


def print_out(text: str) -> None:
    """Write the result of a command to stdout.

    Raises:
        OSError: if it cannot be written.
    """
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        raise OSError(f"stdout cannot be written: {error.strerror or error}.") from error


def close_output() -> str | None:
    """Write what is left for stdout; None, or why it could not be written."""
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is left is written at the exit, again
        return error.strerror
    return None


class _Lossy(io.RawIOBase):
    """Stderr, where what cannot be written counts as written."""

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return 2

    def isatty(self) -> bool:
        return os.isatty(2)

    def write(self, content: bytes) -> int:  # type: ignore[override]
        left = memoryview(content)
        try:
            while left:
                left = left[os.write(2, left) :]
        except OSError:
            pass
        return len(content)
