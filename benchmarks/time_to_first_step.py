"""Time of AdamW until the end of its first step, on trees of many small leaves.

    python -m benchmarks time_to_first_step [--quick]

``update``: tracing and compiling the update and its addition to the parameters. ``held``:
gradients, parameters and moments are packed, as in the trainings of this library; ``tree``: they
are packed and unpacked in every step. ``training``: gradient and update of a model with a cheap
loss of each entry. ``first_step_s`` is the time from ``init`` to the end of the first step, and
``step_ms`` that of a later step. All variants begin with empty caches and take turns; figures are
medians.
"""

import functools
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
    unpack,
)


RATE, ROUNDS = 1e-3, 9


def main() -> None:
    """Time all of it, print tables, and write ``results/time_to_first_step.json`` and ``.png``."""
    options = options_of(__doc__, "fewer leaves, each once").parse_args()
    few, many, turns = (100, 300, 1) if options.quick else (300, 1000, 3)
    figures = {
        f"update, {few} leaves": updates(few, turns),
        f"training, {many} leaves": trainings(many, turns),
    }
    for name, rows in figures.items():
        for row in rows.values():
            row |= {f"{key} over optax": row[key] / rows["optax"][key] for key in tuple(row)}
        print(f"{name}\n{table(rows)}\n")  # noqa: T201
    path = save("time_to_first_step", {**vars(options), **figures})
    update, training = figures
    charts = [
        Chart(name, label, {way: row[key] for way, row in figures[name].items()})
        for name, key, label in (
            (update, "trace_and_compile_s", "trace and compile, s"),
            (training, "first_step_s", "until the first step is done, s"),
            (training, "step_ms", "a later step, ms"),
        )
    ]
    print(path, draw(charts, 3, path.with_suffix(".png")), sep="\n")  # noqa: T201


def updates(count: int, turns: int) -> dict[str, dict[str, float]]:
    """Seconds to trace and to compile the update of so many leaves of 10 x 10."""
    params = {f"w{i}": jnp.ones((10, 10)) for i in range(count)}

    def of(tx: Any, held: bool) -> dict[str, float]:
        jax.clear_caches()
        begin = time.perf_counter()
        state = jax.block_until_ready(tx.init(params))
        own = packed_params(state, params) if held else params
        ready = time.perf_counter()

        def step(params: Any, state: Any, grads: Any) -> Any:
            updates, state = tx.update(grads, state, params)
            return apply_updates(params, updates), state

        lowered = jax.jit(step, donate_argnums=(0, 1)).lower(own, state, own)
        traced = time.perf_counter()
        lowered.compile()
        end = time.perf_counter()
        return {
            "init_s": ready - begin,
            "trace_s": traced - ready,
            "compile_s": end - traced,
            "trace_and_compile_s": end - ready,
        }

    return by_turns(
        {
            "ours": lambda: of(adamw(RATE), False),
            "ours packed, tree": lambda: of(packed(adamw(RATE)), False),
            "ours packed, held": lambda: of(packed(adamw(RATE)), True),
            "optax": lambda: of(optax.adamw(RATE), False),
        },
        turns,
    )


def trainings(count: int, turns: int) -> dict[str, dict[str, float]]:
    """From ``init`` to the first step, and a later step, of so many leaves of 1000 numbers."""
    shape = (10, 100)
    target = jnp.arange(1000.0).reshape(shape) / 1000
    runs: dict[str, Callable[[], Any]] = {}

    def of(name: str, tx: Any) -> dict[str, float]:
        params = jax.block_until_ready({f"w{i}": jnp.full(shape, float(i)) for i in range(count)})
        jax.clear_caches()
        begin = time.perf_counter()
        state = tx.init(params)
        held = packed_params(state, params)

        def loss(params: Any) -> Any:
            return sum(jnp.sum((w - target) ** 2) for w in unpack(params).values())

        def step(params: Any, state: Any) -> Any:
            updates, state = tx.update(jax.grad(loss)(params), state, params)
            return apply_updates(params, updates), state

        program = jax.jit(step, donate_argnums=(0, 1)).lower(held, state).compile()
        now = jax.block_until_ready(program(*jax.tree.map(jnp.copy, (held, state))))
        end = time.perf_counter()

        def run() -> Any:
            nonlocal now
            now = program(*now)
            return now

        runs[name] = run
        return {"first_step_s": end - begin}

    makers = {"ours packed": packed(adamw(RATE)), "ours": adamw(RATE), "optax": optax.adamw(RATE)}
    found = by_turns({n: functools.partial(of, n, tx) for n, tx in makers.items()}, turns)
    for name, seconds in medians(interleaved(runs, ROUNDS, warm_up=2)).items():
        found[name]["step_ms"] = 1e3 * seconds
    return found


def by_turns(
    ways: dict[str, Callable[[], dict[str, float]]], turns: int
) -> dict[str, dict[str, float]]:
    """The medians of what each returns, taking turns."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    for _ in range(turns):
        for name, way in ways.items():
            found[name].append(way())
    return {
        name: medians({key: [row[key] for row in rows] for key in rows[0]})
        for name, rows in found.items()
    }


if __name__ == "__main__":
    main()
