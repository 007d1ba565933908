"""The process of a command: its exit codes, errors, devices, streams and signals.

It is imported before the signals are watched, so it imports JAX only where devices are taken.

A stream may be closed, full, or a pipe without a reader. Text for stderr that cannot be written is
dropped. Text for stdout is the result of a command, which fails if it cannot be written.

While the modules of a command are imported, SIGINT (Ctrl-C) and SIGTERM end the process. While the
command runs, the first of them raises KeyboardInterrupt. Python drops an exception raised in a
finalizer or in a callback of the garbage collector, and other code may catch it, so a timer raises
it again until it propagates. The intervals are random, because the code that drops it may run
periodically. It is not raised during an import, where modules written in C would print it. A second
signal ends the process at once, from a thread: the main thread may be inside a compiled program.
The thread also wakes the main thread up until it has seen the first one, which it may have missed
if the signal came just before a system call or to another thread.
"""

import contextlib
import io
import os
import pathlib
import random
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any


COMPLETED, FAILED, USAGE, DIVERGED, INTERRUPTED = 0, 1, 2, 3, 130  # exit codes
SIGNALS = (signal.SIGINT, signal.SIGTERM)
IMPORTER = "<frozen importlib._bootstrap>"
INTERVAL = 0.02, 0.2  # seconds until the exception is raised again: at least, and at most
FORCED = "--xla_force_host_platform_device_count"  # the older way to have several CPU devices
ONE_REQUEST = 0.05  # seconds: `timeout` signals a process and then its group, which is one request


class UsageError(Exception):
    """The command line or the config file is invalid.

    Every function that reads options may raise it.
    """


@contextlib.contextmanager
def usage_errors() -> Iterator[None]:
    """Raise the library's complaints about an argument inside the ``with`` as UsageError."""
    try:
        yield
    except (TypeError, ValueError) as error:
        if isinstance(error, RuntimeError):  # a damaged checkpoint, not an option
            raise
        raise UsageError(str(error)) from error


def pop_mesh(count: int | None, *, most: int | None = None) -> Any:
    """A mesh of the devices of :func:`take_devices`; None if there is only one."""
    import jax
    from jax.sharding import AxisType

    taken = take_devices(count, most=most)
    if len(taken) == 1:
        return None
    return jax.make_mesh((len(taken),), ("pop",), axis_types=(AxisType.Auto,), devices=taken)


def take_devices(count: int | None, *, most: int | None = None) -> list[Any]:
    """The first ``count`` devices.

    On a CPU there is one device for each core that is used. Their number can be set only until JAX
    is initialized in this process.

    Args:
        count: number of devices. None: all, on a CPU one for each core, but at most ``most``. A
            number of CPU devices that the environment sets is kept.
        most: number of devices that the work can keep busy, in [1, inf). None: any number.

    Raises:
        UsageError: if ``count`` is not in [1, number of devices].
    """
    import jax

    wanted = None if count is None else min(max(count, 1), os.cpu_count() or 1)
    is_forced = FORCED in os.environ.get("XLA_FLAGS", "")
    if count is None and not is_forced and getattr(jax.config, "jax_num_cpu_devices", -1) <= 0:
        has_affinity = hasattr(os, "sched_getaffinity")  # not on macOS and Windows
        cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
        wanted = cores if most is None else min(cores, most)
    if wanted is not None:
        with contextlib.suppress(RuntimeError):  # JAX is initialized already
            jax.config.update("jax_num_cpu_devices", wanted)
    devices = jax.devices()
    if count is None:
        return devices[:most]
    if not 1 <= count <= len(devices):
        raise UsageError(f"--devices must lie in [1, {len(devices)}], got {count}.")
    return devices[:count]


def open_streams() -> None:
    """Open the standard streams that are closed, and replace stderr by one that never fails."""
    # Otherwise the next file that is opened would get the number of a closed stream.
    for number, mode in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, mode)  # writing to 1 stays an error
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    encoding = "utf-8" if sys.stderr is None else sys.stderr.encoding
    sys.stderr = io.TextIOWrapper(
        io.BufferedWriter(_Lossy()), encoding, "backslashreplace", line_buffering=True
    )


def print_out(text: str) -> None:
    """Write the result of a command to stdout.

    Raises:
        OSError: if it cannot be written.
    """
    _Noted.printed = True
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        raise OSError(f"stdout cannot be written: {error.strerror or error}.") from error


