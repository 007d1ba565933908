"""A table with categories, gaps and dates, from Python and from the command line."""

import json
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pyarrow.csv

import jaxopt_course as jc


# Flow, color and age decide whether a pump fails. A tenth of the flows and colors is missing.
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

# From Python: the encoder learns medians, categories and dates from the training rows alone.
table = jc.data.open_table("table", "pumps.csv")
targets = jc.data.table_targets(table, ["state"])
key = jax.random.key(0)
parts = jc.data.split(key, n, validation=0.15, test=0.2, stratify=targets.values)
encoder = jc.data.TableEncoder.fit(table, ["flow", "color", "built"], parts.train)
inputs = encoder.transform(table)
scaler = jc.data.fit_scaler(inputs[parts.train])
model = {"name": "MLP", "config": {"outputs": 1, "hidden": [32], "dropout": 0.2}}
net, problem = jc.nn.MLP(**model["config"]), jc.problems.problem(targets.problem)
task = jc.linen_task(net, inputs[:1], problem)
data = jc.data.scale_features(scaler, inputs), targets.values
rows = jc.Rows(parts.train, validation=parts.validation)
run = jc.fit(task, jc.adamw(1e-2), data, key=key, rows=rows, epochs=20, batch_size=64)
best = run.best_params, run.best_model_state
kind = inputs.shape[1:], targets.problem
bundle = jc.training.Bundle(model, *kind, *best, scaler, targets.names, encoder)
jc.training.save_bundle("pumps.bundle", bundle)
labels = jc.training.apply_bundle(bundle, encoder.transform(table.take(parts.test))).labels
accuracy = np.mean(labels == columns["state"][parts.test])

# The same from the command line, and every class's probability for each row, by the pump's name.
program = [sys.executable, "-m", "jaxopt_course"]
train = ["train", "pumps.csv", "--target", "state", "--drop", "pump", "--out", "runs/pumps"]
evaluate = ["evaluate", "pumps.csv", "--run", "runs/pumps", "--id", "pump", "--json"]
for command in (train, evaluate):
    answer = subprocess.run([*program, *command], check=True, capture_output=True).stdout
command_line = json.loads(pathlib.Path("runs/pumps/run.json").read_text())["figures"]["test"]
print(f"accuracy {accuracy:.3f}; of the command line {command_line['accuracy']:.3f}")
print(f"probability that p0 fails: {json.loads(answer)['probability_failed'][0]:.2f}")
assert min(accuracy, command_line["accuracy"]) > 0.75
