"""Time of an epoch: the compiled training and `fit` against loops of optax, torch and Keras.

    python -m benchmarks training_loop [--quick]

1408 rows in batches of 64 make 22 steps in an epoch. The models are an MLP 64-64-64-10 and a CNN
with two convolutions on digits, and a residual network of 1e5 parameters on random images of
16 x 16 x 3, all trained by Adam at a constant learning rate. There is no validation, and every loop
keeps the mean loss of each epoch. The optax loop is that of tutorials: rows shuffled with NumPy, a
jitted step, and Flax's TrainState. The torch loop works on tensors, without a data loader. Keras
fits on its JAX backend. All take turns, and medians count. The additional time of the first call,
most of it compilation, is given separately.
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
from benchmarks._networks import (
    CHANNELS,
    CLASSES,
    DENSE,
    HIDDEN,
    Residual,
    images,
    keras_network,
    torch_network,
)
from jaxopt_course.data import digits
from jaxopt_course.nn import CNN, MLP
from jaxopt_course.optimizers import adam
from jaxopt_course.problems import problem
from jaxopt_course.tasks import linen_task
from jaxopt_course.training import fit, make_train


RATE, BATCH_SIZE, STEPS = 1e-3, 64, 22
EPOCHS = {"MLP": 40, "CNN": 10, "residual network": 1}  # a turn
GOALS = {  # times as long as `train`
    "MLP": {"optax": 2.5, "torch": 8.0, "keras": 4.0},
    "CNN": {"optax": 1.5, "torch": 1.5, "keras": 1.5},
    "residual network": {"optax": 1.0, "torch": 1.0, "keras": 1.0},
}
KEY = jax.random.key(0)


def main() -> None:
    """Time all of it, print two tables, and write ``results/training_loop.json``."""
    options = options_of(__doc__, "fewer epochs a turn").parse_args()
    rounds = 5 if options.quick else 9
    n = STEPS * BATCH_SIZE
    data = digits()
    pixels, labels = np.asarray(data.inputs, np.float32)[:n], np.asarray(data.targets, np.int32)[:n]
    models = {
        "MLP": (MLP(CLASSES, HIDDEN), pixels, labels),
        "CNN": (CNN(CLASSES, CHANNELS, DENSE), pixels.reshape(-1, 8, 8, 1), labels),
        "residual network": (Residual(), *map(np.asarray, images(16, 3, n))),
    }
    figures = {}
    for kind, (model, inputs, targets) in models.items():
        epochs = -(-EPOCHS[kind] // 4) if options.quick else EPOCHS[kind]
        rows = figures[kind] = timed(kind, model, inputs, targets, epochs, rounds)
        print(f"{kind}, {epochs} epochs a turn\n{table(rows)}\n")  # noqa: T201
        for name, goal in GOALS[kind].items():
            if name in rows:
                ratio = rows[name]["over_train"]
                word = "met" if ratio >= goal else "missed"
                print(f"{kind}, {name} over train: {ratio:.2f}, goal {goal:g}: {word}")  # noqa: T201
            else:
                print(f"{kind}, {name}: not installed here, so not measured.")  # noqa: T201
    print(save("training_loop", {**vars(options), "rounds": rounds, **figures}))  # noqa: T201


def timed(
    kind: str, model: Any, inputs: np.ndarray, targets: np.ndarray, epochs: int, rounds: int
) -> dict[str, dict[str, float]]:
    """The rows of one model's table."""
    runs: dict[str, Callable[[], Any]] = ours(model, inputs, targets, epochs)
    runs["optax"] = optax_loop(model, inputs, targets, epochs)
    runs |= torch_loop(kind, inputs, targets, epochs)
    runs |= keras_fit(kind, inputs, targets, epochs)
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


def torch_loop(kind: str, inputs: Any, targets: Any, epochs: int) -> dict[str, Callable[[], Any]]:
    """The same with torch, where it is installed."""
    try:
        import torch
    except ModuleNotFoundError:
        return {}
    x, y = torch.tensor(inputs), torch.tensor(targets, dtype=torch.int64)
    x = x.movedim(-1, 1) if x.ndim == 4 else x

    def run() -> float:
        torch.manual_seed(0)
        model, loss_fn = torch_network(kind), torch.nn.CrossEntropyLoss()
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


def keras_fit(kind: str, inputs: Any, targets: Any, epochs: int) -> dict[str, Callable[[], Any]]:
    """Keras' own loop on JAX, where it is installed; its program is compiled once."""
    os.environ["KERAS_BACKEND"] = "jax"
    try:
        import keras
    except ModuleNotFoundError:
        return {}
    model = keras_network(kind)
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
