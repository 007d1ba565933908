"""Time of searches, compilation included, against the usual loops.

    python -m benchmarks search [--quick]

The same 256 trials of an MLP 64-40-10 on digits, 300 steps of AdamW in batches of 64, run in three
ways: as a search of this library; by Optuna's random sampler around a training in Flax and optax
whose learning rate is a Python float, so that every trial compiles; and by the same training
compiled once, with the learning rate in ``optax.inject_hyperparams``. Only some trials of the usual
loops are run, and their time is extrapolated to all.

In addition: the strategy `auto` against the fastest one and against one training at a time, for
four models; and 1000 cross-validated trainings on one device and on two.
"""

import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import AxisType

from benchmarks._machine import save
from benchmarks._measure import interleaved, medians, options_of, seconds
from benchmarks._mlp import BATCH_SIZE, SPACE, WIDTH, build_of, split, task_of
from jaxopt_course.data import digits, k_fold
from jaxopt_course.nn import CNN, MLP
from jaxopt_course.problems import problem
from jaxopt_course.studies import SearchResult, search
from jaxopt_course.tasks import linen_task
from jaxopt_course.training import make_train


STEPS = 300


def main() -> None:
    """Time all of it, print a line each, and write ``results/search.json``."""
    options = options_of(__doc__, "fewer trials, models and trainings").parse_args()
    jax.config.update("jax_num_cpu_devices", min(2, os.cpu_count() or 1))
    loops = against_loops(trials=64 if options.quick else 256, tried=4 if options.quick else 16)
    strategies = against_strategies(24, ("MLP 32",)) if options.quick else against_strategies(96)
    thousand = cross_validated(trials=5 if options.quick else 50)
    figures = {"loops": loops, "strategies": strategies, "cross_validated": thousand}
    for name in ("float_rate", "injected_rate"):
        print(  # noqa: T201
            f"{loops['trials']} trials, compilation included: "
            f"{loops[name] / loops['search']:.1f} times as fast as the loop with {name}"
        )
    for name, row in strategies.items():
        print(  # noqa: T201
            f"auto on {name}: {row['auto_over_one_by_one']:.2f} times as fast as one by one, "
            f"{row['auto_over_best']:.2f} times as fast as the best"
        )
    for name, row in thousand.items():
        print(f"{row['trainings']} cross-validated trainings, {name}: {row}")  # noqa: T201
    print(save("search", {**vars(options), **figures}))  # noqa: T201


def against_loops(trials: int, tried: int) -> dict[str, Any]:
    """Seconds of each way for so many trials; of the loops, ``tried`` are done."""
    begin = time.perf_counter()
    result = search(
        mlp_train(WIDTH), SPACE, key=jax.random.key(0), trials=trials, method="random",
        folds=split(), progress=False,
    )  # fmt: skip
    found = {"trials": trials, "tried": tried, "search": time.perf_counter() - begin}
    found["search_compiling"] = result.seconds["compile"]
    found["float_rate"] = optuna_loop(float_rate_training, tried) / tried * trials
    once, compiling = injected_rate_training()
    per_trial = optuna_loop(once, 2 * tried) / (2 * tried)
    found["injected_rate"] = compiling + per_trial * trials
    return found


