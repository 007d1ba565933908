"""Fine-tuning with Flax, optax and Orbax: five ways to start from a trained model."""

import pathlib

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
from flax import traverse_util
from sklearn.datasets import load_digits


class MLP(nn.Module):
    @nn.compact
    def __call__(self, x):
        for width in (128, 128):
            x = nn.relu(nn.Dense(width, kernel_init=nn.initializers.he_normal())(x))
        return nn.Dense(10)(x)


def fit(params, optimizer, x, y, *, epochs, batch_size, outputs=None):
    outputs = outputs or (lambda params, x: model.apply({"params": params}, x))

    def loss(params, x, y):
        losses = optax.softmax_cross_entropy_with_integer_labels(outputs(params, x), y)
        return losses.mean()

    @jax.jit
    def step(params, opt_state, x, y):
        value, grads = jax.value_and_grad(loss)(params, x, y)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, value

    opt_state, order = optimizer.init(params), np.random.default_rng(0)
    for _ in range(epochs):
        for batch in order.permutation(len(x)).reshape(-1, batch_size):
            params, opt_state, value = step(params, opt_state, x[batch], y[batch])
        if not np.isfinite(value):
            raise FloatingPointError(f"the loss is {value}")
    return params


def accuracy_of(params):
    outputs = model.apply({"params": params}, faint[test])
    return float((outputs.argmax(-1) == y[test]).mean())


def save(name, params):
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(pathlib.Path(name).absolute(), params, force=True)


def load(name, like):
    with ocp.StandardCheckpointer() as checkpointer:
        return checkpointer.restore(pathlib.Path(name).absolute(), like)


data = load_digits()
x, y = (data.data / 16).astype(np.float32), data.target
noise = 0.1 * np.random.default_rng(0).normal(size=x.shape)
faint = (0.25 + 0.5 * x + noise).astype(np.float32)
few, test = slice(1000, 1040), slice(1100, None)

model = MLP()
fresh = model.init(jax.random.key(0), x[:1])["params"]
trained = fit(fresh, optax.adam(1e-3), x[:1000], y[:1000], epochs=30, batch_size=50)
save("digits", trained)
start = load("digits", jax.tree.map(ocp.utils.to_shape_dtype_struct, fresh))


def labels(params, head, rest):
    return {name: head if name == "Dense_2" else rest for name in params}


speeds = {"slow": optax.adam(3e-4), "fast": optax.adam(3e-3)}
by_layer = optax.multi_transform(speeds, lambda params: labels(params, "fast", "slow"))
parts = {"frozen": optax.set_to_zero(), "trained": optax.adam(3e-3)}
head_only = optax.multi_transform(parts, lambda params: labels(params, "trained", "frozen"))
RANK = 4


def init_factors(key):
    kernels = {p: w for p, w in traverse_util.flatten_dict(start).items() if p[-1] == "kernel"}
    keys = jax.random.split(key, len(kernels))
    return {
        path: {
            "a": jax.random.normal(key, (w.shape[0], RANK)) / np.sqrt(w.shape[0]),
            "b": jnp.zeros((RANK, w.shape[1])),
        }
        for key, (path, w) in zip(keys, kernels.items(), strict=True)
    }


def merge(factors):
    flat = dict(traverse_util.flatten_dict(start))
    for path, factor in factors.items():
        flat[path] = flat[path] + factor["a"] @ factor["b"]
    return traverse_util.unflatten_dict(flat)


ways = {
    "from scratch": (fresh, optax.adam(3e-3), None),
    "all parameters": (start, optax.adam(1e-3), None),
    "rates by layer": (start, by_layer, None),
    "head only": (start, head_only, None),
    "LoRA": (
        init_factors(jax.random.key(1)),
        optax.adam(3e-3),
        lambda factors, x: model.apply({"params": merge(factors)}, x),
    ),
}
accuracy = {}
for name, (params, optimizer, outputs) in ways.items():
    params = fit(params, optimizer, faint[few], y[few], epochs=40, batch_size=20, outputs=outputs)
    accuracy[name] = accuracy_of(merge(params) if name == "LoRA" else params)
    print(f"{name:15} accuracy {accuracy[name]:.3f}")

print(f"LoRA trains {sum(p.size for p in jax.tree.leaves(params))} of ", end="")
print(f"{sum(p.size for p in jax.tree.leaves(start))} parameters")
save("faint", merge(params))
again = load("faint", jax.tree.map(ocp.utils.to_shape_dtype_struct, fresh))
assert np.isclose(accuracy_of(again), accuracy["LoRA"])
assert accuracy["LoRA"] > accuracy["from scratch"] + 0.05
