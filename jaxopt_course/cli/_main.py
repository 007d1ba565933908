"""The program ``jaxopt-course``: its help, its commands, and the exit code of its process."""

import contextlib
import json
import os
import pathlib
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from typing import NoReturn

from jaxopt_course._version import __version__

from ._process import (
    COMPLETED,
    DIVERGED,
    FAILED,
    INTERRUPTED,
    USAGE,
    UsageError,
    close_output,
    command_begins,
    command_ends,
    has_printed,
    open_streams,
    print_out,
    requested,
    sentence_of,
    watch_signals,
)


HELP = """\
usage: jaxopt-course [-h] [--version] COMMAND ...

Train neural networks, evaluate and diagnose them, and tune and compare optimizers.

commands:
  train      train a model on a bundled data set or a table, and save it
  evaluate   compute the metrics of a trained model, or its predictions for new rows
  diagnose   check the gradients, the learning rate and the fit of a training
  search     search for the hyperparameters with the lowest validation loss
  compare    tune optimizers on small benchmark problems and compare them

options:
  -h, --help   show this help; `jaxopt-course COMMAND --help` shows the help of a command
  --version    show the version

environment:
  XDG_CACHE_HOME                   compiled programs are cached in its subdirectory
                                   jaxopt-course/programs, so that a command starts faster the next
                                   time; by default in ~/.cache, ~/Library/Caches or
                                   ~/AppData/Local; the files may be deleted at any time
  JAX_COMPILATION_CACHE_DIR        use this directory instead
  JAX_ENABLE_COMPILATION_CACHE=0   do not cache

exit codes: 0 done, 1 failed, 2 wrong usage, 3 diverged, 130 interrupted, 143 terminated
"""
CACHE, CACHE_SWITCH = "JAX_COMPILATION_CACHE_DIR", "JAX_ENABLE_COMPILATION_CACHE"
SHORTEST = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"

# The exit code is that of the first match.
EXIT_CODES = (
    (UsageError, USAGE),
    (FloatingPointError, DIVERGED),
    ((ValueError, OSError, ImportError, RuntimeError, MemoryError, OverflowError), FAILED),
)


def run_program() -> NoReturn:
    """Run the command line of this process, and exit with its code."""
    code: object = INTERRUPTED
    try:
        open_streams()  # before any other file is opened
        watch_signals()
        arguments = sys.argv[1:]
        if arguments and not arguments[0].startswith("-"):
            keep_compiled_programs()
        code = main(arguments)
        command_ends()
    except KeyboardInterrupt:
        command_ends()
    except SystemExit as end:  # after the help of a command
        command_ends()
        code = end.code
    number = requested()
    if number:
        code = 128 + number
    why = close_output()
    if why is not None and code in (COMPLETED, None):
        sys.stderr.write(f"jaxopt-course: stdout cannot be written: {why}.\n")
        code = FAILED
    if number:
        sys.stderr.flush()
        os._exit(128 + number)  # `sys.exit` would wait for the threads of a comparison
    sys.exit(code)  # type: ignore[arg-type]


def main(argv: Sequence[str]) -> int:
    """Run the command line ``argv``, without the program's name.

    Returns:
        The exit code: 0 done, 1 failed, 2 wrong usage, 3 diverged, 130 interrupted, 143 terminated.
        A failure or wrong usage is reported in one line on stderr, and with ``--json`` as an object
        with the entries ``error`` and ``exit_code`` on stdout too.

    Raises:
        SystemExit: with code 0, after the help of a command.
    """
    command, *arguments = argv or ["--help"]
    code: int
    text: BaseException | str
    try:
        run = _command(command)
        command_begins()
        return run(arguments)
    except BaseException as error:
        # The exception of a signal may have become another one on its way.
        if number := requested() or _signal_of(error):
            text, code = sentence_of(number), 128 + number
        elif (found := _exit_code(error)) is not None:
            text, code = error, found
        elif isinstance(error, AssertionError) and (why := _missing_platform()):
            text, code = why, FAILED
        else:
            raise
        return _complain(command, text, code, in_json="--json" in arguments)


def keep_compiled_programs() -> None:
    """Let JAX, which must not be imported yet, cache compiled programs on disk.

    A directory that the environment names takes precedence, and so does JAX's own switch. Programs
    that compile in less than 0.1 seconds are not cached. A file that cannot be read or written is
    ignored, which costs only time.
    """
    off = ("0", "false", "no", "off", "n", "f")
    if CACHE in os.environ or os.environ.get(CACHE_SWITCH, "").lower() in off:
        return
    try:
        home = pathlib.Path.home()
        usual = {"darwin": home / "Library" / "Caches", "win32": home / "AppData" / "Local"}
        base = os.environ.get("XDG_CACHE_HOME") or usual.get(sys.platform, home / ".cache")
        directory = pathlib.Path(base).absolute() / "jaxopt-course" / "programs"
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)  # its files are executed
        tempfile.TemporaryFile(dir=directory).close()
    except (OSError, RuntimeError) as error:  # RuntimeError without a home directory
        sys.stderr.write(f"jaxopt-course: compiled programs are not cached: {error}.\n")
        return
    os.environ[CACHE] = str(directory)
    os.environ.setdefault(SHORTEST, "0.1")
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache entry")


def _command(name: str) -> Callable[[list[str]], int]:
    """The function that runs the command ``name``; its module is imported here."""
    if name in ("-h", "--help", "--version"):
        return lambda _: _print(f"jaxopt-course {__version__}\n" if name == "--version" else HELP)
    if name == "train":
        from ._train import run
    elif name == "evaluate":
        from ._evaluate import run
    elif name == "diagnose":
        from ._diagnose import run
    elif name == "search":
        from ._search import run
    elif name == "compare":
        from ._compare import run
    else:
        raise UsageError(
            f"unknown command {name!r}. Choose from train, evaluate, diagnose, search, compare."
        )
    return run


def _print(text: str) -> int:
    print_out(text)
    return COMPLETED


def _missing_platform() -> str | None:
    """The reason why JAX has no device; for a missing platform it raises various errors."""
    import jax

    try:
        jax.devices()
    except Exception:
        named = os.environ.get("JAX_PLATFORMS", "")
        return f"JAX finds no device on the platform {named!r}: set JAX_PLATFORMS=cpu, or unset it."
    return None


def _signal_of(error: BaseException) -> int:
    """The signal that raised ``error``, or 0."""
    if isinstance(error, KeyboardInterrupt):
        return int(signal.SIGINT)
    is_terminated = isinstance(error, SystemExit) and error.code == 128 + signal.SIGTERM
    return int(signal.SIGTERM) if is_terminated else 0


def _exit_code(error: BaseException) -> int | None:
    """The exit code of an expected error; None for a defect of the program."""
    return next((code for kinds, code in EXIT_CODES if isinstance(error, kinds)), None)


def _complain(command: str, error: BaseException | str, code: int, *, in_json: bool) -> int:
    text = " ".join(str(error).split())
    # Options that commands share are checked in the name of `train` or `fit`.
    for owner in (command, "train", "fit"):
        text = text.removeprefix(f"{owner}: ")
    sys.stderr.write(f"jaxopt-course {command}: {text}\n")
    if in_json and not has_printed():
        with contextlib.suppress(OSError):  # which may be the error
            print_out(json.dumps({"error": text, "exit_code": code}, indent=2) + "\n")
    return code
