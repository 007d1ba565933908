"""A training whose loss is finite and whose gradient is NaN, by hand: step, row, line."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.experimental import checkify


class Embedding(nn.Module):
    """Two layers that embed both members of a pair; their distance is the prediction."""

    safe: bool = False

    @nn.compact
    def __call__(self, pairs):
        hidden = nn.relu(nn.Dense(16, name="first")(pairs))
        left, right = jnp.moveaxis(nn.Dense(4, name="second")(hidden), 1, 0)
        squares = jnp.sum((left - right) ** 2, axis=-1, keepdims=True)
        if self.safe:
            return jnp.sqrt(squares + 1e-12)
        return jnp.sqrt(squares)


rng = np.random.default_rng(0)
pairs = rng.normal(size=(512, 2, 8)).astype(np.float32)
pairs[123, 1] = pairs[123, 0]
distances = np.linalg.norm(pairs[:, 0] - pairs[:, 1], axis=-1, keepdims=True)
optimizer = optax.adam(1e-2)


def norms(tree):
    """The norm of each layer."""
    return {name: optax.tree.norm(layer) for name, layer in tree["params"].items()}


def train(model, epochs=20, batch_size=32):
    """The losses of the epochs, and what is known of the first step that is not finite."""

    def loss_of(params, inputs, targets):
        return jnp.mean((model.apply(params, inputs) - targets) ** 2)

    @jax.jit
    def step(params, opt_state, inputs, targets):
        loss, grads = jax.value_and_grad(loss_of)(params, inputs, targets)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        new = optax.apply_updates(params, updates)
        watched = norms(params), norms(grads), norms(updates)
        return new, opt_state, loss, watched

    init_key, order_key = jax.random.split(jax.random.key(0))
    params = model.init(init_key, pairs[:1])
    opt_state = optimizer.init(params)
    history, watched = [], []
    for epoch in range(epochs):
        order = np.array(jax.random.permutation(jax.random.fold_in(order_key, epoch), len(pairs)))
        losses = []
        for rows in order.reshape(-1, batch_size):
            batch = pairs[rows], distances[rows]
            new, opt_state, loss, measured = step(params, opt_state, *batch)
            watched.append(measured)
            if not np.isfinite(loss):
                return history, ("loss", len(watched) - 1, rows, None, watched)
            if not all(np.isfinite(norm) for norm in measured[1].values()):
                single = [x[:, None] for x in batch]  # batches of one row
                each = jax.vmap(jax.grad(loss_of), in_axes=(None, 0, 0))(params, *single)
                finite = [
                    np.isfinite(g).reshape(batch_size, -1).all(1) for g in jax.tree.leaves(each)
                ]
                bad = rows[~np.all(finite, axis=0)].tolist()
                line = line_of(jax.grad(loss_of), params, pairs[bad], distances[bad])
                return history, ("gradient", len(watched) - 1, bad, line, watched)
            params = new
            losses.append(loss)
        history.append(float(np.mean(losses)))
    return history, None


def line_of(compute, *arguments):
    """The line of this file whose result, or derivative, is the first NaN."""
    checked = jax.jit(checkify.checkify(compute, errors=checkify.nan_checks))
    error = checked(*arguments)[0].get_exception()
    return next(line for line in str(error.traceback_info).splitlines() if __file__ in line)


_, (part, step, rows, line, watched) = train(Embedding())
print(f"The {part} of step {step} is not finite because of rows {rows}, at {line}.")
for name in watched[0][0]:
    first, last = ([float(norms[name]) for norms in w] for w in (watched[0], watched[-1]))
    print(name, "parameters, gradient, update:", first, "to", last)
history, _ = train(Embedding(safe=True))
print(f"loss {history[-1]:.4f}")
assert (part, rows) == ("gradient", [123])
assert history[-1] < 0.5 * history[0]
