"""The parts of ``benchmarks/accelerator.py``: each measures one thing and returns a table.

A part is called with the sizes and with the peaks that the first two parts measure. It returns
name -> column -> figure. The share of a peak that was not measured is None.
"""

import functools
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks._measure import interleaved, medians
from benchmarks.muon import parameters
from benchmarks.optimizer_step import compiled
from jaxopt_course.nn import MLP
from jaxopt_course.optimizers import adam, adamw, muon, soap
from jaxopt_course.problems import problem
from jaxopt_course.tasks import Batch, Task, linen_task, mixed_precision
from jaxopt_course.training import make_population, make_train
from jaxopt_course.transforms import (
    packed,
    packed_params,
    quantized_state,
)


RATE, MEBIBYTE = 1e-3, 2**20
KEY = jax.random.key(0)
Peaks = dict[str, float]  # "bytes": of memory, "bfloat16" and "float32": FLOP; all per second
Rows = dict[str, dict[str, Any]]
Ways = dict[str, tuple[Any, bool]]  # an optimizer, and whether parameters are held packed
Part = Callable[["Sizes", Peaks], Rows]


class Net(NamedTuple):
    """A model and its training set.

    model: a Linen module.
    inputs: the shape of one input.
    batch_size: rows in a batch.
    tokens: how many tokens there are where the inputs are sequences of them, else 0.
    narrow: whether the model computes in bfloat16.
    """

    model: Any
    inputs: tuple[int, ...]
    batch_size: int
    tokens: int = 0
    narrow: bool = False


class Sizes(NamedTuple):
    """How much is measured.

    rounds: turns of each way, after one turn that does not count.
    steps: steps in a turn, after which the host waits once.
    copied: float32 numbers in the array that is copied.
    width: of the square matrices that are multiplied.
    leaf: shape of the one large leaf.
    few, many: number and shape of the leaves in a tree.
    muon, soap: blocks of a transformer, and their width.
    nets: the models that are trained.
    batches, epochs: batches in an epoch, and epochs, of the trainings.
    members, member_steps: trainings in the population, and steps of each.
    """

    rounds: int
    steps: int
    copied: int
    width: int
    leaf: tuple[int, int]
    few: tuple[int, tuple[int, int]]
    many: tuple[int, tuple[int, int]]
    muon: tuple[int, int]
    soap: tuple[int, int]
    nets: dict[str, Net]
    batches: int
    epochs: int
    members: int
    member_steps: int


def parts_of(sizes: Sizes) -> dict[str, Part]:
    """Return name -> part: the peaks, then what matters most, and last what compiles longest."""
    leaf = (1, sizes.leaf)
    eight = {"ours, 8 bits": (quantized_state(adamw(RATE)), False)}
    parts: dict[str, Part] = {
        "copy": copy,
        "matmul": matmul,
        "8-bit AdamW": functools.partial(elementwise, both(adamw, optax.adamw) | eight, "", leaf),
        "AdamW": functools.partial(elementwise, both(adamw, optax.adamw), "AdamW", leaf),
        "Adam": functools.partial(elementwise, both(adam, optax.adam), "Adam", leaf),
        "Muon": muon_steps,
    }
    for name, net in sizes.nets.items():
        parts[name] = functools.partial(training, net)
    return parts | {
        "population": population,
        "AdamW, few leaves": functools.partial(elementwise, packed_too(), "AdamW", sizes.few),
        "SOAP": soap_steps,
        "AdamW, many leaves": functools.partial(elementwise, packed_too(), "AdamW", sizes.many),
    }


def both(ours: Any, theirs: Any) -> Ways:
    """Return the optimizer of this library and optax's."""
    return {"ours": (ours(RATE), False), "optax": (theirs(RATE), False)}


def packed_too() -> Ways:
    """Return AdamW for plain leaves, for leaves joined in each step, and for leaves held joined."""
    together = packed(adamw(RATE))
    joined = {"ours packed, tree": (together, False), "ours packed, held": (together, True)}
    return both(adamw, optax.adamw) | joined


