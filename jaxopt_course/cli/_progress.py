"""What a person sees, on stderr, while something takes its time and cannot say how far it is."""

import contextlib
import sys
from collections.abc import Iterator

from rich.console import Console

from ._report import say


@contextlib.contextmanager
def show_stage(text: str) -> Iterator[None]:
    """Say what is being done inside the ``with``."""
    if sys.stderr.isatty():
        with Console(stderr=True).status(text):
            yield
        return
    say(text)
    yield
