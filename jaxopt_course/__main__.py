"""``python -m jaxopt_course`` and ``jaxopt-course``: the command line."""

import os
import signal
import sys


# Until the command line is imported, which has handlers of its own, a signal just ends the process.
# A program that only imports this module keeps its handlers.
if sys.argv[0].endswith((os.path.join("jaxopt_course", "__main__.py"), "jaxopt-course")):
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: os._exit(128 + number))

from jaxopt_course.cli import run_program


def main() -> None:
    """Run the command line of this process and exit with its code."""
    run_program()


if __name__ == "__main__":
    main()
