"""How a command ends: its exit codes, and errors of usage, told apart from failures."""

import contextlib
from collections.abc import Iterator


COMPLETED, FAILED, USAGE, DIVERGED, INTERRUPTED = 0, 1, 2, 3, 130  # what the shell is told


class UsageError(Exception):
    """The command line or the config file asks for what cannot be."""


@contextlib.contextmanager
def usage_errors() -> Iterator[None]:
    """Take what the library refuses inside the ``with`` for a wrong option."""
    try:
        yield
    except (TypeError, ValueError) as error:
        if isinstance(error, RuntimeError):  # a checkpoint of something else: not of the options
            raise
        raise UsageError(str(error)) from error
