"""A thousand small trainings as one program: seconds, compilation apart, by strategy.

    python -m benchmarks.population [--quick]

An MLP 64-40-10 (3,010 parameters) on the digits, 300 steps of adamw in batches of 64; every
member has a rate and a key of its own. The strategies take turns; the median of the rounds counts.
``map`` is compared with the same training called a thousand times, compiled once.
"""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks._machine import save
from benchmarks._measure import interleaved, medians, options_of, seconds
from benchmarks._mlp import BATCH_SIZE, WIDTH, task_of
from jaxopt_course.data import digits
from jaxopt_course.optimizers import adamw
from jaxopt_course.training import make_population, make_train


STEPS = 300


def main() -> None:
    """Time each strategy, print a line each, and write ``results/population.json``."""
    parser = options_of(__doc__, "a hundred trainings")
    parser.add_argument("--members", type=int, help="how many trainings; 1000 unless quick")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is timed")
    options = parser.parse_args()
    options.members = options.members or (100 if options.quick else 1000)
    keys = jax.random.split(jax.random.key(0), options.members)
    rates = jnp.logspace(-4, -1, options.members)
    one = jax.jit(final_loss())
    runs = {"one by one": lambda: np.stack(list(map(one, keys, rates)))}
    compile_seconds = {"one by one": seconds(lambda: one(keys[0], rates[0]))}
    for name, strategy in {
        "map": {"strategy": "map"},
        "chunk of 8": {"strategy": "chunk", "chunk_size": 8},
        "chunk of 32": {"strategy": "chunk", "chunk_size": 32},
        "vmap": {"strategy": "vmap"},
    }.items():
        population = jax.jit(
            make_population(final_loss(), [("key", "hyperparameters")], **strategy)
        )
        begin = time.perf_counter()
        compiled = population.lower(keys, rates).compile()
        compile_seconds[name] = time.perf_counter() - begin
        runs[name] = lambda compiled=compiled: compiled(keys, rates)
    middle = medians(interleaved(runs, options.rounds))
    figures = {name: {"compile_s": compile_seconds[name], "run_s": middle[name]} for name in runs}
    for name, row in figures.items():
        print(f"{name:12} compile {row['compile_s']:6.2f} s, run {row['run_s']:7.2f} s")  # noqa: T201
    same = bool(np.array_equal(runs["map"](), runs["one by one"]()))
    print(f"map has the bits of one by one: {same}")  # noqa: T201
    print(save("population", {**vars(options), "map_is_bit_equal": same, "strategies": figures}))  # noqa: T201


def final_loss() -> Callable[[Any, Any, Any], jax.Array]:
    """The last training loss of a member."""
    task = task_of(WIDTH)
    train = make_train(
        lambda rate: (task, adamw(rate)), digits(), steps=STEPS, batch_size=BATCH_SIZE
    )
    return lambda key, rate, rows=None: train(key, rate, rows).history["loss"][-1]


if __name__ == "__main__":
    main()