def copy(sizes: Sizes, peaks: Peaks) -> Rows:
    """Measure the bytes that ``x + 1`` reads and writes in a second, in place."""
    now = jnp.zeros(sizes.copied)
    add = jax.jit(lambda x: x + 1, donate_argnums=0)

    def run() -> Any:
        nonlocal now
        now = add(now)
        return now

    step = timed({"x + 1": run}, sizes)["x + 1"]
    peaks["bytes"] = 2 * now.nbytes / step
    return {"x + 1": {"array_mib": now.nbytes / MEBIBYTE, "gigabytes_a_s": peaks["bytes"] / 1e9}}


def matmul(sizes: Sizes, peaks: Peaks) -> Rows:
    """Measure the FLOP a second of products of square matrices."""
    wide = jax.random.normal(KEY, (sizes.width, sizes.width))
    narrow = wide.astype(jnp.bfloat16)
    times = jax.jit(jnp.matmul, static_argnames="precision")
    runs = {
        "bfloat16": lambda: times(narrow, narrow),
        "float32": lambda: times(wide, wide),
        "float32, highest precision": lambda: times(wide, wide, precision="highest"),
    }
    found = {name: 2 * sizes.width**3 / step for name, step in timed(runs, sizes).items()}
    peaks |= {name: found[name] for name in ("bfloat16", "float32")}
    return {name: {"width": sizes.width, "teraflop_a_s": f / 1e12} for name, f in found.items()}


def elementwise(
    ways: Ways,
    in_torch: str,
    tree: tuple[int, tuple[int, int]],
    sizes: Sizes,
    peaks: Peaks,
) -> Rows:
    """Measure steps on equal leaves, and the share of the bandwidth that they reach.

    A step reads gradients, parameters and state, and writes parameters and state.
    """
    count, shape = tree
    params = {f"w{i}": jnp.ones(shape) for i in range(count)}
    rows = steps(ways, params, sizes, torch_ways(in_torch, count, shape))
    number = count * shape[0] * shape[1]
    for row in rows.values():
        row.setdefault("state_bytes", 8.0)  # torch's two moments
        row["bytes_a_parameter"] = 12 + 2 * row["state_bytes"]
        moved = row["bytes_a_parameter"] * number / (row["step_ms"] / 1e3)
        row["bandwidth_share"] = share(moved, peaks, "bytes")
    return rows


def muon_steps(sizes: Sizes, peaks: Peaks) -> Rows:
    """Measure steps on matrices; their FLOP are those of five steps of Newton and Schulz."""
    blocks, width = sizes.muon
    params = parameters(blocks, width)
    rows = steps(both(muon, optax.contrib.muon), params, sizes)
    flop = 0
    for leaf in filter(lambda leaf: leaf.ndim == 2, params.values()):
        m, n = sorted(leaf.shape)
        flop += 5 * (4 * m * m * n + 2 * m**3)
    for row in rows.values():
        row["bfloat16_share"] = share(flop / (row["step_ms"] / 1e3), peaks, "bfloat16")
    return rows


def soap_steps(sizes: Sizes, peaks: Peaks) -> Rows:
    """Measure steps on narrower matrices; each turn contains at least one change of the bases."""
    theirs = getattr(optax.contrib, "soap", None)  # optax 0.2.8 has none
    ways = {"ours": (soap(RATE), False)} | ({"optax": (theirs(RATE), False)} if theirs else {})
    return steps(ways, parameters(*sizes.soap), sizes._replace(steps=max(sizes.steps, 10)))


def steps(
    ways: Ways,
    params: Any,
    sizes: Sizes,
    others: dict[str, Callable[[], Any]] | None = None,
) -> Rows:
    """Time steps with random gradients; parameters and states are donated."""
    runs, rows, size = {}, {}, sum(leaf.size for leaf in jax.tree.leaves(params))
    for name, (tx, held) in ways.items():
        state = tx.init(params)
        own = packed_params(state, params) if held else params
        begin = time.perf_counter()
        program = compiled(tx, own, state, True)
        rows[name] = {
            "compile_s": time.perf_counter() - begin,
            "temporary_mib": temporary_mib(program),
            "state_bytes": sum(x.nbytes for x in jax.tree.leaves(state)) / size,
        }
        runs[name] = stepping(program, own, state)
    for name, step in timed(runs | (others or {}), sizes).items():
        rows.setdefault(name, {})["step_ms"] = 1e3 * step
    for row in rows.values():
        row["over_optax"] = row["step_ms"] / rows["optax"]["step_ms"] if "optax" in rows else None
    return rows


