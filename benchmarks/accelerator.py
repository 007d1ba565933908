"""Measure a GPU or TPU in one call: bandwidth, FLOP/s, optimizer steps, trainings, a population.

    python -m benchmarks accelerator [--minutes 9] [--out DIRECTORY] [--tiny]

The first two parts measure the peaks of the device, and the others are compared with them.
``bandwidth_share`` is a share of the bytes that ``x + 1`` on a large array reads and writes in a
second. ``float32_share`` and ``bfloat16_share`` are shares of the FLOP that a product of large
square matrices reaches in a second. Float32 is multiplied in the default precision of the device,
which is TF32 on NVIDIA's; the highest precision stands beside it. A share can exceed 1 where the
arrays of a step fit into a cache. A step with 8-bit moments whose ``bandwidth_share`` is below 0.77
takes more than 1.3 times as long as the memory needs for its bytes. On accelerators Muon multiplies
in bfloat16 in this library and in float32 in optax; the shares of both are of the bfloat16 peak.

``step_ms`` is the median over interleaved turns after a warm-up; the host waits once a turn.
``compile_s`` is the time of tracing and compiling. ``temporary_mib`` is what a program takes
besides its arguments and results. ``peak_bytes_in_use`` is the largest use of the device's memory
since the start of the process, and is absent where the device does not count it. Torch's fused
optimizers take part where torch finds a CUDA device. On CPUs the sizes are smaller.

A part that fails is recorded with its traceback, the other parts still run, and the exit code is 1.
A part that has not begun when the minutes are over is recorded as skipped. The file is written
after every part, so a call that is cut short keeps what it has measured.
"""

import gc
import pathlib
import sys
import time
import traceback
from collections.abc import Sequence
from typing import Any

import jax

from benchmarks import _machine
from benchmarks._accelerator_parts import Net, Part, Peaks, Sizes, parts_of
from benchmarks._measure import options_of, table
from jaxopt_course.nn import CNN, MLP, Transformer


def both_transformers(blocks: int, width: int, length: int, batch_size: int) -> dict[str, Net]:
    """Return a transformer with a vocabulary of 64, computing in float32 and in bfloat16."""
    model = Transformer(64, length, width=width, heads=4, blocks=blocks)
    net = Net(model, (length,), batch_size, tokens=64)
    return {"transformer": net, "transformer, bfloat16": net._replace(narrow=True)}


