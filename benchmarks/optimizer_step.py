"""A step of AdamW on one leaf, on many leaves, and with 8-bit moments, against optax and torch.

    python -m benchmarks optimizer_step [--quick]

``tree``: gradients and parameters are trees. ``held``: gradients, parameters and moments are
packed, as in the trainings of this library; leaves of more than 16,384 numbers are not packed.
States and parameters are donated unless noted. Measurements take turns, and figures are medians
after a warm-up. ``compile_s`` includes tracing but not ``init``, whose seconds are given
separately: the second packed variant reuses the layout of the first. Torch takes part where it is
installed.
"""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from benchmarks._bars import Chart, draw
from benchmarks._machine import save
from benchmarks._measure import interleaved, medians, options_of, table
from jaxopt_course.optimizers import adamw
from jaxopt_course.transforms import (
    apply_updates,
    packed,
    packed_params,
    quantized_state,
)


RATE, ROUNDS = 1e-3, 9
# Name -> how many leaves, and of which shape.
TREES: dict[str, tuple[int, tuple[int, ...]]] = {
    "1 leaf of 33.5M": (1, (4096, 8192)),
    "150 leaves of 262k": (150, (512, 512)),
    "1000 leaves of 100": (1000, (10, 10)),
    "3000 leaves of 100": (3000, (10, 10)),
}
QUICK: dict[str, tuple[int, tuple[int, ...]]] = {
    "1 leaf of 2M": (1, (1024, 2048)),
    "50 leaves of 20k": (50, (128, 160)),
    "300 leaves of 100": (300, (10, 10)),
}
MANY = 1000  # with more leaves a plain program compiles for minutes: that of optax alone is tried
# What was aimed at: tree, way, reference, ratio.
GOALS = (
    ("3000 leaves of 100", "ours packed, held", "optax", 1 / 20),
    ("3000 leaves of 100", "ours packed, tree", "optax", 0.5),
    ("150 leaves of 262k", "ours packed, held", "optax", 1.05),
    ("1 leaf of 33.5M", "ours", "torch fused", 1.15),
)


def main() -> None:
    """Measure, print tables, and write ``results/optimizer_step.json`` and ``.png``."""
    options = options_of(__doc__, "fewer leaves and numbers").parse_args()
    trees = QUICK if options.quick else TREES
    figures: dict[str, Any] = {}
    for name, (count, shape) in trees.items():
        figures[name] = timed(count, shape)
        print(f"{name}\n{table(figures[name])}\n")  # noqa: T201
    for name, way, other, goal in GOALS:
        if other in figures.get(name, {}):
            ratio = figures[name][way]["step_ms"] / figures[name][other]["step_ms"]
            word = "met" if ratio <= goal else "missed"
            print(f"{name}, {way} over {other}: {ratio:.3f}, goal {goal:g}: {word}")  # noqa: T201
    bits = eight_bits((1024, 1024) if options.quick else (4096, 8192))
    print(f"8 bits\n{table(bits)}\n")  # noqa: T201
    path = save("optimizer_step", {**vars(options), **figures, "8 bits": bits})
    charts = [
        Chart(name, "a step, ms", {way: row["step_ms"] for way, row in rows.items()})
        for name, rows in figures.items()
    ]
    print(path, draw(charts, 2, path.with_suffix(".png")), sep="\n")  # noqa: T201


def timed(count: int, shape: tuple[int, ...]) -> dict[str, dict[str, float]]:
    """A step on so many leaves: seconds to compile, milliseconds to run."""
    params = {f"w{i}": jnp.ones(shape) for i in range(count)}
    together = packed(adamw(RATE))
    ways: dict[str, tuple[Any, bool, bool]] = {
        "ours packed, tree": (together, False, True),
        "ours packed, held": (together, True, True),
        "optax": (optax.adamw(RATE), False, True),
    }
    if count <= MANY:
        ways["ours"] = (adamw(RATE), False, True)
        ways["optax, not donated"] = (optax.adamw(RATE), False, False)
        ways["optax.flatten"] = (optax.flatten(optax.adamw(RATE)), False, True)
    runs, found = {}, {}
    for name, (tx, held, donate) in ways.items():
        begin = time.perf_counter()
        state = jax.block_until_ready(tx.init(params))
        init = time.perf_counter() - begin
        own = packed_params(state, params) if held else params
        begin = time.perf_counter()
        program = compiled(tx, own, state, donate)
        found[name] = {"init_s": init, "compile_s": time.perf_counter() - begin}
        runs[name] = stepping(program, own, state)
    runs |= torch_ways(count, shape)
    for name, seconds in medians(interleaved(runs, ROUNDS, warm_up=2)).items():
        found.setdefault(name, {})["step_ms"] = 1e3 * seconds
    for row in found.values():
        row["over_optax"] = row["step_ms"] / found["optax"]["step_ms"]
    return found


def eight_bits(shape: tuple[int, int]) -> dict[str, Any]:
    """Bytes, and milliseconds of an update, of 8-bit moments and of float32 ones, on one leaf.

    The updates take the place of the gradients, as they do inside a training step.
    """
    params, runs, found = jnp.ones(shape), {}, {}
    for name, tx in {"float32": adamw(RATE), "8 bits": quantized_state(adamw(RATE))}.items():
        state = tx.init(params)
        update = jax.jit(tx.update, donate_argnums=(0, 1)).lower(params, state, params).compile()
        runs[name] = stepping(update, params, state)
        memory: Any = update.memory_analysis()
        found[name] = {
            "state_bytes_a_parameter": sum(x.nbytes for x in jax.tree.leaves(state)) / params.size,
            "temporary_bytes_a_parameter": memory.temp_size_in_bytes / params.size,
        }
    for name, seconds in medians(interleaved(runs, ROUNDS, warm_up=2)).items():
        found[name]["step_ms"] = 1e3 * seconds
    for row in found.values():
        row["over_float32"] = row["step_ms"] / found["float32"]["step_ms"]
    return found


def compiled(tx: Any, params: Any, state: Any, donate: bool) -> Any:
    """The compiled update and addition."""

    def step(params: Any, state: Any, grads: Any) -> Any:
        updates, state = tx.update(grads, state, params)
        return apply_updates(params, updates), state

    donated = (0, 1) if donate else ()
    return jax.jit(step, donate_argnums=donated).lower(params, state, params).compile()


def stepping(program: Any, params: Any, state: Any) -> Callable[[], Any]:
    """A function that takes one more step."""
    now = jax.tree.map(lambda x: jnp.array(x, copy=True), (params, state))
    grads = jax.tree.map(jnp.ones_like, params)

    def run() -> Any:
        nonlocal now
        now = program(*now, grads)
        return now

    return run


def torch_ways(count: int, shape: tuple[int, ...]) -> dict[str, Callable[[], Any]]:
    """Torch's AdamW, where torch is installed."""
    try:
        import torch
    except ModuleNotFoundError:
        return {}
    found = {}
    for name in ("fused", "foreach"):
        params = [torch.ones(shape, requires_grad=True) for _ in range(count)]
        for param in params:
            param.grad = torch.ones_like(param)
        found[f"torch {name}"] = torch.optim.AdamW(params, lr=RATE, **{name: True}).step
    return found


if __name__ == "__main__":
    main()
