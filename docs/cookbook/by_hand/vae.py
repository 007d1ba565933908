"""A variational autoencoder of handwritten digits, with Flax and optax."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_digits


class VAE(nn.Module):
    latent: int = 8

    def setup(self):
        self.encoder = nn.Sequential([nn.Dense(128), nn.relu, nn.Dense(2 * self.latent)])
        self.decoder = nn.Sequential([nn.Dense(128), nn.relu, nn.Dense(64)])

    def __call__(self, x, train):
        mean, log_variance = jnp.split(self.encoder(x), 2, axis=-1)
        code = mean
        if train:
            noise = jax.random.normal(self.make_rng("sample"), mean.shape)
            code += jnp.exp(log_variance / 2) * noise
        return self.decode(code), mean, log_variance

    def decode(self, code):
        return self.decoder(code)


def negative_bound(params, x, key=None):
    rngs = None if key is None else {"sample": key}
    logits, mean, log_variance = model.apply({"params": params}, x, key is not None, rngs=rngs)
    pixels = optax.sigmoid_binary_cross_entropy(logits, x).sum(-1)
    divergence = (jnp.exp(log_variance) + mean**2 - 1 - log_variance).sum(-1) / 2
    return (pixels + divergence).mean()


@jax.jit
def step(params, opt_state, x, key):
    loss, grads = jax.value_and_grad(negative_bound)(params, x, key)
    updates, opt_state = optimizer.update(grads, opt_state, params)
    return optax.apply_updates(params, updates), opt_state, loss


images = (load_digits().data / 16).astype(np.float32)
train, held_out = images[:1500], images[1500:]
model, optimizer = VAE(), optax.adam(2e-3)
init_key, key = jax.random.split(jax.random.key(0))
params = model.init(init_key, images[:1], False)["params"]
opt_state = optimizer.init(params)
evaluate = jax.jit(negative_bound)
order = np.random.default_rng(0)
best, best_params, number = np.inf, params, 0
for _ in range(150):
    for batch in order.permutation(1500).reshape(-1, 100):
        step_key = jax.random.fold_in(key, number)
        params, opt_state, loss = step(params, opt_state, train[batch], step_key)
        number += 1
    if not np.isfinite(loss):
        raise FloatingPointError(f"the loss is {loss} at step {number}")
    if (validation := float(evaluate(params, held_out))) < best:
        best, best_params = validation, params

p = train.mean(0).clip(1e-6, 1 - 1e-6)
alone = -(held_out * np.log(p) + (1 - held_out) * np.log(1 - p)).sum(-1).mean()
print(f"independent pixels: {alone:.2f} nats per image; autoencoder: {best:.2f}")
codes = jax.random.normal(jax.random.key(1), (3, model.latent))
drawn = nn.sigmoid(model.apply({"params": best_params}, codes, method="decode"))
for row in np.asarray(drawn).reshape(3, 8, 8).transpose(1, 0, 2):
    print("   ".join("".join(" .:oO@"[int(5.99 * pixel)] for pixel in image) for image in row))
assert best < alone - 3
