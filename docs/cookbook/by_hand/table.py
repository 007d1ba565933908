"""The same table with scikit-learn, Flax, optax and Orbax; it has no command line."""

import functools
import json
import pathlib

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pyarrow.csv
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import OneHotEncoder


random, n = np.random.default_rng(0), 2000
flow, color = random.normal(size=n), random.choice(["red", "green", "blue"], n)
age = random.integers(0, 1500, n)
risk = 2 * flow + 2.5 * (color == "red") - 1.5 * (color == "blue") + age / 500 - 2
missing = random.random((2, n)) < 0.1
columns = {
    "pump": np.array([f"p{i}" for i in range(n)]),
    "flow": np.where(missing[0], None, flow),
    "color": np.where(missing[1], None, color),
    "built": np.datetime64("2024-06-01") - age,
    "state": np.where(risk + random.logistic(size=n) > 0, "failed", "good"),
}
pyarrow.csv.write_csv(pyarrow.table({k: x.tolist() for k, x in columns.items()}), "pumps.csv")

options = pyarrow.csv.ConvertOptions(strings_can_be_null=True)
table = pyarrow.csv.read_csv("pumps.csv", convert_options=options)
classes, targets = np.unique(table["state"].to_numpy(), return_inverse=True)
rows = np.arange(n)
pool, test = train_test_split(rows, test_size=0.2, stratify=targets, random_state=0)
train, validation = train_test_split(
    pool, test_size=0.15 / 0.8, stratify=targets[pool], random_state=0
)

# One-hot categories, medians with an indicator, dates as days and waves, by the training rows.
transformer = ColumnTransformer(
    [
        ("flow", SimpleImputer(strategy="median", add_indicator=True), [0]),
        ("color", OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=2), [1]),
    ],
    sparse_threshold=0,
)


def raw_columns(table):
    flow = table["flow"].to_numpy().astype(object)
    color = np.array(table["color"].to_pylist(), object)
    return np.stack([flow, color], axis=1)


def date_columns(table):
    days = table["built"].to_numpy().astype("datetime64[D]").astype(float)
    phases = [2 * np.pi * days / period for period in (365.2425, 7)]
    return np.stack([days - origin, *(f(x) for x in phases for f in (np.sin, np.cos))], axis=1)


origin = table["built"].to_numpy()[train].min().astype("datetime64[D]").astype(float)
transformer.fit(raw_columns(table)[train])
encoded = np.concatenate([transformer.transform(raw_columns(table)), date_columns(table)], axis=1)
encoded = encoded.astype(np.float64)
mean, scale = encoded[train].mean(0), encoded[train].std(0)
scale[scale == 0] = 1
inputs = ((encoded - mean) / scale).astype(np.float32)


class Net(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        x = nn.Dropout(0.2, deterministic=not train)(nn.relu(nn.Dense(32)(x)))
        return nn.Dense(1)(x)[:, 0]


net, optimizer = Net(), optax.adamw(1e-2)
key = jax.random.key(0)
params = net.init(key, inputs[:1], train=False)
state = optimizer.init(params)


@functools.partial(jax.jit, donate_argnums=(0, 1))
def step(params, state, x, y, weights, key):
    def loss(params):
        logits = net.apply(params, x, train=True, rngs={"dropout": key})
        losses = optax.sigmoid_binary_cross_entropy(logits, y)
        return (weights * losses).sum() / weights.sum()

    updates, state = optimizer.update(jax.grad(loss)(params), state, params)
    return optax.apply_updates(params, updates), state


@jax.jit
def validation_loss(params):
    logits = net.apply(params, inputs[validation], train=False)
    return optax.sigmoid_binary_cross_entropy(logits, targets[validation]).mean()


best, lowest = jax.tree.map(jnp.copy, params), np.inf
for epoch in range(20):
    order = np.random.default_rng(epoch).permutation(train)
    order = np.concatenate([order, np.full(-len(order) % 64, -1)])  # -1 fills the last batch
    for i, batch in enumerate(order.reshape(-1, 64)):
        step_key = jax.random.fold_in(jax.random.fold_in(key, epoch), i)
        weights = (batch >= 0).astype(np.float32)
        params, state = step(params, state, inputs[batch], targets[batch], weights, step_key)
    if (now := float(validation_loss(params))) < lowest:
        best, lowest = jax.tree.map(jnp.copy, params), now

# The model, and the encoding as JSON, so that no pickle is loaded.
folder = pathlib.Path("model").absolute()
with ocp.StandardCheckpointer() as checkpointer:
    checkpointer.save(folder / "params", best, force=True)
one_hot = transformer.named_transformers_["color"]
encoding = {
    "median": transformer.named_transformers_["flow"].statistics_.tolist(),
    "colors": one_hot.categories_[0].tolist(),
    "origin": float(origin),
    "mean": mean.tolist(),
    "scale": scale.tolist(),
    "classes": classes.tolist(),
}
(folder / "encoding.json").write_text(json.dumps(encoding))

with ocp.StandardCheckpointer() as checkpointer:
    restored = checkpointer.restore(folder / "params", best)
probabilities = jax.nn.sigmoid(net.apply(restored, inputs, train=False))
predicted = classes[(np.asarray(probabilities) > 0.5).astype(int)]
accuracy = np.mean(predicted[test] == columns["state"][test])
print(f"accuracy {accuracy:.3f}")
print(f"probability that p0 fails: {1 - probabilities[0]:.2f}")
assert accuracy > 0.75
