"""One step of AdamW on trees of many leaves, and of 8 bits: this library, optax, torch.

    python -m benchmarks.optimizer_step [--quick]

Small leaves of 10 x 10 numbers. ``tree``: gradients and parameters are trees. ``held``: gradients,
parameters and moments are packed, as trainings of this library hold them. All ways take turns;
figures are medians after a warm-up. Seconds to compile hold tracing too; those of the packed ways
hold no ``init``, whose seconds stand beside them.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from benchmarks._machine import save
from jaxopt_course.optimizers import adamw
from jaxopt_course.transforms import apply_updates, packed, packed_params, quantized_state, unpack


RATE, ROUNDS = 1e-3, 7


def main() -> None:
    """Time all of it, print a line each, and write ``results/optimizer_step.json``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer leaves and numbers")
    options = parser.parse_args()
    counts = (1, 150, 300) if options.quick else (1, 150, 300, 1000, 3000)
    figures: dict[str, Any] = {}
    for count in counts:
        figures[f"{count} leaves"] = small_leaves(count)
        print(count, figures[f"{count} leaves"])  # noqa: T201
    number = 300 if options.quick else 1000
    figures["training step"] = training_step(number)
    print("training step", figures["training step"])  # noqa: T201
    size = (1024, 1024) if options.quick else (4096, 8192)
    figures["8 bits"] = eight_bits(size)
    print("8 bits", figures["8 bits"])  # noqa: T201
    print(save("optimizer_step", {**vars(options), **figures}))  # noqa: T201


def small_leaves(count: int) -> dict[str, Any]:
    """A step on so many leaves: seconds to compile, milliseconds to run."""
    params = {f"w{i}": jnp.ones((10, 10)) for i in range(count)}
    ways: dict[str, tuple[Any, Any, bool]] = {
        "ours": (adamw(RATE), params, True),
        "ours packed, tree": (packed(adamw(RATE)), params, True),
        "ours packed, held": (packed(adamw(RATE)), None, True),
        "optax": (optax.adamw(RATE), params, True),
        "optax, not donated": (optax.adamw(RATE), params, False),
        "optax.flatten": (optax.flatten(optax.adamw(RATE)), params, True),
    }
    runs, found = {}, {}
    for name, (tx, own, donate) in ways.items():
        begin = time.perf_counter()
        state = jax.block_until_ready(tx.init(params))
        init = time.perf_counter() - begin
        own = packed_params(state, params) if own is None else own
        begin = time.perf_counter()
        program = compiled(tx, own, state, donate)
        found[name] = {"init_s": init, "compile_s": time.perf_counter() - begin}
        runs[name] = stepping(program, own, state)
    runs |= torch_ways(count)
    for name, ms in interleaved(runs).items():
        found.setdefault(name, {})["step_ms"] = ms
    reference = found["optax"]
    for row in found.values():
        row["over_optax"] = row["step_ms"] / reference["step_ms"]
        if "compile_s" in row:
            row["compile_over_optax"] = row["compile_s"] / reference["compile_s"]
    return found


def training_step(count: int) -> dict[str, Any]:
    """Gradient and update of a model with so many small leaves, packed as trainings hold them."""
    params = {f"w{i}": jnp.ones((10, 10)) / 10 for i in range(count)}
    x = jnp.ones((4, 10))

    def loss(params: Any) -> Any:
        return sum(jnp.mean((x @ w) ** 2) for w in unpack(params).values()) / count

    runs, found = {}, {}
    for name, tx in {"packed": packed(adamw(RATE)), "optax": optax.adamw(RATE)}.items():
        begin = time.perf_counter()
        state = tx.init(params)
        own = packed_params(state, params)

        def step(params: Any, state: Any, _: Any, tx: Any = tx) -> Any:
            updates, state = tx.update(jax.grad(loss)(params), state, params)
            return apply_updates(params, updates), state

        program = jax.jit(step, donate_argnums=(0, 1)).lower(own, state, 0).compile()
        runs[name] = stepping(program, own, state, grads=0)
        runs[name]()
        found[name] = {"first_step_s": time.perf_counter() - begin}
    for name, ms in interleaved(runs).items():
        found[name]["step_ms"] = ms
    found["ratios"] = {
        key: found["packed"][key] / found["optax"][key] for key in ("first_step_s", "step_ms")
    }
    return found


def eight_bits(shape: tuple[int, int]) -> dict[str, Any]:
    """Bytes and milliseconds of 8-bit moments against float32 ones, on one leaf."""
    params, runs, found = jnp.ones(shape), {}, {}
    for name, tx in {"float32": adamw(RATE), "8 bits": quantized_state(adamw(RATE))}.items():
        state = tx.init(params)
        own = jnp.array(params)
        program = compiled(tx, own, state, donate=True)
        runs[name] = stepping(program, own, state)
        update = jax.jit(tx.update, donate_argnums=(0, 1)).lower(params, state, params).compile()
        found[name] = {
            "state_bytes_a_parameter": sum(x.nbytes for x in jax.tree.leaves(state)) / params.size,
            "temporary_bytes_a_parameter": (
                update.memory_analysis().temp_size_in_bytes / params.size
            ),
        }
    for name, ms in interleaved(runs).items():
        found[name]["step_ms"] = ms
    found["ratio"] = {"step_ms": found["8 bits"]["step_ms"] / found["float32"]["step_ms"]}
    return found


def compiled(tx: Any, params: Any, state: Any, donate: bool) -> Any:
    """The compiled update and addition."""

    def step(params: Any, state: Any, grads: Any) -> Any:
        updates, state = tx.update(grads, state, params)
        return apply_updates(params, updates), state

    donated = (0, 1) if donate else ()
    return jax.jit(step, donate_argnums=donated).lower(params, state, params).compile()


def stepping(program: Any, params: Any, state: Any, grads: Any = None) -> Callable[[], Any]:
    """A function that takes one more step."""
    copies = jax.tree.map(lambda x: jnp.array(x, copy=True), (params, state))
    given = jax.tree.map(jnp.ones_like, params) if grads is None else grads

    def run() -> None:
        nonlocal copies
        copies = jax.block_until_ready(program(*copies, given))

    return run


def torch_ways(count: int) -> dict[str, Callable[[], Any]]:
    """Torch's AdamW, where torch is installed."""
    try:
        import torch
    except ModuleNotFoundError:
        return {}
    found = {}
    for name in ("fused", "foreach"):
        params = [torch.ones(10, 10, requires_grad=True) for _ in range(count)]
        for param in params:
            param.grad = torch.ones_like(param)
        found[f"torch {name}"] = torch.optim.AdamW(params, lr=RATE, **{name: True}).step
    return found


def interleaved(runs: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """The median milliseconds of each, taking turns, after two rounds of warm-up."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(ROUNDS + 2):
        for name, run in runs.items():
            begin = time.perf_counter()
            run()
            if turn > 1:
                times[name].append(1e3 * (time.perf_counter() - begin))
    return {name: statistics.median(t) for name, t in times.items()}


if __name__ == "__main__":
    main()
