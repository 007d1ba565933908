"""Tuning 25 to 27 numbers by gradients through trainings, against Sobol points and TPE.

    python -m benchmarks hypergradients [--quick] [--seeds 10] [--only digits]

Three problems, each with 200 rows to train on, 200 to validate and others to test:

    digits       an MLP 64-16-10 classifies digits
    text         an MLP predicts each token of a Markov source of order two from the two before it
    autoencoder  an autoencoder 64-16-64 reproduces digits

All train for 8 epochs of 8 steps. The numbers are the 20 knots of the learning rate schedule, a
factor of the rate and a weight decay for each layer, and a dropout rate, or the weight of the
penalty of the code, which is part of the training loss only.

All methods tune the last validation loss with the same key, and begin with the middle of all
ranges. They have the cost of the same number of trainings: how many trainings a gradient costs is
measured first, in the same process, without compilation. The sampling of TPE is not counted, so
ten times as many gradients are measured, too. The test loss is that of the chosen numbers on the
remaining rows. A seed has its own rows, initial parameters and batches. On
the rows of seed 0 the gradients of two seeds are compared along a descent.

Also measured: the temporaries of a gradient by the number of steps, with and without ``remat``.
"""

import functools
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks._machine import save
from benchmarks._measure import interleaved, options_of, table
from benchmarks._mlp import split, task_of
from jaxopt_course.data import digits
from jaxopt_course.nn import MLP, Autoencoder, Dropout
from jaxopt_course.optimizers import adam, adamw, sgd
from jaxopt_course.problems import problem
from jaxopt_course.studies import Float, SearchResult, search, tune_by_gradient
from jaxopt_course.tasks import Batch, Task, linen_task
from jaxopt_course.training import Rows, Run, make_train
from jaxopt_course.transforms import partition
from jaxopt_course.workloads import draw_text, markov_source


TRAINED, VALIDATED, EPOCHS, BATCH_SIZE, KNOTS = 200, 200, 8, 25, 20
STEPS = EPOCHS * TRAINED // BATCH_SIZE
KNOT = Float(1e-4, 0.1, log=True)
LAYER = {"rate": Float(0.1, 10.0, log=True), "decay": Float(1e-4, 10.0, log=True)}
TOKENS, LENGTH = 4, 8  # of the vocabulary, and of a row


class Tuned(NamedTuple):
    """A problem whose numbers are tuned.

    task_of: ``task_of(number) -> task``, for the number that is the model's own.
    data: inputs and targets of all rows.
    layers: beginnings of the paths of the parameters of each layer.
    own: name and range of the model's own number.
    """

    task_of: Callable[[Any], Task]
    data: Any
    layers: tuple[str, ...]
    own: tuple[str, Float]

    @property
    def space(self) -> dict[str, Any]:
        """The ranges of all numbers."""
        name, own = self.own
        return {"knots": [KNOT] * KNOTS, **dict.fromkeys(self.layers, LAYER), name: own}

    @property
    def middle(self) -> dict[str, Any]:
        """The middle of all ranges."""
        return jax.tree.map(lambda kind: kind.at(0.5), self.space)

    def build(self, hp: dict[str, Any]) -> Any:
        """The task, and AdamW with the numbers of each layer."""
        knots, places = jnp.stack(hp["knots"]), jnp.linspace(0.0, STEPS - 1.0, KNOTS)

        def optimizer(own: dict[str, Any]) -> Any:
            rate = lambda count: own["rate"] * jnp.interp(count, places, knots)
            return adamw(rate, weight_decay=own["decay"])

        groups = {layer: optimizer(hp[layer]) for layer in self.layers}
        labels = functools.partial(jax.tree_util.tree_map_with_path, self._layer)
        return self.task_of(hp[self.own[0]]), partition(groups, labels)

    def _layer(self, path: Any, _: Any) -> str:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        return next(layer for layer in self.layers if name.startswith(layer))

    def train(self) -> Callable[..., Run]:
        """The training."""
        return make_train(self.build, self.data, epochs=EPOCHS, batch_size=BATCH_SIZE)

    def rows_of(self, seed: int) -> tuple[Rows, Rows]:
        """The rows of a seed: with its validation rows, and with its test rows instead."""
        order = np.random.default_rng(seed).permutation(len(self.data[0])).astype(np.int32)
        trained, validated = order[:TRAINED], order[TRAINED : TRAINED + VALIDATED]
        tested = order[TRAINED + VALIDATED :]
        return Rows(trained, None, validated), Rows(trained, None, tested)


