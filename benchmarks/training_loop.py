"""Time an epoch: the compiled training and `fit` against loops of optax, torch and Keras.

    python -m benchmarks.training_loop [--quick]

1408 rows of the digits in batches of 64, which are 22 steps an epoch: an MLP 64-64-64-10, and a CNN
of two convolutions, by Adam at a constant rate. Nobody validates, and everybody keeps the mean loss
of each epoch. The optax loop is that of tutorials: rows shuffled with numpy, a jitted step with
Flax's TrainState. The torch loop is as plain, on tensors, with no loader in between. Keras
fits on its JAX backend. All take turns; medians count. What a first call takes more than a later
one, compilation above all, stands apart.
"""

import contextlib
import io
import os
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.training.train_state import TrainState

from benchmarks._machine import save
from benchmarks._measure import interleaved, medians, options_of, table
from jaxopt_course.data import digits
from jaxopt_course.nn import CNN, MLP
from jaxopt_course.optimizers import adam
from jaxopt_course.problems import problem
from jaxopt_course.tasks import linen_task
from jaxopt_course.training import fit, make_train


RATE, BATCH_SIZE, STEPS = 1e-3, 64, 22
HIDDEN, CHANNELS, DENSE = (64, 64), (8, 16), (32,)
GOALS = {"optax": 2.0, "torch": 4.0, "keras": 4.0}  # times as long as `train`
KEY = jax.random.key(0)


def main() -> None:
    """Time all of it, print two tables, and write ``results/training_loop.json``."""
    options = options_of(__doc__, "fewer epochs a turn").parse_args()
    epochs, rounds = ({"MLP": 10, "CNN": 2}, 7) if options.quick else ({"MLP": 40, "CNN": 10}, 9)
    data = digits()
    inputs = np.asarray(data.inputs, np.float32)[: STEPS * BATCH_SIZE]
    targets = np.asarray(data.targets, np.int32)[: STEPS * BATCH_SIZE]
    figures = {
        "MLP": timed(MLP(10, HIDDEN), inputs, targets, epochs["MLP"], rounds),
        "CNN": timed(
            CNN(10, CHANNELS, DENSE), inputs.reshape(-1, 8, 8, 1), targets, epochs["CNN"], rounds
        ),
    }
    for name, rows in figures.items():
        print(f"{name}, {epochs[name]} epochs a turn\n{table(rows)}\n")  # noqa: T201
    for name, goal in GOALS.items():
        for model, rows in figures.items():
            if name in rows:
                ratio = rows[name]["over_train"]
                word = "met" if ratio >= goal else "missed"
                print(f"{model}, {name} over train: {ratio:.2f}, goal {goal:g}: {word}")  # noqa: T201
            else:
                print(f"{model}, {name}: not installed here, so not measured.")  # noqa: T201
    print(save("training_loop", {**vars(options), "rounds": rounds, **figures}))  # noqa: T201


def timed(
    model: Any, inputs: np.ndarray, targets: np.ndarray, epochs: int, rounds: int
) -> dict[str, dict[str, float]]:
    """The rows of one model's table."""
    runs: dict[str, Callable[[], Any]] = ours(model, inputs, targets, epochs)
    runs["optax"] = optax_loop(model, inputs, targets, epochs)
    runs |= torch_loop(inputs, targets, epochs) | keras_fit(inputs, targets, epochs)
    first = {name: first_call(run) for name, run in runs.items()}
    times = interleaved(runs, rounds, warm_up=1)
    middle = medians(times)
    return {
        name: {
            "epoch_ms": 1e3 * middle[name] / epochs,
            "fastest_ms": 1e3 * min(times[name]) / epochs,
            "over_train": ratio(times[name], times["train"]),
            "first_call_more_s": first[name][0] - middle[name],
            "final_loss": first[name][1],
        }
        for name in runs
    }


def first_call(run: Callable[[], Any]) -> tuple[float, float]:
    """Its seconds, and the last loss: in later calls Keras goes on with the model that it has."""
    begin = time.perf_counter()
    loss = float(run())
    return time.perf_counter() - begin, loss


def ratio(times: list[float], others: list[float]) -> float:
    """The median of the rounds' ratios."""
    return statistics.median(a / b for a, b in zip(times, others, strict=True))


