"""The command ``jaxopt-course``: which subcommand runs, and what its end means to the shell."""

import sys
from collections.abc import Sequence

from jaxopt_course._version import __version__

from ._errors import COMPLETED, DIVERGED, FAILED, INTERRUPTED, USAGE, UsageError


__all__ = ["main"]


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


def main(argv: Sequence[str]) -> int:
    """Run the command line ``argv``, without the program's name.

    Returns:
        The exit code: 0 done, 1 failed, 2 wrong usage, 3 diverged, 130 interrupted. Failures and
        wrong usage are one line on stderr.

    Raises:
        SystemExit: with code 143, if a training was terminated and has saved.
    """
    command, *arguments = argv or ["--help"]
    if command in ("-h", "--help"):
        sys.stdout.write(HELP)
        return COMPLETED
    if command == "--version":
        sys.stdout.write(f"jaxopt-course {__version__}\n")
        return COMPLETED
    try:
        return _run(command, arguments)
    except UsageError as error:
        return _complain(command, error, USAGE)
    except FloatingPointError as error:
        return _complain(command, error, DIVERGED)
    except (ValueError, OSError, ImportError, RuntimeError) as error:
        return _complain(command, error, FAILED)
    except KeyboardInterrupt:
        return _complain(command, "interrupted.", INTERRUPTED)


def _run(command: str, arguments: list[str]) -> int:
    if command == "train":
        from ._train import train

        return train(arguments)
    if command == "evaluate":
        from ._evaluate import evaluate

        return evaluate(arguments)
    if command == "diagnose":
        from ._diagnose import diagnose_training

        return diagnose_training(arguments)
    if command == "search":
        from ._search import run_search

        return run_search(arguments)
    if command == "compare":
        from ._compare import run_comparison

        return run_comparison(arguments)
    if command == "claims":
        from ._claims import run_claims

        return run_claims(arguments)
    raise UsageError(
        f"there is no command {command!r}; there are train, evaluate, diagnose, search, compare "
        "and claims."
    )


def _complain(command: str, error: Exception | str, code: int) -> int:
    # Of `diagnose`, the options that it shares are checked in the name of `train`.
    text = (
        " ".join(str(error).split())
        .removeprefix(f"{command}: ")
        .removeprefix("train: ")
        .removeprefix("fit: ")
    )
    sys.stderr.write(f"jaxopt-course {command}: {text}\n")
    return code
