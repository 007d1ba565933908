"""Ctrl-C and SIGTERM to a command, from its first line to its last.

Before a command has begun to work, while its modules are imported, a signal ends the process. After
that it is noted and raised as KeyboardInterrupt. Python loses that exception where it cannot raise
one, in callbacks of the garbage collector and in finalizers, and foreign code may catch it; modules
in C print it while they are imported. So it waits for an import to end, and a timer raises it again
until it is on its way, after times that differ, for the place that loses it may come back in equal
ones. A second signal ends the process at once; a thread waits for it, since the
main thread may be in a compiled program that takes minutes.
"""

import os
import random
import signal
import sys
import threading
import time
from types import FrameType
from typing import Any


SIGNALS = (signal.SIGINT, signal.SIGTERM)
IMPORTER = "<frozen importlib._bootstrap>"
AGAIN = 0.02, 0.2  # seconds until the exception is raised once more: at least, and at most
ONE_REQUEST = 0.05  # seconds: `timeout` signals a process and then its group, which is one request


class _Noted:
    """What has come so far.

    number: the first signal, or 0.
    works: whether the command has begun, and has not ended.
    """

    number = 0
    works = False


def watch_signals() -> None:
    """Take SIGINT and SIGTERM for requests to end, until the process does."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    threading.Thread(target=_end_at_second, args=(read,), daemon=True).start()
    if hasattr(signal, "SIGALRM"):
        signal.signal(signal.SIGALRM, _raise_again)
    for number in SIGNALS:
        signal.signal(number, _note)
    say, sys.unraisablehook = sys.unraisablehook, lambda args: None if _is_lost(args) else say(args)


def said_of(number: int) -> str:
    """The sentence about a signal that has ended a command."""
    return "interrupted." if number == signal.SIGINT else "terminated."


def requested() -> int:
    """The signal that asked for an end, 0 if none has."""
    return _Noted.number


def command_begins() -> None:
    """From here on a signal is an exception: there is something to be saved, or tidied up."""
    _Noted.works = True


def command_ends() -> None:
    """Raise no more exceptions: the command has ended, and says how."""
    _Noted.works = False
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, 0)


def _note(number: int, frame: FrameType | None) -> None:
    if not _Noted.works:
        os.write(2, f"jaxopt-course: {said_of(number)}\n".encode())
        _leave(number)
    if not _Noted.number:
        _Noted.number = number
        _raise_again(number, frame)


def _raise_again(_: int, frame: FrameType | None) -> None:
    if not _Noted.works:
        return
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, random.uniform(*AGAIN))
    if not _is_on_its_way(sys.exception()) and not _imports(frame):
        raise KeyboardInterrupt


def _imports(frame: FrameType | None) -> bool:
    """Whether a module is being imported."""
    while frame is not None and frame.f_code.co_filename != IMPORTER:
        frame = frame.f_back
    return frame is not None


def _is_on_its_way(error: BaseException | None) -> bool:
    """Whether ``error``, which is being handled, is the end of the command, or follows from it."""
    while error is not None and not isinstance(error, KeyboardInterrupt | SystemExit):
        error = error.__context__
    return error is not None


def _is_lost(args: Any) -> bool:
    """Whether Python reports that it could not raise what a signal raised."""
    return bool(_Noted.number) and isinstance(args.exc_value, KeyboardInterrupt)


def _end_at_second(read: int) -> None:
    first = None
    while number := next(iter(os.read(read, 1)), 0):
        now = time.monotonic()
        if number in SIGNALS and first is None:
            first = now
        elif number in SIGNALS and first is not None and now - first > ONE_REQUEST:
            _leave(number)


def _leave(number: int) -> None:
    """End the process at once."""
    if os.isatty(2):
        os.write(2, b"\x1b[?25h\n")  # a progress bar has hidden the cursor
    os._exit(128 + number)