def against_strategies(
    trials: int, names: Sequence[str] = ("MLP 8", "MLP 32", "MLP 128", "CNN")
) -> dict[str, dict[str, float]]:
    """Seconds of each strategy, medians over the rounds, and of trainings one by one."""
    found = {}
    for name in names:
        train = cnn_train() if name == "CNN" else mlp_train(int(name.removeprefix("MLP ")))
        number = trials if name != "CNN" else max(trials // 4, 8)
        loop = one_by_one(train, number)
        ways: dict[str, Callable[[], Any]] = {"one_by_one": loop}
        for strategy in ("map", "chunk", "auto"):
            ways[strategy] = lambda strategy=strategy, train=train, number=number: search(
                train, SPACE, key=jax.random.key(0), trials=number, method="random", folds=split(),
                strategy=strategy, progress=False,
            )  # fmt: skip
        compiling = {way: seconds(run) for way, run in ways.items()}
        middle = medians(interleaved(ways, 5))
        best = min(middle["map"], middle["chunk"])
        found[name] = {
            **{f"{way}_s": t for way, t in middle.items()},
            **{f"{way}_first_s": t for way, t in compiling.items()},
            "auto_over_one_by_one": middle["one_by_one"] / middle["auto"],
            "auto_over_best": best / middle["auto"],
        }
        print(f"{name}: {found[name]}")  # noqa: T201
    return found


def cross_validated(trials: int) -> dict[str, dict[str, Any]]:
    """Seconds of configurations x 5 folds x 4 seeds, on one device and on all."""
    train, found = mlp_train(WIDTH), {}
    folds = k_fold(jax.random.key(1), np.arange(1797), 5)
    for count in range(1, len(jax.devices()) + 1):
        mesh = jax.make_mesh(
            (count,), ("pop",), axis_types=(AxisType.Auto,), devices=jax.devices()[:count]
        )
        result: SearchResult = search(
            train, SPACE, key=jax.random.key(0), trials=trials, seeds=4, folds=folds,
            strategy="map", mesh=mesh, progress=False,
        )  # fmt: skip
        found[f"{count} devices"] = {
            "trainings": result.scores.size,
            **{f"{name}_s": s for name, s in result.seconds.items()},
        }
    return found


def mlp_train(width: int) -> Callable[..., Any]:
    """An MLP with one hidden layer."""
    return make_train(build_of(task_of(width)), digits(), steps=STEPS, batch_size=BATCH_SIZE)


def cnn_train() -> Callable[..., Any]:
    """Two small convolutions, for fewer steps."""
    task = linen_task(CNN(10, (4, 8), (16,)), jnp.zeros((1, 8, 8, 1)), problem("multiclass"))
    data = digits()
    images = (jnp.asarray(data.inputs).reshape(-1, 8, 8, 1), data.targets)
    return make_train(build_of(task), images, steps=60, batch_size=BATCH_SIZE)


def one_by_one(train: Callable[..., Any], trials: int) -> Callable[[], Any]:
    """The loop that a careful user writes: compiled once, the numbers traced."""
    compiled = jax.jit(lambda key, hp, rows: train(key, hp, rows).history["validation_loss"].min())
    rates = np.geomspace(1e-4, 1e-1, trials)

    def run() -> list[Any]:
        key, rows = jax.random.key(0), split()
        trials = [{"learning_rate": rate, "weight_decay": 0.01} for rate in rates]
        return [float(compiled(key, trial, rows)) for trial in trials]

    return run


def optuna_loop(objective: Callable[[float, float], float], trials: int) -> float:
    """Seconds of so many trials with Optuna's random sampler."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    begin = time.perf_counter()
    for _ in range(trials):
        trial = study.ask()
        rate = trial.suggest_float("learning_rate", 1e-4, 1e-1, log=True)
        decay = trial.suggest_float("weight_decay", 1e-5, 1.0, log=True)
        study.tell(trial, objective(rate, decay))
    return time.perf_counter() - begin


def float_rate_training(rate: float, decay: float) -> float:
    """As tutorials have it: a jitted step that closes over an optimizer with a Python rate."""
    model, data = MLP(10, (WIDTH,)), Arrays()
    params = model.init(jax.random.key(0), data.inputs[:1], train=False)
    return trained(model, optax.adamw(rate, weight_decay=decay), params, None, data, None)[0]


def injected_rate_training() -> tuple[Callable[[float, float], float], float]:
    """The same with the rate in the state, so that one step serves all; and seconds to compile."""
    model, data = MLP(10, (WIDTH,)), Arrays()
    params = model.init(jax.random.key(0), data.inputs[:1], train=False)
    optimizer = optax.inject_hyperparams(optax.adamw)(learning_rate=0.1, weight_decay=0.1)
    state = optimizer.init(params)
    begin = time.perf_counter()
    _, step = trained(model, optimizer, params, state, data, None)
    compiling = time.perf_counter() - begin

    def objective(rate: float, decay: float) -> float:
        own = state._replace(
            hyperparams={
                **state.hyperparams,
                "learning_rate": jnp.asarray(rate, jnp.float32),
                "weight_decay": jnp.asarray(decay, jnp.float32),
            }
        )
        return trained(model, optimizer, params, own, data, step)[0]

    return objective, compiling


class Arrays:
    """The digits on the device."""

    def __init__(self) -> None:
        data = digits()
        self.inputs, self.targets = jnp.asarray(data.inputs), jnp.asarray(data.targets)


def trained(
    model: Any, optimizer: Any, params: Any, state: Any, data: Arrays, step: Any
) -> tuple[float, Any]:
    """The lowest validation loss of a hand-written loop, and its jitted step and evaluation."""
    loss = lambda params, x, y: optax.softmax_cross_entropy_with_integer_labels(
        model.apply(params, x, train=True), y
    ).mean()

    @jax.jit
    def take(params: Any, state: Any, x: Any, y: Any) -> Any:
        updates, state = optimizer.update(jax.grad(loss)(params, x, y), state, params)
        return optax.apply_updates(params, updates), state

    take, evaluate = step or (take, jax.jit(loss))
    state = optimizer.init(params) if state is None else state
    rng, best = np.random.default_rng(0), float("inf")
    order = rng.permutation(1437)
    for i in range(STEPS):
        position = i % (1437 // BATCH_SIZE)
        if position == 0:
            order = rng.permutation(1437)
        rows = order[position * BATCH_SIZE : (position + 1) * BATCH_SIZE]
        params, state = take(params, state, data.inputs[rows], data.targets[rows])
        if (i + 1) % 23 == 0 or i + 1 == STEPS:
            best = min(best, float(evaluate(params, data.inputs[1437:], data.targets[1437:])))
    return best, (take, evaluate)


if __name__ == "__main__":
    main()