def digits_problem() -> Tuned:
    """A perceptron classifies digits."""

    def task(dropout: Any) -> Task:
        return linen_task(
            MLP(10, (16,), dropout=dropout), jnp.zeros((1, 64)), problem("multiclass")
        )

    data = digits()
    layers = ("Dense_0", "Dense_1")
    return Tuned(task, (data.inputs, data.targets), layers, ("dropout", Float(0.0, 0.5)))


class Language(nn.Module):
    """Logits of the token after each one, from the two up to it."""

    dropout: Any

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        h = nn.Embed(TOKENS, 8)(x)
        before = jnp.pad(h, ((0, 0), (1, 0), (0, 0)))[:, :-1]
        h = nn.tanh(nn.Dense(16)(jnp.concatenate([before, h], -1)))
        return nn.Dense(TOKENS)(Dropout(self.dropout)(h, train))


def text_problem() -> Tuned:
    """A language model predicts the tokens of a Markov source."""
    text = draw_text(markov_source(0, TOKENS, 0.3), 0, 2000, LENGTH + 1)
    inputs, targets = text[:, :-1], text[:, 1:]

    def task(dropout: Any) -> Task:
        return linen_task(Language(dropout), inputs[:1], problem("multiclass"))

    layers = ("Embed_0", "Dense_0", "Dense_1")
    return Tuned(task, (inputs, targets), layers, ("dropout", Float(0.0, 0.5)))


def autoencoder_problem() -> Tuned:
    """An autoencoder reproduces digits; the absolute values of its code are penalized."""
    model, inputs = Autoencoder(16, ()), digits().inputs
    plain = linen_task(model, inputs[:1], problem("unit_regression_cross_entropy"))

    def task(weight: Any) -> Task:
        def loss(params: Any, state: Any, batch: Batch, *, key: Any, train: bool) -> Any:
            losses, others = plain.loss(params, state, batch, key=key, train=train)
            if train:
                code = model.apply({"params": params}, batch.inputs, train, method="encode")
                losses += weight * jnp.mean(jnp.abs(code), -1)
            return losses, others

        return plain._replace(loss=loss)

    own = "penalty", Float(1e-4, 1.0, log=True)
    return Tuned(task, (inputs, inputs), ("encoder", "decoder"), own)


PROBLEMS = {
    "digits": digits_problem,
    "text": text_problem,
    "autoencoder": autoencoder_problem,
}


def main() -> None:
    """Measure all of it, print tables, and write ``results/hypergradients_PART.json``."""
    parser = options_of(__doc__, "two seeds and an eighth of the trainings")
    parser.add_argument("--seeds", type=int, help="number of seeds (default: 10; with --quick 2)")
    parser.add_argument("--only", choices=[*PROBLEMS, "memory"], help="one part (default: all)")
    options = parser.parse_args()
    seeds = options.seeds or (2 if options.quick else 10)
    trainings = 32 if options.quick else 256
    for part in [options.only] if options.only else [*PROBLEMS, "memory"]:
        if part == "memory":
            shown = memory((64, 256) if options.quick else (64, 256, 1024, 4096))
            results = {"temporaries": shown}
        else:
            results = compared(PROBLEMS[part](), trainings, seeds)
            shown = results["figures"]
        print(table(shown))  # noqa: T201
        print(save(f"hypergradients_{part}", {"quick": options.quick, **results}))  # noqa: T201


def final_loss(run: Run) -> jax.Array:
    """The validation loss at the end."""
    return run.history["validation_loss"][-1]


def compared(own: Tuned, trainings: int, seeds: int) -> dict[str, Any]:
    """All methods on a problem, and how far the gradients of two seeds agree."""
    train = own.train()
    ratio = cost_ratio(own, train)
    steps = max(int(trainings / ratio), 1)
    print(f"a gradient costs {ratio:.2f} trainings")  # noqa: T201
    agreement = agreement_of(own, train, steps)
    print(f"agreement: {agreement}", flush=True)  # noqa: T201
    values = tuned(own, train, steps, trainings, seeds)
    found = {name: np.array(each) for name, each in values}
    return {
        "numbers": len(jax.tree.leaves(own.space)),
        "ratio": ratio,
        "trainings": trainings,
        "agreement": agreement,
        "seeds": {name: each.tolist() for name, each in found.items()},
        "figures": {name: summary(each, found) for name, each in found.items()},
    }


