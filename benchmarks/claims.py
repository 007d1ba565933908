"""The course's claims, each tried with 20 seeds: a quarter of an hour on two cores.

    python -m benchmarks.claims [NAMES ...] [--quick] [--seeds N] ...

The command ``jaxopt-course claims``, whose finished claims are kept beside its results, in
``benchmarks/results/claims``, so that what was broken off goes on. The sizes of the experiments
were chosen with the command's seed 0; here they are tried with seed 1.
"""

import sys

from benchmarks._machine import RESULTS
from jaxopt_course.cli import main as command_line


def main() -> int:
    """Run the command with its results among those of the other benchmarks."""
    out = RESULTS / ("quick/claims" if "--quick" in sys.argv else "claims")
    place = ["--out", str(out), "--resume", str(out / "kept")]
    seed = ["--seed", "1"] * ("--seed" not in sys.argv)
    return command_line(["claims", *place, *seed, "--overwrite", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