def stepping(program: Any, params: Any, state: Any) -> Callable[[], Any]:
    """Return a function that takes one more step, beginning with copies."""
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(KEY, len(leaves))
    drawn = [jax.random.normal(key, x.shape) for key, x in zip(keys, leaves, strict=True)]
    grads = jax.tree.unflatten(structure, drawn)
    now = jax.tree.map(lambda x: jnp.array(x, copy=True), (params, state))

    def run() -> Any:
        nonlocal now
        now = program(*now, grads)
        return now

    return run


def torch_ways(optimizer: str, count: int, shape: tuple[int, ...]) -> dict[str, Callable[[], Any]]:
    """Return a step of torch's fused optimizer, if torch finds a CUDA device."""
    try:
        import torch
    except (ImportError, OSError):
        return {}
    if not (optimizer and torch.cuda.is_available()):
        return {}
    params = [torch.ones(shape, device="cuda", requires_grad=True) for _ in range(count)]
    for param in params:
        param.grad = torch.randn_like(param)
    step = getattr(torch.optim, optimizer)(params, lr=RATE, fused=True).step

    def run() -> Any:
        step()
        return torch.cuda.synchronize  # what waits, called after the last step of a turn

    return {"torch fused": run}


def training(net: Net, sizes: Sizes, peaks: Peaks) -> Rows:
    """Measure a training as one program, and a Python loop over a jitted step of optax's Adam.

    In both the rows lie on the device, and each epoch has an order of its own.
    """
    task, data = task_of(net, sizes)
    lengths: dict[str, Any] = {"epochs": sizes.epochs, "batch_size": net.batch_size}
    total = sizes.epochs * sizes.batches
    begin = time.perf_counter()
    train = jax.jit(make_train(lambda _: (task, adam(RATE)), data, **lengths)).lower(KEY).compile()
    rows: Rows = {"ours": {"compile_s": time.perf_counter() - begin}}
    begin = time.perf_counter()
    loop, program, flop = optax_loop(task, data, net.batch_size, sizes.epochs)
    rows["optax loop"] = {"compile_s": time.perf_counter() - begin}
    runs = {"ours": lambda: train(KEY).history["loss"], "optax loop": loop}
    for name, took in timed(runs, sizes._replace(steps=1)).items():
        rows[name] |= {
            "step_ms": 1e3 * took / total,
            "temporary_mib": temporary_mib(train if name == "ours" else program),
            "final_loss": float(runs[name]()[-1]),
        }
    peak = "bfloat16" if net.narrow else "float32"
    for row in rows.values():
        row["over_ours"] = row["step_ms"] / rows["ours"]["step_ms"]
        row[f"{peak}_share"] = share(flop / (row["step_ms"] / 1e3), peaks, peak)
    return rows


def task_of(net: Net, sizes: Sizes) -> tuple[Task, tuple[jax.Array, jax.Array]]:
    """Return the task, and random rows: tokens, or inputs that a linear map has classified."""
    number = sizes.batches * net.batch_size
    if net.tokens:
        text = jax.random.randint(KEY, (number, net.inputs[0] + 1), 0, net.tokens)
        inputs, targets = text[:, :-1], text[:, 1:]
    else:
        inputs = jax.random.normal(KEY, (number, *net.inputs))
        flat = inputs.reshape(number, -1)
        targets = jnp.argmax(flat @ jax.random.normal(KEY, (flat.shape[1], 10)), axis=1)
    task = linen_task(net.model, inputs[:1], problem("multiclass"))
    return (mixed_precision(task) if net.narrow else task), (inputs, targets)


