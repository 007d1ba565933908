"""Muon on the matrices of a transformer, against optax; and the cost of Shampoo and SOAP.

    python -m benchmarks muon [--quick]

24 blocks with matrices of 256 x 256, 256 x 1024 and 1024 x 256, and a bias of 1024 entries, which
both libraries update by AdamW. All arguments of both are the defaults, among them the coefficients,
five iterations and float32. Matrices of equal shape are updated in stacks. Stacks of several sizes
are compared with "leaf by leaf", the same program with stacks of one. Shampoo and SOAP, which stack
only decompositions, compute all of them in every step, on blocks a quarter as wide. Gradients are
random, states are donated, measurements take turns, and figures are medians after a warm-up.
``difference`` is the largest difference to the updates of the first row after three steps, over the
largest update.
"""

import functools
import time
from collections.abc import Callable
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import optax

from benchmarks._bars import Chart, draw
from benchmarks._machine import save
from benchmarks._measure import interleaved, medians, options_of, table
from jaxopt_course.optimizers import _matrices, muon, shampoo, soap


RATE, ROUNDS, COMPILES = 0.02, 9, 3
MEBIBYTE = 2**20


def main() -> None:
    """Measure all variants, print tables, and write ``results/muon.json`` and ``.png``."""
    options = options_of(__doc__, "8 blocks, a quarter as wide, compiled once").parse_args()
    blocks, width, compiles = (8, 64, 1) if options.quick else (24, 256, COMPILES)
    usual = _matrices.STACK_BYTES
    stacks = {f"stacks of {n} MiB": n * MEBIBYTE for n in (1, 4, 16, 64)}
    makers: dict[str, dict[str, tuple[Any, int]]] = {
        "muon": {
            "optax": (optax.contrib.muon, usual),
            "ours": (muon, usual),
            "leaf by leaf": (muon, 0),
            **{name: (muon, size) for name, size in stacks.items()},
        },
        "shampoo": {"leaf by leaf": (shampoo, 0), "ours": (shampoo, usual)},
        "soap": {
            name: (functools.partial(soap, precondition_frequency=1), size)
            for name, size in (("leaf by leaf", 0), ("ours", usual))
        },
    }
    figures = {}
    for name, ways in makers.items():
        figures[name] = compared(ways, blocks, width if name == "muon" else width // 4, compiles)
        print(f"{name}\n{table(figures[name])}\n")  # noqa: T201
    ratios = {name: over(rows) for name, rows in figures.items()}
    print(f"{table(ratios)}\n")  # noqa: T201
    path = save("muon", {**vars(options), "stack_bytes": usual, **figures, "ratios": ratios})
    charts = [
        Chart(name, label, {way: row[key] for way, row in rows.items()})
        for name, rows in figures.items()
        for key, label in (
            ("update_s", "update, seconds"),
            ("compile_s", "compilation, seconds"),
            ("temporary_mib", "temporaries, MiB"),
        )
    ]
    print(path, draw(charts, 3, path.with_suffix(".png")), sep="\n")  # noqa: T201


def compared(
    ways: dict[str, tuple[Callable[..., Any], int]], blocks: int, width: int, compiles: int
) -> dict[str, dict[str, float]]:
    """A row of figures for each way."""
    params = parameters(blocks, width)
    grads = [drawn(params, seed) for seed in range(3)]
    first = {name: (make(RATE), size) for name, (make, size) in ways.items()}
    compiling: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    programs = {}
    for _ in range(compiles):
        for name, (tx, size) in first.items():
            programs[name], took = compiled(tx, params, size)
            compiling[name].append(took)
    runs, updates = {}, {}
    for name, (tx, _) in first.items():
        runs[name], updates[name] = stepping(programs[name], tx, params, grads)
    reference, seconds = next(iter(updates.values())), medians(interleaved(runs, ROUNDS, warm_up=1))
    rows = {}
    for name, program in programs.items():
        took = medians({key: [one[key] for one in compiling[name]] for key in compiling[name][0]})
        rows[name] = {
            "update_s": seconds[name],
            **took,
            "temporary_mib": program.memory_analysis().temp_size_in_bytes / MEBIBYTE,
            "difference": largest_difference(updates[name], reference),
        }
    return rows


def parameters(blocks: int, width: int) -> dict[str, jax.Array]:
    """Of a transformer, roughly."""
    shapes = {
        "square": (width, width),
        "up": (width, 4 * width),
        "down": (4 * width, width),
        "bias": (4 * width,),
    }
    return {f"{name}{i}": jnp.zeros(shape) for i in range(blocks) for name, shape in shapes.items()}


def drawn(params: dict[str, jax.Array], seed: int) -> dict[str, jax.Array]:
    """Random gradients."""
    keys = jax.random.split(jax.random.key(seed), len(params))
    return {
        name: jax.random.normal(key, leaf.shape)
        for key, (name, leaf) in zip(keys, params.items(), strict=True)
    }


def compiled(tx: Any, params: Any, stack_bytes: int) -> tuple[Any, dict[str, float]]:
    """The compiled update, with stacks of that size, and seconds of both stages."""
    jax.clear_caches()
    state = jax.eval_shape(tx.init, params)
    with mock.patch.object(_matrices, "STACK_BYTES", stack_bytes):
        begin = time.perf_counter()
        lowered = jax.jit(tx.update, donate_argnums=1).lower(params, state, params)
        middle = time.perf_counter()
        program = lowered.compile()
    end = time.perf_counter()
    return program, {"trace_s": middle - begin, "compile_s": end - middle}


def stepping(program: Any, tx: Any, params: Any, grads: list[Any]) -> tuple[Callable[[], Any], Any]:
    """A function that takes one more step, and the updates after one for each gradient."""
    state = tx.init(params)
    for own in grads:
        updates, state = program(own, state, params)

    def run() -> Any:
        nonlocal state
        found, state = program(grads[0], state, params)
        return found, state

    return run, updates


def largest_difference(updates: Any, reference: Any) -> float:
    """Over the largest entry of both."""
    largest = lambda tree: max(float(jnp.max(jnp.abs(x))) for x in jax.tree.leaves(tree))
    return largest(jax.tree.map(jnp.subtract, updates, reference)) / largest(reference)


def over(rows: dict[str, dict[str, float]]) -> dict[str, float]:
    """How many times ours the first row takes."""
    reference, ours = next(iter(rows.values())), rows["ours"]
    return {
        f"times {key}": reference[key] / max(ours[key], 1e-9)
        for key in ("update_s", "trace_s", "compile_s", "temporary_mib")
    }


if __name__ == "__main__":
    main()
