"""SIGTERM and Ctrl-C as requests to stop, which a training grants after saving."""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType


SIGNALS = (signal.SIGINT, signal.SIGTERM)
ONE_REQUEST = 0.05  # seconds; `timeout` signals a process and its group, which is one request


@contextlib.contextmanager
def requests_to_stop(*, when: bool = True) -> Iterator[Callable[[], int]]:
    """A function that returns the signal that was received, or 0; always 0 unless ``when``.

    The first SIGINT or SIGTERM is only recorded. A second one ends the process at once, with exit
    code 128 + signal. A signal that comes after the last call of the function is passed to the
    previous handler when the ``with`` ends. Outside the main thread, where Python does not allow
    handlers, the function always returns 0.
    """
    if not when or threading.current_thread() is not threading.main_thread():
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
    if seen:  # it came after the last call
        handler = before[signal.Signals(seen)]
        if callable(handler):
            handler(seen, None)
        elif handler is not signal.SIG_IGN:
            signal.raise_signal(seen)


def leave(number: int, steps: str) -> None:
    """End as the signal requests: SIGINT by KeyboardInterrupt, SIGTERM with exit code 143.

    ``steps`` counts those that were taken, as in ``"3 steps"``.
    """
    if number == signal.SIGINT:
        raise KeyboardInterrupt(
            f"fit: interrupted after {steps}. `checkpoint=Checkpointing(directory, resume='auto')` "
            "resumes from the last checkpoint."
        )
    raise SystemExit(128 + number)
