"""Files from the network: only over https, only of a known content, whole or not at all."""

import hashlib
import os
import pathlib
import re
import urllib.parse
from collections.abc import Callable
from typing import Any

from jaxopt_course.core import checks, replacing


_CHUNK = 2**20
_PATIENCE = 60.0  # seconds without a byte


def download(
    url: str,
    path: str | os.PathLike[str],
    sha256: str,
    *,
    max_bytes: int = 2**30,
    progress: Callable[[int], Any] | None = None,
) -> pathlib.Path:
    """Fetch ``url`` to ``path``, unless the right file is there already.

    The file appears under its name only when it is complete and its content is right; what was
    there before stays until then. Nothing is left behind otherwise.

    Args:
        url: ``https://`` or ``file://``.
        path: of the file; its directory is made if need be.
        sha256: the digest of the content, 64 hexadecimal digits.
        max_bytes: how large the file may be, in [1, inf).
        progress: told the number of bytes so far, after each part.

    Returns:
        The path.

    Raises:
        ValueError: if an argument is not as said, or the content is another or too large.
        OSError: if the URL cannot be read, or the file not be written.
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
            request.Request(url, headers={"User-Agent": "jaxopt_course"}), timeout=_PATIENCE
        )
    except error.URLError as reason:
        raise OSError(f"download: cannot read {url!r}: {reason}") from reason
    size = 0
    with source, path.open("wb") as file:
        _check_scheme(source.url)  # it may have been redirected
        while piece := source.read(_CHUNK):
            size += len(piece)
            if size > max_bytes:
                raise ValueError(
                    f"download: {url!r} must have at most {max_bytes} bytes, got more."
                )
            file.write(piece)
            if progress is not None:
                progress(size)


def _digest(path: pathlib.Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
