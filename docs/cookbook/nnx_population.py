"""64 NNX networks, with 16 dropout rates and 4 seeds, trained by one compiled program."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import jaxopt_course as jc
from jaxopt_course.nnx import Dropout
from jaxopt_course.problems import problem


class Net(nnx.Module):
    def __init__(self, rate, *, rngs):
        self.first = nnx.Linear(64, 128, rngs=rngs)
        self.dropout = Dropout(rate, rngs=rngs)  # its rate may be traced
        self.last = nnx.Linear(128, 10, rngs=rngs)

    def __call__(self, x):
        return self.last(self.dropout(nnx.relu(self.first(x))))


def build(rate):
    return jc.nnx_task(functools.partial(Net, rate), problem("multiclass")), jc.adam(3e-3)


inputs, targets, *_ = jc.data.digits()
targets[:200:3] = np.random.default_rng(0).integers(0, 10, 67)  # wrong labels in a third
rows = jc.Rows(jnp.arange(200), None, jnp.arange(200, 1797))
train = jc.make_train(build, (inputs, targets), steps=400, batch_size=50, evaluate_every=400)
loss = lambda key, rate, rows: train(key, rate, rows).history["validation_loss"][-1]
population = jax.jit(jc.make_population(loss, ("hyperparameters", "key"), strategy="chunk"))

rates = jnp.linspace(0.0, 0.9, 16)
losses = population(jax.random.split(jax.random.key(0), 4), rates, rows)  # [16, 4]
for rate, mean in zip(rates, losses.mean(1), strict=True):
    print(f"dropout {rate:.2f}: validation loss {mean:.3f}")
best = rates[losses.mean(1).argmin()]
print(f"the best rate is {best:.2f}")
assert best > 0.2
assert losses.mean(1).min() < 0.9 * losses[0].mean()
