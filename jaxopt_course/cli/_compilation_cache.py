"""Compiled programs are kept on disk, so that the same command starts faster the next time."""

import os
import pathlib
import sys
import tempfile
import warnings


DIRECTORY, ENABLE = "JAX_COMPILATION_CACHE_DIR", "JAX_ENABLE_COMPILATION_CACHE"
SHORTEST = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"
OFF = ("0", "false", "no", "off", "n", "f")


def keep_compiled_programs() -> None:
    """Have jax, which must not be imported yet, keep what it compiles in the user's cache.

    A directory that the environment names wins, and so does jax's own switch. What takes less than
    a tenth of a second to compile is compiled again, and a file that cannot be read or written is
    passed over: that costs time only.
    """
    if DIRECTORY in os.environ or os.environ.get(ENABLE, "").lower() in OFF:
        return
    try:
        directory = cache_directory()
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)  # it holds code that is run
        tempfile.TemporaryFile(dir=directory).close()
    except (OSError, RuntimeError) as error:  # the latter where there is no home
        sys.stderr.write(f"jaxopt-course: compiled programs are not kept: {error}.\n")
        return
    os.environ[DIRECTORY] = str(directory)
    os.environ.setdefault(SHORTEST, "0.1")
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache entry")


def cache_directory() -> pathlib.Path:
    """Where the system keeps what can be made again."""
    home = pathlib.Path.home()
    usual = {"darwin": home / "Library" / "Caches", "win32": home / "AppData" / "Local"}
    base = os.environ.get("XDG_CACHE_HOME") or usual.get(sys.platform, home / ".cache")
    return pathlib.Path(base).absolute() / "jaxopt-course" / "programs"
