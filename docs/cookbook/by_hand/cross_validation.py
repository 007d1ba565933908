"""The same cross-validation with scikit-learn's folds, Flax and optax."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy import stats
from sklearn.datasets import load_digits
from sklearn.model_selection import StratifiedKFold


bunch = load_digits()
inputs, targets = jnp.asarray(bunch.data / 16, jnp.float32), jnp.asarray(bunch.target)
optimizer = optax.adam(3e-3)
EPOCHS, BATCH, SEEDS = 15, 64, 2
key = jax.random.key(0)


class Net(nn.Module):
    hidden: tuple[int, ...]

    @nn.compact
    def __call__(self, x):
        for width in self.hidden:
            x = nn.relu(nn.Dense(width)(x))
        return nn.Dense(10)(x)


def batches(rows, key):
    """Row numbers [steps, batch] of an epoch, with -1 where the last batch has no row."""
    order = jax.random.permutation(key, rows)
    filled = jnp.concatenate([order, jnp.full(-len(rows) % BATCH, -1)])
    return filled.reshape(-1, BATCH)


@functools.partial(jax.jit, static_argnums=0)
def train(net, key, train_rows, validation_rows):
    """The highest validation accuracy after an epoch."""
    init_key, order_key = jax.random.split(key)
    params = net.init(init_key, inputs[:1])

    def step(carry, rows):
        params, state = carry
        weights = (rows >= 0).astype(jnp.float32)

        def loss(params):
            logits = net.apply(params, inputs[rows])
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, targets[rows])
            return (weights * losses).sum() / weights.sum()

        updates, state = optimizer.update(jax.grad(loss)(params), state, params)
        return (optax.apply_updates(params, updates), state), None

    def epoch(carry, number):
        order = batches(train_rows, jax.random.fold_in(order_key, number))
        carry, _ = jax.lax.scan(step, carry, order)
        predicted = net.apply(carry[0], inputs[validation_rows]).argmax(-1)
        return carry, (predicted == targets[validation_rows]).mean()

    carry = params, optimizer.init(params)
    _, accuracies = jax.lax.scan(epoch, carry, jnp.arange(EPOCHS))
    return accuracies.max()


# Folds of two sizes would be two programs of each model.
folds = list(StratifiedKFold(5, shuffle=True, random_state=0).split(bunch.data, bunch.target))
models = {"linear": (), "narrow": (16,), "wide": (128,)}
scores = np.zeros((len(models), len(folds), SEEDS))
for m, (name, hidden) in enumerate(models.items()):
    for f, (train_rows, validation_rows) in enumerate(folds):
        for s in range(SEEDS):
            own = jax.random.fold_in(key, s)
            scores[m, f, s] = train(Net(hidden), own, train_rows, validation_rows)
    means = scores[m].mean(1)
    error = means.std(ddof=1) / np.sqrt(len(folds))
    print(f"{name}: {means.mean():.4g} +- {error:.2g} over {len(folds)} folds x {SEEDS} seeds")

differences = (scores - scores[0]).mean(2)
mean = differences.mean(1)
width = stats.t.ppf(0.975, len(folds) - 1) * differences.std(1, ddof=1) / np.sqrt(len(folds))
for m in range(1, len(models)):
    print(
        f"{m} against 0: {mean[m]:.4g}, 95 % [{mean[m] - width[m]:.4g}, {mean[m] + width[m]:.4g}]"
    )
assert mean[2] - width[2] > 0
