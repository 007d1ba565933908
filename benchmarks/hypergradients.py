"""Gradients through trainings against Sobol points and TPE, for many numbers and equal work.

    python -m benchmarks hypergradients [--quick]

An MLP 64-32-10 with dropout learns 600 digits for 8 epochs of Adam. 25 numbers are tuned on 300
other digits: 20 knots of the schedule of the learning rate, the decay of each kernel, Adam's two
decay rates and the rate of dropout. `tune_by_gradient` takes 40 gradients with two seeds, from one
start. The searches train as many configurations, with two seeds each, as take the same time; the
times are those of compiled programs, taken in turns in the same run, and Optuna's own time is not
counted. Every method ends with one configuration, which is trained with four other seeds and
measured on the digits that took no part.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxopt_course as jc
from benchmarks._machine import save
from benchmarks._measure import interleaved, medians, options_of, table
from jaxopt_course.studies import Float, search, tune_by_gradient


DIGITS = jc.data.digits()
PROBLEM = jc.problems.problem("multiclass")
KNOTS, EPOCHS, BATCH_SIZE, TRAINED, VALIDATED = 20, 8, 60, 600, 300
TOTAL = EPOCHS * TRAINED // BATCH_SIZE
SPACE = {
    "knots": [Float(1e-4, 0.1, log=True)] * KNOTS,
    "decays": [Float(1e-4, 1.0, log=True)] * 2,
    "one_minus_b1": Float(0.01, 0.5, log=True),
    "one_minus_b2": Float(1e-3, 0.5, log=True),
    "dropout": Float(0.0, 0.5),
}
START = {
    "knots": [3e-3] * KNOTS,
    "decays": [1e-2] * 2,
    "one_minus_b1": 0.1,
    "one_minus_b2": 0.01,
    "dropout": 0.1,
}


def main() -> None:
    """Run all studies, print a table, and write ``results/hypergradients.json``."""
    options = options_of(__doc__, "2 studies of each method, not 10").parse_args()
    studies, gradients = (2, 10) if options.quick else (10, 40)
    trials = round(gradients * cost_of_a_gradient())
    found = {name: [] for name in ("first", "gradients", "sobol", "tpe")}
    for seed in range(studies):
        for name, pair in study(seed, gradients, trials).items():
            found[name].append(pair)
    figures = {name: summary(np.array(pairs), found) for name, pairs in found.items()}
    print(table(figures))  # noqa: T201
    print(save("hypergradients", vars(options) | {"trials": trials, **figures}))  # noqa: T201


def study(seed: int, gradients: int, trials: int) -> dict[str, tuple[float, float]]:
    """By method, the validation loss of its best configuration and the test loss of that."""
    rows = np.random.default_rng(seed).permutation(len(DIGITS.targets))
    train, validation, test = np.split(rows, [TRAINED, TRAINED + VALIDATED])
    own = jc.Rows(jnp.asarray(train), None, jnp.asarray(validation))
    key = jax.random.key(seed)
    tuned = tune_by_gradient(
        trained(), START, SPACE, key=key, steps=gradients, rows=own, progress=False
    )
    best = {
        "first": (tuned.values[0, 0], START),
        "gradients": (tuned.values[tuned.best], tuned.configuration),
    }
    for method in ("sobol", "tpe"):
        result = search(
            trained(), SPACE, key=key, trials=trials, seeds=2, folds=own, method=method,
            points=[START], strategy="map", progress=False,
        )  # fmt: skip
        scores = np.nan_to_num(result.scores.mean((1, 2)), nan=np.inf)
        best[method] = (scores.min(), result.configurations[int(scores.argmin())])
    others = jc.Rows(jnp.asarray(train), None, jnp.asarray(test))
    return {
        name: (float(value), tested(key, configuration, others))
        for name, (value, configuration) in best.items()
    }


@functools.cache
def trained() -> Any:
    """The training as a function of the numbers."""
    places = jnp.linspace(0, TOTAL, KNOTS)

    def build(h: dict[str, Any]) -> Any:
        knots = jnp.log(jnp.stack(h["knots"]))
        rate = lambda count: jnp.exp(jnp.interp(jnp.asarray(count, float), places, knots))
        model = jc.nn.MLP(10, (32,), dropout=h["dropout"])
        moments = jc.scale_by_adam(1 - h["one_minus_b1"], 1 - h["one_minus_b2"])
        kernels = lambda name: (
            lambda tree: jax.tree.map_with_path(
                lambda path, _: jax.tree_util.keystr(path) == f"['{name}']['kernel']", tree
            )
        )
        decays = [
            jc.add_decayed_weights(decay, kernels(f"Dense_{i}"))
            for i, decay in enumerate(h["decays"])
        ]
        task = jc.linen_task(model, jnp.zeros((1, 64)), PROBLEM)
        return task, jc.chain(moments, *decays, jc.scale_by_learning_rate(rate))

    return jc.make_train(build, DIGITS, epochs=EPOCHS, batch_size=BATCH_SIZE)


def tested(key: Any, configuration: Any, rows: Any) -> float:
    """The loss on other rows, a mean over four other seeds."""
    keys = jax.random.split(jax.random.fold_in(key, 1_000_000), 4)
    loss = lambda key: trained()(key, configuration, rows).history["validation_loss"][-1]
    return float(jnp.mean(jax.jit(jax.vmap(loss))(keys)))


def cost_of_a_gradient() -> float:
    """The time of a gradient over that of a training, both for two seeds in one program."""
    rows = jc.Rows(jnp.arange(TRAINED), None, jnp.arange(TRAINED, TRAINED + VALIDATED))
    keys = jax.random.split(jax.random.key(0))

    def loss(h: Any, key: Any) -> Any:
        return trained()(key, h, rows).history["validation_loss"][-1]

    start = jax.tree.map(jnp.float32, START)
    functions = {"training": loss, "gradient": jax.grad(loss)}
    both = {name: jax.jit(jax.vmap(f, in_axes=(None, 0))) for name, f in functions.items()}
    runs = {name: functools.partial(run, start, keys) for name, run in both.items()}
    taken = medians(interleaved(runs, 9, warm_up=1))
    print(f"a gradient costs {taken['gradient'] / taken['training']:.2f} trainings")  # noqa: T201
    return taken["gradient"] / taken["training"]


def summary(pairs: np.ndarray, found: dict[str, Any]) -> dict[str, float]:
    """Means over the studies, and half the 95 % interval of the difference to the gradients."""
    own = np.array(found["gradients"])
    half = 2.26 * np.std(pairs - own, axis=0, ddof=1) / np.sqrt(len(own))  # t of 9 degrees
    return {
        "validation": float(pairs[:, 0].mean()),
        "test": float(pairs[:, 1].mean()),
        "validation, minus gradients": float((pairs - own)[:, 0].mean()),
        "+-": float(half[0]),
        "test, minus gradients": float((pairs - own)[:, 1].mean()),
        "+- ": float(half[1]),
    }


if __name__ == "__main__":
    main()
