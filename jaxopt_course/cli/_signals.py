"""A command that is told to end: it leaves as on Ctrl-C, and says what has become of its work."""

import contextlib
import pathlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

from ._report import say


@contextlib.contextmanager
def stopped_by_signals(kept: pathlib.Path | None) -> Iterator[None]:
    """Let SIGTERM end what is inside as Ctrl-C does, and say what is kept of it.

    Args:
        kept: the directory of ``--resume``, or None.
    """

    def leave(number: int, _: Any) -> None:
        raise SystemExit(128 + number)

    # The program has handlers of its own; a call of `main` in another process has none.
    is_main = threading.current_thread() is threading.main_thread()
    alone = is_main and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if alone:
        signal.signal(signal.SIGTERM, leave)
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        say(_what_is_kept(kept))
        raise
    finally:
        if alone:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _what_is_kept(kept: pathlib.Path | None) -> str:
    if kept is None:
        return "Stopped; nothing is saved. With `--resume DIR` what is done would have been."
    is_filled = kept.is_dir() and any(not path.name.startswith(".") for path in kept.iterdir())
    if not is_filled:
        return f"Stopped before anything was saved in {kept}; the same command begins again."
    return f"Stopped; what is done is saved in {kept}, and the same command resumes from it."
