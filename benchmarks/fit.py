"""What `fit` adds to the compiled training: rows, logs, checkpoints; and what a restart takes.

    python -m benchmarks.fit [--quick] [--epochs 200]

Digits and the command line's default network. Bare is `make_train`, the whole training as one
compiled program; `fit` writes a row an epoch to its logs and shows its progress. They take turns,
and medians are compared: programs are compiled before.
"""

import contextlib
import functools
import io
import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks._machine import save
from benchmarks._measure import interleaved, medians, options_of, seconds
from jaxopt_course.checkpoints import (
    CheckpointStore,
)
from jaxopt_course.cli import (
    TrainOptions,
    describe_model,
    load_data,
    make_optimizer,
    make_task,
    prepare,
)
from jaxopt_course.training import (
    Checkpointing,
    fit,
    make_train,
)


def main() -> None:
    """Print seconds and ratios, and keep them."""
    parser = options_of(__doc__, "50 epochs, three rounds")
    parser.add_argument("--epochs", type=int, help="of each training; 200 unless quick")
    parser.add_argument("--rounds", type=int, help="how often each is timed; 5 unless quick")
    given = parser.parse_args()
    given.epochs = given.epochs or (50 if given.quick else 200)
    given.rounds = given.rounds or (3 if given.quick else 5)
    options = TrainOptions(epochs=given.epochs)
    dataset = load_data(options)
    examples = prepare(options, dataset)
    data, rows = tuple(map(jnp.asarray, examples.data)), examples.rows
    task = make_task(describe_model(options, dataset), data[0].shape[1:], dataset.problem)
    optimizer = make_optimizer(options, len(rows.train))
    lengths = {"epochs": options.epochs, "batch_size": options.batch_size}
    bare = jax.jit(make_train(lambda _: (task, optimizer), data, **lengths))
    fitted = functools.partial(
        quietly, fit, task, optimizer, data, key=examples.key, rows=rows, **lengths
    )
    with tempfile.TemporaryDirectory() as scratch:
        folders = (pathlib.Path(scratch, str(number)) for number in range(10**6))
        runs: dict[str, Callable[[], Any]] = {
            "bare": lambda: bare(examples.key, None, rows),
            "fit": lambda: fitted(log=next(folders)),
            "fit, saving": lambda: fitted(log=next(folders), checkpoint=next(folders)),
        }
        times = interleaved(runs, given.rounds, warm_up=1)
        middle = medians(times)
        overheads = [
            {name: times[name][i] / times["bare"][i] - 1 for name in runs}
            for i in range(given.rounds)
        ]
        overhead = {name: statistics.median(o[name] for o in overheads) for name in runs}
        figures = {"seconds": middle, "overhead": overhead, **of_a_restart(fitted, next(folders))}
    for name in runs:
        print(f"{name:12} {middle[name]:7.3f} s, overhead {overhead[name]:+.1%}")  # noqa: T201
    print(  # noqa: T201
        f"a save {figures['save_s']:.3f} s, {figures['bytes']} bytes; "
        f"restored, and a step further, after {figures['restart_s']:.2f} s"
    )
    print(save("fit", {**vars(given), **figures}))  # noqa: T201


def of_a_restart(fitted: Callable[..., Any], folder: pathlib.Path) -> dict[str, float]:
    """A run is cut in half: seconds a save, bytes on disk, seconds to the first step after it."""
    begin, seen = 0.0, []

    def first_step(record: Any) -> None:
        seen.append(time.perf_counter() - begin)

    kept = Checkpointing(folder, every_seconds=3600)
    fitted(checkpoint=kept, max_time=0.2)
    begin = time.perf_counter()
    run = fitted(checkpoint=kept._replace(resume="auto"), callbacks=[first_step])
    with CheckpointStore(folder / "again") as store:
        saving = [seconds(lambda step=step: store.save(step, run)) for step in range(1, 8)]
    size = sum(f.stat().st_size for f in (folder / "again" / "7").rglob("*") if f.is_file())
    return {"save_s": statistics.median(saving), "bytes": size, "restart_s": seen[0]}


def quietly(call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """What a call gives, without what its progress says."""
    with contextlib.redirect_stderr(io.StringIO()):
        return call(*arguments, **options)


if __name__ == "__main__":
    main()
