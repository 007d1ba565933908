"""``python -m jaxopt_course`` and ``jaxopt-course``: the command line."""

from jaxopt_course.cli import run_program


__all__ = ["main"]


def main() -> None:
    """Run the command line of this process and exit with its code."""
    run_program()


if __name__ == "__main__":
    main()
