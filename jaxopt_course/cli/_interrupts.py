"""Ctrl-C and SIGTERM to a command, from its first line to its last.

A signal is noted and raised as KeyboardInterrupt. Python loses that exception where it cannot raise
one, in callbacks of the garbage collector and in finalizers, and foreign code may catch it. So a
timer raises it again, until it is on its way. A second signal ends the process at once; a thread
waits for it, since the main thread may be in a compiled program that takes minutes.
"""

import os
import signal
import sys
import threading
import time
from types import FrameType
from typing import Any


__all__ = ["commands_end", "requested", "watch_signals"]

SIGNALS = (signal.SIGINT, signal.SIGTERM)
AGAIN = 0.1  # seconds until the exception is raised once more
ONE_REQUEST = 0.05  # seconds: `timeout` signals a process and then its group, which is one request


class _Noted:
    """What has come so far.

    number: the first signal, or 0.
    is_over: whether the command has ended, so that there is nothing to interrupt.
    """

    number = 0
    is_over = False


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


def requested() -> int:
    """The signal that asked for an end, 0 if none has."""
    return _Noted.number


def commands_end() -> None:
    """Raise no more exceptions: the command has ended, and says how."""
    _Noted.is_over = True
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, 0)


def _note(number: int, _: FrameType | None) -> None:
    if _Noted.is_over:
        _leave(number)
    if not _Noted.number:
        _Noted.number = number
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, AGAIN, AGAIN)
        raise KeyboardInterrupt


def _raise_again(_: int, __: FrameType | None) -> None:
    if not (_Noted.is_over or _is_on_its_way(sys.exception())):
        raise KeyboardInterrupt


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
