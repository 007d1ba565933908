"""A training that reports every evaluation to MLflow, and stops by a metric of the host."""

import os

import jax
import jax.numpy as jnp
import mlflow
import sklearn.metrics

import jaxopt_course as jc


digits = jc.data.digits()
parts = jc.data.split(jax.random.key(0), 1797, validation=0.2, test=0.2, stratify=digits.targets)
rows = jc.Rows(parts.train, validation=parts.validation)
model = jc.nn.MLP(outputs=10, hidden=(64,))
task = jc.linen_task(model, digits.inputs[:1], jc.problems.problem("multiclass"))
task = jc.tasks.with_metrics(task, {"roc_auc": jc.metrics.roc_auc})  # compiled with the training
inputs, targets = digits.inputs[parts.validation], digits.targets[parts.validation]


def kappa(evaluation):
    """A metric that only scikit-learn has."""
    outputs = jc.predict(task, evaluation.params, evaluation.model_state, inputs)
    labels = jnp.argmax(outputs, axis=-1)
    return sklearn.metrics.cohen_kappa_score(targets, labels)


def track(evaluation):
    """Report one evaluation; W&B takes the same two arguments: wandb.log(row, step=step)."""
    own = {"validation_kappa": kappa(evaluation)}
    mlflow.log_metrics(evaluation.row | own, step=evaluation.step)
    return own


os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"  # a folder instead of a database
mlflow.set_tracking_uri("file:mlruns")
mlflow.set_experiment("digits")
with mlflow.start_run() as tracked:
    run = jc.fit(
        task,
        jc.adamw(jc.schedules.linear_schedule(1e-2, 0.0, 500)),
        digits,
        key=jax.random.key(1),
        epochs=20,
        batch_size=64,
        rows=rows,
        track=("learning_rate", "gradient_norm"),
        on_evaluation=track,
        early_stopping=jc.EarlyStopping(5, monitor="validation_kappa", mode="max"),
        progress=False,
    )
print(run)
client, name = mlflow.MlflowClient(), tracked.info.run_id
stored = [metric.value for metric in client.get_metric_history(name, "validation_kappa")]
assert jnp.allclose(jnp.array(stored), run.history["validation_kappa"][: len(stored)])
assert max(stored) > 0.9
