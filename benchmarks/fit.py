"""Overhead of `fit` (logs, progress, checkpoints) over `make_train`, and the time of a restart.

    python -m benchmarks fit [--quick] [--epochs 200]

The training is the default one of the command line, on digits. "bare" is `make_train`, the whole
training as one compiled program. `fit` logs every epoch and shows its progress. All programs are
compiled before, the measurements take turns, and medians are compared.
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

from benchmarks import _default
from benchmarks._machine import save
from benchmarks._measure import interleaved, medians, options_of, seconds
from jaxopt_course.checkpoints import CheckpointStore
from jaxopt_course.training import Checkpointing, Rows, fit, make_train


def main() -> None:
    """Print and save seconds and ratios."""
    parser = options_of(__doc__, "50 epochs, three rounds")
    parser.add_argument(
        "--epochs", type=int, help="epochs of each training (default: 200; with --quick 50)"
    )
    parser.add_argument(
        "--rounds", type=int, help="number of measurements of each (default: 5; with --quick 3)"
    )
    given = parser.parse_args()
    given.epochs = given.epochs or (50 if given.quick else 200)
    given.rounds = given.rounds or (3 if given.quick else 5)
    data, (parts, key) = _default.data(), _default.split_of(0)
    rows = Rows(jnp.asarray(parts.train), None, jnp.asarray(parts.validation))
    task, optimizer = _default.task_of(), _default.optimizer_of(given.epochs, len(rows.train))
    lengths = {"epochs": given.epochs, "batch_size": _default.BATCH_SIZE}
    bare = jax.jit(make_train(lambda _: (task, optimizer), data, **lengths))
    fitted = functools.partial(quietly, fit, task, optimizer, data, key=key, rows=rows, **lengths)
    with tempfile.TemporaryDirectory() as scratch:
        folders = (pathlib.Path(scratch, str(number)) for number in range(10**6))
        runs: dict[str, Callable[[], Any]] = {
            "bare": lambda: bare(key, None, rows),
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
    """Interrupt a run: seconds of a save, bytes on disk, and seconds until the next step."""
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
    """The result of a call, without its progress on stderr."""
    with contextlib.redirect_stderr(io.StringIO()):
        return call(*arguments, **options)


if __name__ == "__main__":
    main()