SMALL_MLP = Net(MLP(10, (64, 64)), (64,), 64)
ACCELERATOR = Sizes(
    rounds=9,
    steps=10,
    copied=2**28,
    width=8192,
    leaf=(4096, 8192),
    few=(150, (512, 512)),
    many=(500, (10, 10)),
    muon=(12, 512),
    soap=(4, 256),
    nets={
        "small MLP": SMALL_MLP,
        **both_transformers(blocks=4, width=512, length=256, batch_size=32),
        "CNN": Net(CNN(10, (64, 128, 256), (256,)), (32, 32, 3), 256),
        "wide MLP": Net(MLP(10, (2048, 2048)), (784,), 1024),
    },
    batches=10,
    epochs=10,
    members=256,
    member_steps=300,
)
CPU = Sizes(
    rounds=5,
    steps=5,
    copied=2**24,
    width=512,
    leaf=(1024, 2048),
    few=(50, (128, 160)),
    many=(300, (10, 10)),
    muon=(4, 64),
    soap=(2, 32),
    nets={
        "small MLP": SMALL_MLP,
        **both_transformers(blocks=2, width=64, length=32, batch_size=16),
        "CNN": Net(CNN(10, (8, 16), (32,)), (8, 8, 1), 64),
        "wide MLP": Net(MLP(10, (256, 256)), (784,), 128),
    },
    batches=10,
    epochs=4,
    members=256,
    member_steps=100,
)
TINY = Sizes(
    rounds=2,
    steps=2,
    copied=2**16,
    width=64,
    leaf=(64, 256),
    few=(4, (32, 32)),
    many=(12, (10, 10)),
    muon=(1, 16),
    soap=(1, 8),
    nets={
        "small MLP": Net(MLP(10, (8,)), (16,), 8),
        "transformer, bfloat16": both_transformers(1, 16, 8, 4)["transformer, bfloat16"],
        "CNN": Net(CNN(10, (4,), (8,)), (8, 8, 1), 8),
    },
    batches=2,
    epochs=2,
    members=8,
    member_steps=4,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure all parts, print tables, and write ``results/accelerator.json``; 1 if one failed."""
    begin = time.perf_counter()
    parser = options_of(
        __doc__, "toy sizes: they try the code in half a minute, and the figures mean nothing"
    )
    parser.add_argument("--tiny", dest="quick", action="store_true", help="the same as --quick")
    parser.add_argument(
        "--minutes", type=float, default=9.0, help="no part begins later than this; default 9"
    )
    parser.add_argument(
        "--out", type=pathlib.Path, help="where to write; default benchmarks/results"
    )
    options = parser.parse_args(arguments)
    platform = jax.default_backend()
    name, sizes = sizes_for(platform, options.quick)
    if options.quick and platform == "cpu":  # nearly all of the time there is compilation
        jax.config.update("jax_disable_most_optimizations", True)
    device = jax.devices()[0].device_kind
    say(f"Device: {device} ({platform}). Sizes: {name}.")
    peaks: Peaks = {}
    parts = parts_of(sizes)
    records: dict[str, dict[str, Any]] = {}
    figures = {
        "quick": options.quick,
        "minutes": options.minutes,
        "sizes": name,
        "numbers": in_json(sizes),
        "peaks": peaks,
        "parts": records,
    }
    for number, (title, part) in enumerate(parts.items(), 1):
        place = f"[{number}/{len(parts)}] {title}"
        if time.perf_counter() - begin >= 60 * options.minutes:
            found: dict[str, Any] = {"skipped": f"the {options.minutes:g} minutes were over"}
        else:
            say(f"{place} ...")
            found = measured(part, sizes, peaks)
        say(f"{place}: {ending(found)}")
        if "rows" in found:
            say(f"{table(found['rows'])}\n")
        records[title] = found
        path = saved(figures, options.out)
    for word, text in (("error", "Failed"), ("skipped", "Skipped")):
        titles = [title for title, found in records.items() if word in found]
        if titles:
            say(f"{text}: {', '.join(titles)}.")
    say(str(path))
    return 1 if any("error" in found for found in records.values()) else 0


def sizes_for(platform: str, tiny: bool) -> tuple[str, Sizes]:
    """Choose the sizes; return their description and the sizes."""
    if tiny:
        return "toy sizes", TINY
    if platform == "cpu":
        return "those for a CPU, smaller than on an accelerator", CPU
    return "those for an accelerator", ACCELERATOR


def measured(part: Part, sizes: Sizes, peaks: Peaks) -> dict[str, Any]:
    """Run a part; return its rows or its exception, its seconds, and the device's memory."""
    begin = time.perf_counter()
    found: dict[str, Any]
    try:
        found = {"rows": part(sizes, peaks)}
    except Exception as error:
        first = (str(error).strip().splitlines() or [""])[0]
        found = {"error": f"{type(error).__name__}: {first}", "traceback": traceback.format_exc()}
    found["seconds"] = time.perf_counter() - begin
    memory = jax.devices()[0].memory_stats() or {}
    found |= {key: memory[key] for key in ("bytes_in_use", "peak_bytes_in_use") if key in memory}
    gc.collect()  # frees the arrays of closures that refer to each other
    return found


def ending(found: dict[str, Any]) -> str:
    """Say in one line how a part ended."""
    if "skipped" in found:
        return f"skipped, because {found['skipped']}"
    word = f"failed with {found['error']}" if "error" in found else "done"
    peak = found.get("peak_bytes_in_use")
    memory = "" if peak is None else f"; at most {peak / 2**30:.2f} GiB in use so far"
    return f"{word} after {found['seconds']:.1f} s{memory}"


def in_json(sizes: Sizes) -> dict[str, Any]:
    """Return the sizes, with the models as text."""
    models = {
        name: net._replace(model=" ".join(str(net.model).split()))._asdict()
        for name, net in sizes.nets.items()
    }
    return sizes._asdict() | {"nets": models}


def saved(figures: dict[str, Any], out: pathlib.Path | None) -> pathlib.Path:
    """Write the file, below ``out`` if that is given."""
    if out is None:
        return _machine.save("accelerator", figures)
    usual, _machine.RESULTS = _machine.RESULTS, out.resolve()
    try:
        return _machine.save("accelerator", figures)
    finally:
        _machine.RESULTS = usual


def say(text: str) -> None:
    """Print at once: a call that is cut short has said how far it came."""
    print(text, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