def ours(model: Any, inputs: Any, targets: Any, epochs: int) -> dict[str, Callable[[], Any]]:
    """The training as one program, and in segments with a host in between."""
    task = linen_task(model, jnp.asarray(inputs[:1]), problem("multiclass"))
    optimizer, data = adam(RATE), (jnp.asarray(inputs), jnp.asarray(targets))
    lengths: Mapping[str, int] = {"epochs": epochs, "batch_size": BATCH_SIZE}
    train = jax.jit(make_train(lambda _: (task, optimizer), data, **lengths))

    def fitted() -> Any:
        with contextlib.redirect_stderr(io.StringIO()):  # what progress says
            return fit(task, optimizer, data, key=KEY, **lengths).history["loss"][-1]

    return {"train": lambda: train(KEY).history["loss"][-1], "fit": fitted}


def optax_loop(model: Any, inputs: Any, targets: Any, epochs: int) -> Callable[[], Any]:
    """A Python loop over a jitted step."""

    @jax.jit
    def step(state: TrainState, x: Any, y: Any) -> tuple[TrainState, jax.Array]:
        def loss_fn(params: Any) -> jax.Array:
            logits = state.apply_fn({"params": params}, x, train=True)
            return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

        loss, grads = jax.value_and_grad(loss_fn)(state.params)
        return state.apply_gradients(grads=grads), loss

    tx = optax.adam(RATE)

    def run() -> float:
        variables = model.init(KEY, inputs[:1], train=False)
        state = TrainState.create(apply_fn=model.apply, params=variables["params"], tx=tx)
        rng = np.random.default_rng(0)
        for _ in range(epochs):
            losses = []
            for rows in rng.permutation(len(inputs)).reshape(STEPS, BATCH_SIZE):
                state, loss = step(state, inputs[rows], targets[rows])
                losses.append(loss)
            mean = np.mean(jax.device_get(losses))
        return mean

    return run


def torch_loop(inputs: Any, targets: Any, epochs: int) -> dict[str, Callable[[], Any]]:
    """The same with torch, where it is installed."""
    try:
        import torch
    except ModuleNotFoundError:
        return {}
    nn = torch.nn
    x, y = torch.tensor(inputs), torch.tensor(targets, dtype=torch.int64)
    x = x.movedim(-1, 1) if x.ndim == 4 else x

    def network() -> Any:
        if x.ndim == 2:
            a, b = HIDDEN
            return nn.Sequential(
                nn.Linear(64, a), nn.ReLU(), nn.Linear(a, b), nn.ReLU(), nn.Linear(b, 10)
            )
        (a, b), (c,) = CHANNELS, DENSE
        return nn.Sequential(
            *(nn.Conv2d(1, a, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(a, b, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.Linear(4 * b, c), nn.ReLU(), nn.Linear(c, 10)),
        )

    def run() -> float:
        torch.manual_seed(0)
        model, loss_fn = network(), nn.CrossEntropyLoss()
        optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
        for _ in range(epochs):
            total = torch.zeros(())
            for rows in torch.randperm(len(x)).split(BATCH_SIZE):
                optimizer.zero_grad()
                loss = loss_fn(model(x[rows]), y[rows])
                loss.backward()
                optimizer.step()
                total += loss.detach()
            mean = total.item() / STEPS
        return mean

    return {"torch": run}


def keras_fit(inputs: Any, targets: Any, epochs: int) -> dict[str, Callable[[], Any]]:
    """Keras' own loop on JAX, where it is installed; its program is compiled once."""
    os.environ["KERAS_BACKEND"] = "jax"
    try:
        import keras
    except ModuleNotFoundError:
        return {}
    layers = keras.layers
    stack = [layers.Dense(width, activation="relu") for width in HIDDEN]
    if inputs.ndim == 4:
        stack = [layers.Input(inputs.shape[1:])]
        for width in CHANNELS:
            stack += [layers.Conv2D(width, 3, padding="same", activation="relu")]
            stack += [layers.MaxPooling2D(2)]
        stack += [layers.Flatten(), layers.Dense(DENSE[0], activation="relu")]
    model = keras.Sequential([*stack, layers.Dense(10)])
    model.compile(
        optimizer=keras.optimizers.Adam(RATE),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )

    def run() -> float:
        settings = {"epochs": epochs, "batch_size": BATCH_SIZE, "verbose": 0}
        return model.fit(inputs, targets, **settings).history["loss"][-1]

    return {"keras": run}


if __name__ == "__main__":
    main()
