"""A training that reports every epoch to MLflow, and stops by a metric of the host, by hand."""

import os

import flax.linen as nn
import jax
import jax.numpy as jnp
import mlflow
import numpy as np
import optax
import sklearn.datasets
import sklearn.metrics
from sklearn.model_selection import train_test_split


inputs, targets = sklearn.datasets.load_digits(return_X_y=True)
inputs = (inputs / 16).astype(np.float32)
rest, test = train_test_split(np.arange(1797), test_size=0.2, stratify=targets, random_state=0)
train, held_out = train_test_split(rest, test_size=0.25, stratify=targets[rest], random_state=0)


class MLP(nn.Module):
    """One hidden layer."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(10)(nn.relu(nn.Dense(64)(x)))


model, batch_size, patience = MLP(), 64, 5
schedule = optax.linear_schedule(1e-2, 0.0, 500)
optimizer = optax.adamw(schedule)


def loss_of(params, x, y, weights):
    logits = model.apply(params, x)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, y)
    right = jnp.argmax(logits, -1) == y
    mean = lambda values: jnp.sum(weights * values) / jnp.sum(weights)
    return mean(losses), mean(right)


@jax.jit
def step(params, opt_state, x, y, weights):
    (loss, accuracy), grads = jax.value_and_grad(loss_of, has_aux=True)(params, x, y, weights)
    updates, opt_state = optimizer.update(grads, opt_state, params)
    params = optax.apply_updates(params, updates)
    means = {"loss": loss, "accuracy": accuracy, "gradient_norm": optax.tree.norm(grads)}
    return params, opt_state, means


@jax.jit
def evaluate(params, x, y):
    loss, accuracy = loss_of(params, x, y, jnp.ones(len(x)))
    return jax.nn.softmax(model.apply(params, x)), loss, accuracy


os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
mlflow.set_tracking_uri("file:mlruns")
mlflow.set_experiment("digits")
init_key, order_key = jax.random.split(jax.random.key(1))
params = model.init(init_key, inputs[:1])
opt_state = optimizer.init(params)
best, best_params, waited, done, kappas = -np.inf, params, 0, 0, []
with mlflow.start_run() as tracked:
    for epoch in range(20):
        order = np.array(jax.random.permutation(jax.random.fold_in(order_key, epoch), train))
        totals, seen = {}, 0
        for begin in range(0, len(order), batch_size):
            rows = order[begin : begin + batch_size]
            count = len(rows)
            rows = np.resize(rows, batch_size)  # the ragged last batch, padded
            weights = (np.arange(batch_size) < count).astype(np.float32)
            params, opt_state, means = step(params, opt_state, inputs[rows], targets[rows], weights)
            for name, mean in means.items():
                totals[name] = totals.get(name, 0) + count * float(mean)
            seen, done = seen + count, done + 1
        row = {name: total / seen for name, total in totals.items()}
        probabilities, loss, accuracy = evaluate(params, inputs[held_out], targets[held_out])
        probabilities = np.array(probabilities, np.float64)
        probabilities /= probabilities.sum(-1, keepdims=True)
        row |= {
            "learning_rate": float(schedule(done - 1)),
            "validation_loss": float(loss),
            "validation_accuracy": float(accuracy),
            "validation_roc_auc": sklearn.metrics.roc_auc_score(
                targets[held_out], probabilities, multi_class="ovr"
            ),
            "validation_kappa": sklearn.metrics.cohen_kappa_score(
                targets[held_out], probabilities.argmax(-1)
            ),
        }
        mlflow.log_metrics(row, step=done)
        kappas.append(row["validation_kappa"])
        if row["validation_kappa"] > best:
            best, best_params, waited = row["validation_kappa"], params, 0
        else:
            waited += 1
        if waited == patience:
            break
print(done, row)
client = mlflow.MlflowClient()
stored = client.get_metric_history(tracked.info.run_id, "validation_kappa")
assert np.allclose([metric.value for metric in stored], kappas)
assert max(kappas) > 0.9
