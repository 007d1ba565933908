"""SIGTERM and Ctrl-C as requests that a training grants when it has saved."""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType


SIGNALS = (signal.SIGINT, signal.SIGTERM)
ONE_REQUEST = 0.05  # seconds: `timeout` signals a process and then its group, which is one request


@contextlib.contextmanager
def requests_to_stop() -> Iterator[Callable[[], int]]:
    """A function that gives the signal which has come, 0 if none has.

    The first SIGINT or SIGTERM is only noted; a second one ends the process at once, with exit
    code 128 + signal. One that nobody has asked for when the ``with`` ends goes to the handler that
    was there before. Outside the main thread, where Python allows no handlers, none ever comes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: 0
        return
    seen, first = 0, 0.0

    def note(number: int, _: FrameType | None) -> None:
        nonlocal seen, first
        if seen and time.monotonic() - first < ONE_REQUEST:
            return
        if seen:
            if sys.stderr.isatty():
                os.write(2, b"\x1b[?25h\n")  # a progress bar has hidden the cursor
            os._exit(128 + number)
        seen, first = number, time.monotonic()

    before = {number: signal.signal(number, note) for number in SIGNALS}
    try:
        yield lambda: seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if seen:  # it came after the last time that the training asked
        handler = before[signal.Signals(seen)]
        if callable(handler):
            handler(seen, None)
        elif handler is not signal.SIG_IGN:
            signal.raise_signal(seen)


def leave(number: int) -> None:
    """End as the signal asks for: SIGINT by KeyboardInterrupt, SIGTERM with exit code 143."""
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)