def cost_ratio(own: Tuned, train: Any) -> float:
    """How many trainings a gradient costs, without compilation; of runs in turn the shortest."""
    end = lambda hp, key, rows: final_loss(train(key, hp, rows))
    programs = {"training": jax.jit(end), "gradient": jax.jit(jax.value_and_grad(end))}
    given = own.middle, jax.random.key(0), own.rows_of(0)[0]
    runs = {
        name: lambda program=program: [program(*given) for _ in range(5)]
        for name, program in programs.items()
    }
    times = interleaved(runs, 21, warm_up=2)
    return min(times["gradient"]) / min(times["training"])  # other processes disturb them least


def agreement_of(own: Tuned, train: Any, steps: int) -> dict[str, float]:
    """Cosines between the gradients of two seeds along a descent on their mean score."""
    cosines = tune_by_gradient(
        train, own.middle, own.space, key=jax.random.key(0), steps=steps, seeds=2,
        rows=own.rows_of(0)[0], metric=final_loss, strategy="map", progress=False,
    ).agreement  # fmt: skip
    return {
        "first": float(cosines[0, 0]),
        "median": float(np.nanmedian(cosines)),
        "share below 0.1": float((cosines < 0.1).mean()),
    }


def tuned(own: Tuned, train: Any, steps: int, trainings: int, seeds: int) -> Any:
    """For each method its name, and for each seed validation loss, test loss and seconds."""
    test = jax.jit(lambda key, hp, rows: final_loss(train(key, hp, rows)))
    optimizer = adam(0.05)

    def gradients(times: int, key: jax.Array, rows: Rows) -> Any:
        result = tune_by_gradient(
            train, own.middle, own.space, key=key, steps=times * steps, seeds=1, rows=rows,
            metric=final_loss, optimizer=optimizer, strategy="map", progress=False,
        )  # fmt: skip
        return result.configuration, result.curve[-1]

    def searched(method: str, key: jax.Array, rows: Rows) -> Any:
        result: SearchResult = search(
            train, own.space, key=key, trials=trainings, folds=rows, metric=final_loss,
            method=method, rounds=trainings // 4 if method == "tpe" else None,
            points=[own.middle], strategy="map", progress=False,
        )  # fmt: skip
        return result.configurations[result.best], result.values[result.best]

    methods = {
        "gradients": functools.partial(gradients, 1),
        "gradients, 10 times as many": functools.partial(gradients, 10),
        "TPE": functools.partial(searched, "tpe"),
        "Sobol": functools.partial(searched, "sobol"),
        "middle of the ranges": lambda key, rows: (
            own.middle,
            test(jax.random.fold_in(key, 0), own.middle, rows),
        ),
    }
    for name, method in methods.items():
        values = []
        for seed in range(seeds):
            (rows, held_out), key = own.rows_of(seed), jax.random.key(seed)
            begin = time.perf_counter()
            configuration, validation = method(key, rows)
            took = time.perf_counter() - begin
            tested = test(jax.random.fold_in(key, 0), configuration, held_out)
            values.append((float(validation), float(tested), took))
            print(f"{name}, seed {seed}: {values[-1]}", flush=True)  # noqa: T201
        yield name, values


def summary(values: np.ndarray, found: dict[str, np.ndarray]) -> dict[str, Any]:
    """Means over the seeds with 95 % intervals, and paired differences to gradients and to TPE."""
    return {
        "validation": interval(values[:, 0]),
        "test": interval(values[:, 1]),
        **{
            f"{loss} minus {other}": interval(values[:, column] - found[other][:, column])
            for other in ("gradients", "TPE")
            for column, loss in enumerate(("validation", "test"))
        },
        "seconds": float(np.median(values[:, 2])),
    }


def interval(values: np.ndarray) -> str:
    """The mean and the half width of its 95 % interval, of Student's distribution."""
    from scipy.stats import t

    n = len(values)
    width = t.ppf(0.975, n - 1) * values.std(ddof=1) / np.sqrt(n)
    return f"{values.mean():.3f} +- {width:.3f}"


def memory(lengths: tuple[int, ...]) -> dict[str, dict[str, float]]:
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
        found[str(steps)] = row
    return found


if __name__ == "__main__":
    main()
