"""The command line as a program: signals, streams and the exit code of its process."""

import os
import sys
from typing import NoReturn

from ._compilation_cache import keep_compiled_programs
from ._errors import COMPLETED, FAILED, INTERRUPTED
from ._interrupts import command_ends, requested, watch_signals
from ._main import main
from ._streams import close_output, open_streams


def run_program() -> NoReturn:
    """Run the command line of this process, and end it with its exit code."""
    code: object = INTERRUPTED
    try:
        open_streams()  # before anything else is opened
        watch_signals()
        code = _run(sys.argv[1:])
        command_ends()
    except KeyboardInterrupt:
        command_ends()
    except SystemExit as end:  # of a help, which has been printed
        command_ends()
        code = end.code
    number = requested()
    if number:
        code = 128 + number
    why = close_output()
    if why is not None and code in (COMPLETED, None):
        sys.stderr.write(f"jaxopt-course: stdout cannot be written: {why}.\n")
        code = FAILED
    if number:
        sys.stderr.flush()
        os._exit(128 + number)  # threads of a comparison would be waited for
    sys.exit(code)  # type: ignore[arg-type]


def _run(arguments: list[str]) -> int:
    if arguments and not arguments[0].startswith("-"):
        keep_compiled_programs()
    return main(arguments)
