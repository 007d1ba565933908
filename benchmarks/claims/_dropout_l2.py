"""Claim 17: dropout beside an L2 penalty, in linear models and in networks.

For a linear regression with dropout of rate p on its inputs, the expected loss is

    E |y - (x b / (1 - p)) w|^2  =  |y - X w|^2 + p / (1 - p) sum_j (sum_i x_ij^2) w_j^2:

ridge regression with a strength for each feature. Measured is how far gradient descent on random
draws ends from that solution, over how far the solution without dropout is from it.

For networks: the distance of the predictions of the best L2 penalty from those of dropout, over
that of plain training from those of dropout. Alike is at most a half, equal a tenth.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxopt_course.nn import MLP, dropout
from jaxopt_course.optimizers import adam, sgd
from jaxopt_course.problems import problem
from jaxopt_course.regularizers import weights_only
from jaxopt_course.schedules import inverse_sqrt_decay
from jaxopt_course.tasks import linen_task
from jaxopt_course.training import make_train
from jaxopt_course.transforms import add_decayed_weights, apply_updates, chain

from ._claim import Claim, Evidence
from ._claimed import Claimed
from ._effects import ratio_effect
from ._experiment import by_seed, cross_entropy, drawn_rows, scaled_data
from ._pictures import Groups
from ._selection import pick_by_others, picked


RATE = 0.4
ROWS, FEATURES, LINEAR_STEPS = 200, 10, 4000
TRAIN, TEST, BATCH, STEPS, QUICK_STEPS = 300, 1000, 30, 1000, 200
STRENGTHS = (0.001, 0.003, 0.01, 0.03, 0.1)
EQUAL = Claimed(
    -np.inf, 0.1, "a tenth of the distance counts as equal, because the draws are noisy"
)
ALIKE = Claimed(-np.inf, 0.5, "at most half of the distance counts as alike")


def _measure(key: Any, seeds: int, quick: bool) -> Evidence:
    dropped, ridge, plain = by_seed(_linear, key, seeds, strategy="vmap")
    norm = lambda x: np.sqrt(np.square(x).sum(-1))
    linear = ratio_effect(
        "Linear: distance from ridge regression with dropout, divided by that without.",
        norm(dropped - ridge),
        norm(plain - ridge),
        EQUAL,
    )
    losses, predictions = _networks(key, seeds, QUICK_STEPS if quick else STEPS)
    best = 2 + pick_by_others(losses[2:])
    apart = np.sqrt(np.square(predictions - predictions[1]).mean((-2, -1)))  # from dropout's
    network = ratio_effect(
        "Networks: distance of the predictions of L2 from those of dropout, divided by the "
        "distance of plain training.",
        picked(apart, best),
        apart[0],
        ALIKE,
    )
    return Evidence(
        (linear, network),
        f"Dropout {RATE}. Linear: {ROWS} examples, {FEATURES} features. Networks: {TRAIN} digits, "
        "two hidden layers of 64, the same start and order, the L2 strength that is best for other "
        "seeds.",
        Groups(
            {"plain": losses[0], "dropout": losses[1], "best L2": picked(losses, best)[0]},
            "test loss, networks",
            log_y=True,
        ),
    )


def _linear(key: Any, numbers: Any, rows: Any) -> Any:
    """The weights by dropout, by ridge regression, and by least squares."""
    key_x, key_w, key_noise, key_drop = jax.random.split(key, 4)
    sizes = jnp.linspace(0.5, 1.5, FEATURES)
    x = sizes * jax.random.normal(key_x, (ROWS, FEATURES))
    y = x @ jax.random.normal(key_w, (FEATURES,)) + jax.random.normal(key_noise, (ROWS,))
    gram = x.T @ x
    ridge = jnp.linalg.solve(gram + RATE / (1 - RATE) * jnp.diag(jnp.diag(gram)), x.T @ y)
    optimizer = sgd(inverse_sqrt_decay(0.05))

    def step(carry: Any, key: Any) -> Any:
        w, state = carry
        loss = lambda w: jnp.mean(jnp.square(dropout(key, x, RATE) @ w - y))
        updates, state = optimizer.update(jax.grad(loss)(w), state, w)
        w = apply_updates(w, updates)
        return (w, state), w

    start = jnp.zeros(FEATURES)
    keys = jax.random.split(key_drop, LINEAR_STEPS)
    _, path = jax.lax.scan(step, (start, optimizer.init(start)), keys)
    return path[LINEAR_STEPS // 2 :].mean(0), ridge, jnp.linalg.solve(gram, x.T @ y)


def _networks(key: Any, seeds: int, steps: int) -> Any:
    """Losses and predictions of test rows: plain, dropout, then each strength of L2."""
    data = scaled_data("digits")
    inputs, targets = map(jnp.asarray, data)

    def build(numbers: Any) -> Any:
        task = linen_task(MLP(10, (64, 64), dropout=numbers[0]), data[0][:1], problem("multiclass"))
        return task, chain(add_decayed_weights(numbers[1], weights_only), adam(2e-3))

    train = make_train(build, data, steps=steps, batch_size=BATCH, evaluate_every=steps)

    def run(key: Any, numbers: Any, rows: Any) -> Any:
        drawn = drawn_rows(key, len(inputs), TRAIN, TEST)
        params = train(key, numbers, drawn._replace(validation=None)).state.params
        predictions = build(numbers)[0].predict(params, {}, inputs[drawn.validation])
        return predictions, targets[drawn.validation]

    grid = np.array([(0, 0), (RATE, 0), *((0, s) for s in STRENGTHS)], np.float32)
    predictions, labels = by_seed(run, key, seeds, grid)
    return cross_entropy(predictions, labels), predictions


DROPOUT_L2 = Claim(
    "dropout_l2",
    "Dropout is like an L2 penalty.",
    "R",
    _measure,
)
