"""Tuning 25 numbers by gradients through trainings, against Sobol points and TPE.

    python -m benchmarks hypergradients [--quick] [--seeds 10]

An MLP 64-16-10 trains on 200 digits for 8 epochs of 8 steps. The 25 numbers are the 20 knots of its
learning rate schedule, a factor of the rate and a weight decay for each of its two layers, and a
dropout rate. All methods tune the last validation loss on 200 other digits, with the same key, and
begin with the middle of all ranges. They have the cost of the same number of trainings: how many
trainings a gradient costs is measured first, in the same process, without compilation. The sampling
of TPE is not counted; ten times as many gradients take about as long as TPE with its sampling. The
test loss is that of the chosen numbers on the remaining digits. A seed
has its own rows, initial parameters and batches.

Also measured: the temporaries of a gradient by the number of steps, with and without ``remat``.
"""

import functools
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks._machine import save
from benchmarks._measure import interleaved, medians, options_of, table
from benchmarks._mlp import split, task_of
from jaxopt_course.data import digits
from jaxopt_course.nn import MLP
from jaxopt_course.optimizers import adam, adamw, sgd
from jaxopt_course.problems import problem
from jaxopt_course.studies import Float, SearchResult, search, tune_by_gradient
from jaxopt_course.tasks import linen_task
from jaxopt_course.training import Rows, Run, make_train
from jaxopt_course.transforms import partition


TRAINED, VALIDATED, EPOCHS, BATCH_SIZE, KNOTS = 200, 200, 8, 25, 20
STEPS = EPOCHS * TRAINED // BATCH_SIZE
LAYER = {"rate": Float(0.1, 10.0, log=True), "decay": Float(1e-4, 10.0, log=True)}
SPACE = {
    "knots": [Float(1e-4, 0.1, log=True)] * KNOTS,
    "Dense_0": LAYER,
    "Dense_1": LAYER,
    "dropout": Float(0.0, 0.5),
}
MIDDLE = {
    "knots": [10**-2.5] * KNOTS,
    "Dense_0": {"rate": 1.0, "decay": 10**-1.5},
    "Dense_1": {"rate": 1.0, "decay": 10**-1.5},
    "dropout": 0.25,
}


def main() -> None:
    """Measure all of it, print tables, and write ``results/hypergradients.json``."""
    parser = options_of(__doc__, "two seeds and an eighth of the trainings")
    parser.add_argument("--seeds", type=int, help="number of seeds (default: 10; with --quick 2)")
    options = parser.parse_args()
    seeds = options.seeds or (2 if options.quick else 10)
    trainings = 32 if options.quick else 256
    train = make_train(build, digits(), epochs=EPOCHS, batch_size=BATCH_SIZE)
    ratio = cost_ratio(train)
    print(f"a gradient costs {ratio:.2f} trainings")  # noqa: T201
    found = {name: np.array(values) for name, values in tuned(train, ratio, trainings, seeds)}
    figures = {name: summary(values, found["gradients"]) for name, values in found.items()}
    print(table(figures))  # noqa: T201
    each = {name: values.tolist() for name, values in found.items()}
    results = {"ratio": ratio, "trainings": trainings, "seeds": each, "figures": figures}
    save("hypergradients", {**vars(options), **results})
    temporaries = memory((64, 256) if options.quick else (64, 256, 1024, 4096))
    print(table({str(steps): row for steps, row in temporaries.items()}))  # noqa: T201
    print(save("hypergradients", {**vars(options), **results, "temporaries": temporaries}))  # noqa: T201


def build(hp: dict[str, Any]) -> Any:
    """The perceptron, and AdamW with the numbers of each layer."""
    task = linen_task(
        MLP(10, (16,), dropout=hp["dropout"]), jnp.zeros((1, 64)), problem("multiclass")
    )
    knots, places = jnp.stack(hp["knots"]), jnp.linspace(0.0, STEPS - 1.0, KNOTS)

    def optimizer(own: dict[str, Any]) -> Any:
        rate = lambda count: own["rate"] * jnp.interp(count, places, knots)
        return adamw(rate, weight_decay=own["decay"])

    labels = lambda params: {
        name: jax.tree.map(functools.partial(_label, name), layer) for name, layer in params.items()
    }
    return task, partition({name: optimizer(hp[name]) for name in ("Dense_0", "Dense_1")}, labels)


def _label(name: str, _: Any) -> str:
    return name


def final_loss(run: Run) -> jax.Array:
    """The validation loss at the end."""
    return run.history["validation_loss"][-1]


