"""A command that is told to end: it leaves as on Ctrl-C, and says what has become of its work."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

from ._report import say


__all__ = ["stopped_by_signals"]


@contextlib.contextmanager
def stopped_by_signals(saved: bool) -> Iterator[None]:
    """Let SIGTERM end what is inside as Ctrl-C does, and say what has become of it."""

    def leave(number: int, _: Any) -> None:
        raise SystemExit(128 + number)

    main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, leave) if main else None
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        say(
            "Stopped and saved; the same command goes on."
            if saved
            else "Stopped; with `--resume DIR` what is done would have been kept."
        )
        raise
    finally:
        if main:
            signal.signal(signal.SIGTERM, before)