def say(text: str) -> None:
    """Write a line of progress to stderr."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201


def close_output() -> str | None:
    """Flush stdout; return None, or the reason why it cannot be written."""
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # Python flushes again when it exits
        return error.strerror
    return None


class _Lossy(io.RawIOBase):
    """Stderr, which drops what cannot be written."""

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return 2

    def isatty(self) -> bool:
        return os.isatty(2)

    def write(self, content: bytes) -> int:  # type: ignore[override]
        left = memoryview(content)
        with contextlib.suppress(OSError):
            while left:
                left = left[os.write(2, left) :]
        return len(content)


class _Noted:
    """The first signal, or 0; whether the command is running, and whether it has a result."""

    number = 0
    running = False
    printed = False


def watch_signals() -> None:
    """Handle SIGINT and SIGTERM until the process ends."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    threading.Thread(target=_end_at_second, args=(read,), daemon=True).start()
    if hasattr(signal, "SIGALRM"):
        signal.signal(signal.SIGALRM, _raise_again)
    for number in SIGNALS:
        signal.signal(number, _note)
    hook = sys.unraisablehook

    def report(args: Any) -> None:
        # The exception of a signal that Python has dropped will be raised again.
        if not (_Noted.number and isinstance(args.exc_value, KeyboardInterrupt)):
            hook(args)

    sys.unraisablehook = report


def sentence_of(number: int) -> str:
    """The message about a command that a signal has ended."""
    return "interrupted." if number == signal.SIGINT else "terminated."


def requested() -> int:
    """The signal that asked the command to end, or 0."""
    return _Noted.number


def command_begins() -> None:
    """From now on a signal raises an exception, so that the command can save its work."""
    _Noted.running, _Noted.printed = True, False


def has_printed() -> bool:
    """Whether the command has begun to write its result to stdout."""
    return _Noted.printed


def command_ends() -> None:
    """From now on no exception is raised: the command has ended and reports how."""
    _Noted.running = False
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, 0)


@contextlib.contextmanager
def stopped_by_signals(resume: pathlib.Path | None) -> Iterator[None]:
    """Let SIGTERM end the ``with`` as Ctrl-C does, and report which work is saved.

    Args:
        resume: directory of ``--resume``, or None.
    """

    def leave(number: int, _: Any) -> None:
        raise SystemExit(128 + number)

    # The program installs handlers of its own; a call of `main` from another program has none.
    is_main = threading.current_thread() is threading.main_thread()
    alone = is_main and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if alone:
        signal.signal(signal.SIGTERM, leave)
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        say(_what_is_saved(resume))
        raise
    finally:
        if alone:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _what_is_saved(resume: pathlib.Path | None) -> str:
    if resume is None:
        return "Stopped; nothing was saved. With `--resume DIR` finished work is saved in DIR."
    if resume.is_dir() and any(not path.name.startswith(".") for path in resume.iterdir()):
        return f"Stopped; finished work is saved in {resume}. The same command resumes from it."
    return f"Stopped before anything was saved in {resume}; the same command starts again."


def _note(number: int, frame: FrameType | None) -> None:
    if not _Noted.running:
        os.write(2, f"jaxopt-course: {sentence_of(number)}\n".encode())
        _leave(number)
    if not _Noted.number:
        _Noted.number = number
        _raise_again(number, frame)


def _raise_again(_: int, frame: FrameType | None) -> None:
    if not (_Noted.running and _Noted.number):
        return
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, random.uniform(*INTERVAL))
    if not _propagates(sys.exception()) and not _imports(frame):
        raise KeyboardInterrupt


def _imports(frame: FrameType | None) -> bool:
    """Whether a module is being imported."""
    while frame is not None and frame.f_code.co_filename != IMPORTER:
        frame = frame.f_back
    return frame is not None


def _propagates(error: BaseException | None) -> bool:
    """Whether ``error``, which is being handled, ends the command or follows from its end."""
    while error is not None and not isinstance(error, KeyboardInterrupt | SystemExit):
        error = error.__context__
    return error is not None


def _end_at_second(read: int) -> None:
    first = None
    while True:
        # The main thread may have begun to wait before it saw the first signal: wake it up.
        unseen = first is not None and not _Noted.number and hasattr(signal, "SIGALRM")
        if unseen and not select.select([read], [], [], INTERVAL[1])[0]:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGALRM)
            continue
        number, now = os.read(read, 1)[0], time.monotonic()
        if number in SIGNALS and first is None:
            first = now
        elif number in SIGNALS and first is not None and now - first > ONE_REQUEST:
            _leave(number)


def _leave(number: int) -> None:
    """End the process at once."""
    if os.isatty(2):
        os.write(2, b"\x1b[?25h\n")  # a progress bar hides the cursor
    os._exit(128 + number)