def rows_of(seed: int) -> tuple[Rows, Rows]:
    """The rows of a seed: with its validation rows, and with its test rows instead."""
    order = np.random.default_rng(seed).permutation(len(digits().targets)).astype(np.int32)
    trained, validated = order[:TRAINED], order[TRAINED : TRAINED + VALIDATED]
    tested = order[TRAINED + VALIDATED :]
    return Rows(trained, None, validated), Rows(trained, None, tested)


def cost_ratio(train: Any) -> float:
    """How many trainings a gradient costs, without compilation; medians of runs in turn."""
    end = lambda hp, key, rows: final_loss(train(key, hp, rows))
    programs = {"training": jax.jit(end), "gradient": jax.jit(jax.value_and_grad(end))}
    given = MIDDLE, jax.random.key(0), rows_of(0)[0]
    runs = {
        name: lambda program=program: [program(*given) for _ in range(5)]
        for name, program in programs.items()
    }
    middle = medians(interleaved(runs, 11, warm_up=2))
    return middle["gradient"] / middle["training"]


def tuned(train: Any, ratio: float, trainings: int, seeds: int) -> Any:
    """For each method its name, and for each seed validation loss, test loss and seconds."""
    test = jax.jit(lambda key, hp, rows: final_loss(train(key, hp, rows)))
    optimizer = adam(0.05)

    def gradients(times: int, key: jax.Array, rows: Rows) -> Any:
        result = tune_by_gradient(
            train, MIDDLE, SPACE, key=key, steps=max(int(times * trainings / ratio), 1), seeds=1,
            rows=rows, metric=final_loss, optimizer=optimizer, strategy="map", progress=False,
        )  # fmt: skip
        return result.configuration, result.curve[-1]

    def searched(method: str, key: jax.Array, rows: Rows) -> Any:
        result: SearchResult = search(
            train, SPACE, key=key, trials=trainings, folds=rows, metric=final_loss, method=method,
            rounds=trainings // 4 if method == "tpe" else None, points=[MIDDLE], strategy="map",
            progress=False,
        )  # fmt: skip
        return result.configurations[result.best], result.values[result.best]

    methods = {
        "gradients": functools.partial(gradients, 1),
        "gradients, 10 times as many": functools.partial(gradients, 10),
        "TPE": functools.partial(searched, "tpe"),
        "Sobol": functools.partial(searched, "sobol"),
    }
    for name, method in methods.items():
        values = []
        for seed in range(seeds):
            (rows, held_out), key = rows_of(seed), jax.random.key(seed)
            begin = time.perf_counter()
            configuration, validation = method(key, rows)
            took = time.perf_counter() - begin
            own = jax.random.fold_in(key, 0)
            values.append((float(validation), float(test(own, configuration, held_out)), took))
            print(f"{name}, seed {seed}: {values[-1]}", flush=True)  # noqa: T201
        yield name, values
    rows = [(rows_of(seed), jax.random.fold_in(jax.random.key(seed), 0)) for seed in range(seeds)]
    yield (
        "middle of the ranges",
        [(*(float(test(own, MIDDLE, part)) for part in parts), 0.0) for parts, own in rows],
    )


def summary(values: np.ndarray, gradients: np.ndarray) -> dict[str, Any]:
    """Means over the seeds with 95 % intervals, and paired differences to the gradients."""
    return {
        "validation": interval(values[:, 0]),
        "test": interval(values[:, 1]),
        "validation minus gradients": interval(values[:, 0] - gradients[:, 0]),
        "test minus gradients": interval(values[:, 1] - gradients[:, 1]),
        "seconds": float(np.median(values[:, 2])),
    }


def interval(values: np.ndarray) -> str:
    """The mean and the half width of its 95 % interval, of Student's distribution."""
    from scipy.stats import t

    n = len(values)
    width = t.ppf(0.975, n - 1) * values.std(ddof=1) / np.sqrt(n)
    return f"{values.mean():.3f} +- {width:.3f}"


def memory(lengths: tuple[int, ...]) -> dict[int, dict[str, float]]:
    """Megabytes of temporaries of a gradient of an MLP 64-32-10, by the number of steps."""
    task, found = task_of(32), {}
    for steps in lengths:
        row = {}
        for name, remat in (("stored", False), ("remat", True)):
            train = make_train(
                lambda hp: (task, sgd(hp["rate"], momentum=hp["momentum"])),
                digits(), steps=steps, batch_size=64, remat=remat,
            )  # fmt: skip
            end = lambda hp, train=train: final_loss(train(jax.random.key(0), hp, split()))
            program = jax.jit(jax.grad(end)).lower({"rate": 0.1, "momentum": 0.5}).compile()
            row[name] = program.memory_analysis().temp_size_in_bytes / 1e6
        found[steps] = row
    return found


if __name__ == "__main__":
    main()
