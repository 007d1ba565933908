"""1000 small trainings, and 64 CNNs, in one program: seconds by strategy, without compilation.

    python -m benchmarks population [--quick]

An MLP 64-40-10 (3,010 parameters) on digits, 300 steps of AdamW in batches of 64; every member has
its own learning rate and key. The strategies take turns, and the median counts. ``map`` is compared
with 1000 calls of the same training, compiled once.

The CNNs, with two convolutions, train on digits for 66 steps of Adam, with eight learning rates and
eight dropout rates. They are compared with optax loops whose step is compiled for each member, as
both rates are Python numbers there. Only a few of these loops are run, and their time is
extrapolated to all.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks._machine import save
from benchmarks._measure import interleaved, medians, options_of, seconds, table
from benchmarks._mlp import BATCH_SIZE, WIDTH, task_of
from benchmarks._networks import CHANNELS, DENSE
from jaxopt_course.data import digits
from jaxopt_course.nn import CNN
from jaxopt_course.optimizers import adam, adamw
from jaxopt_course.problems import problem
from jaxopt_course.tasks import linen_task
from jaxopt_course.training import make_population, make_train


STEPS = 300
KEY = jax.random.key(0)


def main() -> None:
    """Time each strategy, print a line for each, and write ``results/population.json``."""
    parser = options_of(__doc__, "a hundred trainings")
    parser.add_argument("--members", type=int, help="number of trainings (default: 1000)")
    parser.add_argument("--rounds", type=int, default=3, help="number of measurements of each")
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
    networks = of_networks(2 if options.quick else 6)
    results = {"map_is_bit_equal": same, "strategies": figures, "networks": networks}
    print(save("population", vars(options) | results))  # noqa: T201


def of_networks(loops: int) -> dict[str, float]:
    """The figures of the CNNs, beside ``loops`` of the 64 loops of optax."""
    data = digits()
    inputs = jnp.asarray(data.inputs, jnp.float32).reshape(-1, 8, 8, 1)[: 22 * BATCH_SIZE]
    targets = jnp.asarray(data.targets, jnp.int32)[: 22 * BATCH_SIZE]
    grid = jnp.meshgrid(jnp.logspace(-4, -2, 8), jnp.linspace(0.0, 0.5, 8))
    numbers = dict(zip(("rate", "dropout"), map(jnp.ravel, grid), strict=True))

    def build(chosen: Any) -> Any:
        model = CNN(10, CHANNELS, DENSE, dropout=chosen["dropout"])
        return linen_task(model, inputs[:1], problem("multiclass")), adam(chosen["rate"])

    train = make_train(build, (inputs, targets), epochs=3, batch_size=BATCH_SIZE)
    last = lambda *args: train(*args).history["loss"][-1]
    population = jax.jit(make_population(last, ["hyperparameters"]))
    begin = time.perf_counter()
    compiled = population.lower(KEY, numbers).compile()
    row = {"compile_s": time.perf_counter() - begin}
    row["run_s"] = seconds(lambda: compiled(KEY, numbers))
    members = numbers["rate"].size
    some = np.linspace(0, members - 1, loops).astype(int)
    taken = [
        optax_loop(inputs, targets, float(numbers["rate"][i]), float(numbers["dropout"][i]))
        for i in some
    ]
    first, later = (members * statistics.median(times) for times in zip(*taken, strict=True))
    row |= {"loops_s": first, "loops_compiled_before_s": later}
    row["loops_over_program"] = first / (row["compile_s"] + row["run_s"])
    row["apart_from_compilation"] = later / row["run_s"]
    print(f"{members} CNNs\n{table({'one program': row})}")  # noqa: T201
    return row


def optax_loop(inputs: Any, targets: Any, rate: float, dropout: float) -> tuple[float, float]:
    """The seconds of a hand-written loop, and of the same again, compiled."""
    model, tx = CNN(10, CHANNELS, DENSE, dropout=dropout), optax.adam(rate)

    @jax.jit
    def step(params: Any, state: Any, key: Any, x: Any, y: Any) -> Any:
        def loss_fn(params: Any) -> jax.Array:
            logits = model.apply(params, x, train=True, rngs={"dropout": key})
            return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

        loss, grads = jax.value_and_grad(loss_fn)(params)
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state, loss

    def run() -> Any:
        params = model.init(KEY, inputs[:1], train=False)
        state, rng, count = tx.init(params), np.random.default_rng(0), 0
        for _ in range(3):
            for rows in rng.permutation(len(inputs)).reshape(-1, BATCH_SIZE):
                key, count = jax.random.fold_in(KEY, count), count + 1
                params, state, loss = step(params, state, key, inputs[rows], targets[rows])
        return loss

    return seconds(run), seconds(run)


def final_loss() -> Callable[[Any, Any, Any], jax.Array]:
    """The last training loss of a member."""
    task = task_of(WIDTH)
    train = make_train(
        lambda rate: (task, adamw(rate)), digits(), steps=STEPS, batch_size=BATCH_SIZE
    )
    return lambda key, rate, rows=None: train(key, rate, rows).history["loss"][-1]


if __name__ == "__main__":
    main()
