"""``python -m jaxopt_course`` and ``jaxopt-course``: the command line."""

import sys

from jaxopt_course.cli import main as run


__all__ = ["main"]


def main() -> None:
    """Run the command line of this process and exit with its code."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
