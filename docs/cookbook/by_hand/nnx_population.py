"""64 NNX networks, with 16 dropout rates and 4 seeds, trained by one compiled program."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from sklearn.datasets import load_digits


class Net(nnx.Module):
    def __init__(self, *, rngs):
        self.first = nnx.Linear(64, 128, rngs=rngs)
        self.last = nnx.Linear(128, 10, rngs=rngs)

    # nnx.Dropout compares its rate with 0, so it cannot be traced.
    def __call__(self, x, rate=0.0, key=None):
        h = nnx.relu(self.first(x))
        if key is not None:
            kept = jax.random.bernoulli(key, 1 - rate, h.shape)
            h = jnp.where(kept, h / (1 - rate), 0)
        return self.last(h)


inputs, targets = load_digits(return_X_y=True)
targets[:200:3] = np.random.default_rng(0).integers(0, 10, 67)  # wrong labels in a third
inputs, targets = jnp.asarray(inputs / 16, jnp.float32), jnp.asarray(targets)
TRAIN, BATCH, STEPS = 200, 50, 400
optimizer = optax.adam(3e-3)
graph = nnx.graphdef(Net(rngs=nnx.Rngs(0)))


def mean_loss(params, x, y, *noise):
    logits = nnx.merge(graph, params)(x, *noise)
    return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()


def train(key, rate):
    init_key, order_key, noise_key = jax.random.split(key, 3)
    params = nnx.state(Net(rngs=nnx.Rngs(init_key)), nnx.Param)

    def step(carry, i):
        params, opt_state = carry
        epoch, place = i // (TRAIN // BATCH), i % (TRAIN // BATCH)
        order = jax.random.permutation(jax.random.fold_in(order_key, epoch), TRAIN)
        rows = jax.lax.dynamic_slice_in_dim(order, place * BATCH, BATCH)
        key = jax.random.fold_in(noise_key, i)
        grads = jax.grad(mean_loss)(params, inputs[rows], targets[rows], rate, key)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), None

    start = params, optimizer.init(params)
    (params, _), _ = jax.lax.scan(step, start, jnp.arange(STEPS))
    return mean_loss(params, inputs[TRAIN:], targets[TRAIN:])


@jax.jit
def population(keys, rates):
    over_keys = lambda rate: jax.vmap(train, (0, None))(keys, rate)
    return jax.lax.map(over_keys, rates)


rates = jnp.linspace(0.0, 0.9, 16)
losses = population(jax.random.split(jax.random.key(0), 4), rates)  # [16, 4]
for rate, mean in zip(rates, losses.mean(1), strict=True):
    print(f"dropout {rate:.2f}: validation loss {mean:.3f}")
best = rates[losses.mean(1).argmin()]
print(f"the best rate is {best:.2f}")
assert best > 0.2
assert losses.mean(1).min() < 0.9 * losses[0].mean()
