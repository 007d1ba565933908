"""A variational autoencoder of handwritten digits."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

import jaxopt_course as jc


class VAE(nn.Module):
    """Encoder and decoder. The code is random in training only."""

    latent: int = 8

    def setup(self):
        self.encoder = jc.nn.MLP(2 * self.latent, (128,))
        self.decoder = jc.nn.MLP(64, (128,))

    def __call__(self, x, train):
        mean, log_variance = jnp.split(self.encoder(x, train=train), 2, axis=-1)
        code = mean
        if train:
            noise = jax.random.normal(self.make_rng("sample"), mean.shape)
            code += jnp.exp(log_variance / 2) * noise
        return {"pixels": self.decode(code), "mean": mean, "log_variance": log_variance}

    def decode(self, code):
        return self.decoder(code, train=False)


def negative_bound(outputs, batch):
    """Nats per image: the cross-entropy of the pixels and the divergence from the prior."""
    pixels = jc.losses.sigmoid_binary_cross_entropy(outputs["pixels"], batch.inputs).sum(-1)
    mean, log_variance = outputs["mean"], outputs["log_variance"]
    divergence = (jnp.exp(log_variance) + mean**2 - 1 - log_variance).sum(-1) / 2
    return pixels + divergence, {"pixels": pixels, "divergence": divergence}


images = jc.data.digits().inputs
rows = jc.Rows(np.arange(1500), validation=np.arange(1500, 1797))
model = VAE()
task = jc.linen_task(model, images[:1], loss=negative_bound, rngs=("sample",))
options = {"epochs": 150, "batch_size": 100, "rows": rows, "progress": False}
run = jc.fit(task, jc.adam(2e-3), images, key=jax.random.key(0), **options)

p = images[:1500].mean(0).clip(1e-6, 1 - 1e-6)
alone = -(images[1500:] * np.log(p) + (1 - images[1500:]) * np.log(1 - p)).sum(-1).mean()
best = float(jnp.nanmin(run.history["validation_loss"]))
print(f"independent pixels: {alone:.2f} nats per image; autoencoder: {best:.2f}")
codes = jax.random.normal(jax.random.key(1), (3, model.latent))
drawn = nn.sigmoid(model.apply({"params": run.best_params}, codes, method="decode"))
for row in np.asarray(drawn).reshape(3, 8, 8).transpose(1, 0, 2):
    print("   ".join("".join(" .:oO@"[int(5.99 * pixel)] for pixel in image) for image in row))
assert best < alone - 3
