"""A flax model in a TrainState: four mini-batches make one step; one with NaN is skipped."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax.training.train_state import TrainState


class Net(nn.Module):
    """One hidden layer."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(1)(nn.relu(nn.Dense(16)(x)))


x = jax.random.uniform(jax.random.key(2), (96, 2), minval=-1.0)
y = jnp.sign(x[:, 0] * x[:, 1])
net = Net()
steps = optax.MultiSteps(
    optax.chain(optax.adaptive_grad_clip(0.1), optax.nadam(5e-2)),
    every_k_schedule=4,
    should_skip_update_fn=optax.skip_not_finite,
)
state = TrainState.create(apply_fn=net.apply, params=net.init(jax.random.key(3), x[:1]), tx=steps)


@jax.jit
def step(state, x, y):
    def loss_fn(params):
        logits = state.apply_fn(params, x)[:, 0]
        return optax.sigmoid_binary_cross_entropy(logits, (y > 0).astype(logits.dtype)).mean()

    loss, grads = jax.value_and_grad(loss_fn)(state.params)
    return state.apply_gradients(grads=grads), loss


losses, due = [], []
for epoch in range(20):
    for i in range(8):
        batch = slice(12 * i, 12 * (i + 1))
        inputs = x[batch] * (jnp.nan if (epoch, i) == (3, 2) else 1.0)
        state, loss = step(state, inputs, y[batch])
        losses.append(loss)
        due.append(steps.has_updated(state.opt_state))

RESULT = {"params": state.params, "losses": jnp.stack(losses), "due": jnp.stack(due)}