def optax_loop(
    task: Task, data: tuple[jax.Array, jax.Array], batch_size: int, epochs: int
) -> tuple[Callable[[], Any], Any, float]:
    """Return the loop, its compiled step, and the FLOP of a step as XLA counts them."""
    inputs, targets = data
    tx = optax.adam(RATE)

    def step(state: Any, order: Any, first: Any, inputs: Any, targets: Any) -> Any:
        params, opt_state = state
        rows = jax.lax.dynamic_slice(order, (first,), (batch_size,))
        batch = Batch(inputs[rows], targets[rows], None)

        def mean_loss(params: Any) -> Any:
            return task.loss(params, {}, batch, key=KEY, train=True)[0].mean()

        loss, grads = jax.value_and_grad(mean_loss)(params)
        updates, opt_state = tx.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), loss

    @jax.jit
    def start(key: Any) -> Any:
        params, _ = task.init(key)
        return params, tx.init(params)

    shuffled = jax.jit(lambda key: jax.random.permutation(key, len(inputs)))
    lowered = jax.jit(step, donate_argnums=0).lower(
        start(KEY), shuffled(KEY), np.int32(0), inputs, targets
    )
    program, cost = lowered.compile(), lowered.cost_analysis()

    def run() -> Any:
        state, means = start(KEY), []
        for epoch in range(epochs):
            order, losses = shuffled(jax.random.fold_in(KEY, epoch)), []
            for first in range(0, len(inputs), batch_size):
                state, loss = program(state, order, np.int32(first), inputs, targets)
                losses.append(loss)
            means.append(np.mean(jax.device_get(losses)))
        return means

    return run, program, (cost or {}).get("flops", 0.0)


def population(sizes: Sizes, peaks: Peaks) -> Rows:
    """Measure many trainings of an MLP 64-40-10 in one program, and one training alone."""
    task, data = task_of(Net(MLP(10, (40,)), (64,), 64), sizes._replace(batches=20))
    train = make_train(
        lambda rate: (task, adamw(rate)), data, steps=sizes.member_steps, batch_size=64
    )
    last = lambda key, rate, rows=None: train(key, rate, rows).history["loss"][-1]
    several = lambda **how: make_population(last, [("key", "hyperparameters")], **how)
    keys = jax.random.split(KEY, sizes.members)
    rates = jnp.logspace(-4, -1, sizes.members)
    ways: dict[str, tuple[Any, Any]] = {
        "one": (last, (keys[0], rates[0])),
        "vmap": (several(strategy="vmap"), (keys, rates)),
        "chunk of 32": (several(strategy="chunk", chunk_size=32), (keys, rates)),
    }
    rows: Rows = {}
    runs: dict[str, Callable[[], Any]] = {}
    for name, (function, arguments) in ways.items():
        begin = time.perf_counter()
        program = jax.jit(function).lower(*arguments).compile()
        trainings = 1 if name == "one" else sizes.members
        rows[name] = {
            "trainings": trainings,
            "compile_s": time.perf_counter() - begin,
            "temporary_mib": temporary_mib(program),
        }
        runs[name] = functools.partial(program, *arguments)
    for name, took in timed(runs, sizes._replace(steps=1, rounds=min(sizes.rounds, 3))).items():
        rows[name] |= {"run_s": took, "trainings_a_s": rows[name]["trainings"] / took}
    for row in rows.values():
        row["over_one"] = row["run_s"] / rows["one"]["run_s"]
    return rows


def timed(runs: dict[str, Callable[[], Any]], sizes: Sizes) -> dict[str, float]:
    """Return the median seconds of a step; the ways take turns of several steps each."""
    turns = {name: functools.partial(turn, run, sizes.steps) for name, run in runs.items()}
    middle = medians(interleaved(turns, sizes.rounds, warm_up=1))
    return {name: seconds / sizes.steps for name, seconds in middle.items()}


def turn(run: Callable[[], Any], number: int) -> Any:
    """Take ``number`` steps and return the last result; a function as result is called to wait."""
    for _ in range(number):
        result = run()
    return result() if callable(result) else result


def temporary_mib(program: Any) -> float | None:
    """Return what a program takes besides arguments and results, if the backend tells."""
    memory = program.memory_analysis()
    return None if memory is None else memory.temp_size_in_bytes / MEBIBYTE


def share(rate: float, peaks: Peaks, name: str) -> float | None:
    """Return a rate over the measured peak, or None if that was not measured."""
    return rate / peaks[name] if name in peaks and rate else None
