"""``python -m jaxopt_course`` and ``jaxopt-course``: the command line."""

import sys

from jaxopt_course.cli import keep_compiled_programs
from jaxopt_course.cli import main as run


__all__ = ["main"]


def main() -> None:
    """Run the command line of this process and exit with its code."""
    arguments = sys.argv[1:]
    if arguments and not arguments[0].startswith("-"):
        keep_compiled_programs()
    sys.exit(run(arguments))


if __name__ == "__main__":
    main()
