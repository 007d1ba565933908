"""The command ``jaxopt-course``: which subcommand runs, and what its end means to the shell."""

import os
import signal
import sys
from collections.abc import Callable, Sequence

from jaxopt_course._version import __version__

from ._errors import COMPLETED, DIVERGED, FAILED, USAGE, UsageError
from ._interrupts import command_begins, requested, said_of
from ._streams import print_out


HELP = """\
usage: jaxopt-course [-h] [--version] COMMAND ...

Train models, evaluate them, look for what is wrong with a training, and for better numbers.

commands:
  train      train on a bundled data set or a table, and keep the model
  evaluate   apply a trained model: figures, or predictions for new rows
  diagnose   check gradients, learning rate and fit of a training, and report
  search     find the numbers that an optimizer trains best with, and report
  compare    compare optimizers, each at its best, on small workloads, and report
  claims     try the claims of the course by experiment, and report

options:
  -h, --help   show this help; `jaxopt-course COMMAND --help` shows a command's
  --version    show the version

environment:
  XDG_CACHE_HOME                   compiled programs are kept in its jaxopt-course/programs, so that
                                   a command starts faster the next time; not set: ~/.cache,
                                   ~/Library/Caches or ~/AppData/Local; delete them as you like
  JAX_COMPILATION_CACHE_DIR        another directory for them, itself
  JAX_ENABLE_COMPILATION_CACHE=0   keep none

exit codes: 0 done, 1 failed, 2 wrong usage, 3 diverged, 130 interrupted, 143 terminated
"""


# The first that fits, and its exit code.
ENDS: dict[type[BaseException] | tuple[type[BaseException], ...], int] = {
    UsageError: USAGE,
    FloatingPointError: DIVERGED,
    (ValueError, OSError, ImportError, RuntimeError): FAILED,
    (MemoryError, OverflowError): FAILED,
}


def main(argv: Sequence[str]) -> int:
    """Run the command line ``argv``, without the program's name.

    Returns:
        The exit code: 0 done, 1 failed, 2 wrong usage, 3 diverged, 130 interrupted, 143 terminated.
        Failures and wrong usage are one line on stderr.

    Raises:
        SystemExit: with code 0, after the help of a command.
    """
    command, *arguments = argv or ["--help"]
    try:
        run = _command(command)
        command_begins()
        code = run(arguments)
    except BaseException as error:
        # Whatever a request to end has become on its way through other code.
        number = requested() or _request_in(error)
        if number:
            return _complain(command, said_of(number), 128 + number)
        for kinds, failure in ENDS.items():
            if isinstance(error, kinds):
                return _complain(command, error, failure)
        if isinstance(error, AssertionError) and (why := _no_device()):
            return _complain(command, why, FAILED)
        raise
    return code


def _no_device() -> str | None:
    """Why JAX has no device, if that is so: of a platform that is not there its errors vary."""
    import jax

    try:
        jax.devices()
    except Exception:
        named = os.environ.get("JAX_PLATFORMS", "")
        return f"JAX finds no device on the platform {named!r}: set JAX_PLATFORMS=cpu, or unset it."
    return None


def _request_in(error: BaseException) -> int:
    """The signal that ``error`` stands for, or 0."""
    if isinstance(error, KeyboardInterrupt):
        return int(signal.SIGINT)
    is_terminated = isinstance(error, SystemExit) and error.code == 128 + signal.SIGTERM
    return int(signal.SIGTERM) if is_terminated else 0


def _command(name: str) -> Callable[[list[str]], int]:
    """What runs the command ``name``, with its imports."""
    if name in ("-h", "--help"):
        return lambda _: _say(HELP)
    if name == "--version":
        return lambda _: _say(f"jaxopt-course {__version__}\n")
    if name == "train":
        from ._train import train

        return train
    if name == "evaluate":
        from ._evaluate import evaluate

        return evaluate
    if name == "diagnose":
        from ._diagnose import diagnose_training

        return diagnose_training
    if name == "search":
        from ._search import run_search

        return run_search
    if name == "compare":
        from ._compare import run_comparison

        return run_comparison
    if name == "claims":
        from ._claims import run_claims

        return run_claims
    raise UsageError(
        f"there is no command {name!r}; there are train, evaluate, diagnose, search, compare "
        "and claims."
    )


def _say(text: str) -> int:
    print_out(text)
    return COMPLETED


def _complain(command: str, error: BaseException | str, code: int) -> int:
    # Of `diagnose`, the options that it shares are checked in the name of `train`.
    text = (
        " ".join(str(error).split())
        .removeprefix(f"{command}: ")
        .removeprefix("train: ")
        .removeprefix("fit: ")
    )
    sys.stderr.write(f"jaxopt-course {command}: {text}\n")
    return code
