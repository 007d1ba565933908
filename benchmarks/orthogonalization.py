"""Time of the Newton-Schulz iteration, by single steps and by pairs, and of exact polar factors.

    python -m benchmarks orthogonalization [--quick]

A pair of steps uses one Gram matrix (Gram Newton-Schulz). The matrices are normal in float32, the
iteration takes six steps of Polar Express, measurements take turns, and figures are medians after a
warm-up, relative to single steps in the same round. ``error`` is the largest distance of a singular
value from 1.
"""

import functools
import statistics
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks._machine import save
from benchmarks._measure import interleaved, options_of, table
from jaxopt_course.optimizers import _newton_schulz, polar_factor


SHAPES = ((256, 256), (256, 1024), (128, 2048))


def main() -> None:
    """Print a table for each shape, and write ``results/orthogonalization.json``."""
    options = options_of(__doc__, "matrices a quarter as large, three rounds").parse_args()
    figures = {}
    for rows, columns in SHAPES:
        shape = (rows // 4, columns // 4) if options.quick else (rows, columns)
        name = f"{shape[0]} x {shape[1]}"
        figures[name] = compared(shape, 3 if options.quick else 11)
        print(f"{name}\n{table(figures[name])}\n")  # noqa: T201
    print(save("orthogonalization", {**vars(options), **figures}))  # noqa: T201


def compared(shape: tuple[int, int], rounds: int) -> dict[str, dict[str, float]]:
    """Seconds, the ratio to single steps and the error of each way."""
    matrix = jax.random.normal(jax.random.key(0), shape)
    single = lambda x, rows: jax.lax.scan(_newton_schulz._quintic_step, x, rows, unroll=True)[0]
    ways: dict[str, Callable[[Any], Any]] = {
        "single steps": iteration(single),
        "pairs of steps": iteration(_newton_schulz.iterated),
        "svd": polar_factor,
        "qdwh": functools.partial(polar_factor, method="qdwh"),
    }
    programs = {name: jax.jit(way) for name, way in ways.items()}
    calls = {name: functools.partial(program, matrix) for name, program in programs.items()}
    times = interleaved(calls, rounds, warm_up=1)
    found = {}
    for name, own in times.items():
        ratios = [a / b for a, b in zip(own, times["single steps"], strict=True)]
        values = jnp.linalg.svd(programs[name](matrix), compute_uv=False)
        found[name] = {
            "seconds": statistics.median(own),
            "over single steps": statistics.median(ratios),
            "error": float(jnp.max(jnp.abs(values - 1))),
        }
    return found


def iteration(steps: Callable[[Any, Any], Any]) -> Callable[[Any], Any]:
    """Six steps of Polar Express from a matrix over its Frobenius norm."""
    rows = jnp.array(_newton_schulz.POLAR_EXPRESS[:6])
    return lambda x: steps(x / jnp.linalg.norm(x), rows)


if __name__ == "__main__":
    main()
