"""The figures of a trained model. Training and evaluation share it, so they say the same."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxopt_course.data import scale_features
from jaxopt_course.metrics import r2_score
from jaxopt_course.training import Bundle, evaluate, predict

from ._setup import make_task


def score_bundle(
    bundle: Bundle, parts: dict[str, tuple[np.ndarray, np.ndarray]]
) -> dict[str, dict[str, Any]]:
    """Loss and metrics over each of ``parts``, pairs of inputs as measured, and targets."""
    task = make_task(bundle.model, bundle.input_shape, bundle.problem)
    params, model_state = jax.tree.map(jnp.asarray, (bundle.params, bundle.model_state))
    figures: dict[str, dict[str, Any]] = {}
    for name, (inputs, targets) in parts.items():
        if bundle.scaler is not None:
            inputs = np.asarray(scale_features(bundle.scaler, inputs))
        means = evaluate(task, params, model_state, inputs, targets)
        figures[name] = {"rows": len(inputs), "loss": means.pop("loss"), **means}
        if bundle.problem == "regression":
            outputs = predict(task, params, model_state, inputs)
            figures[name]["r2_score"] = float(r2_score(outputs, jnp.asarray(targets)))
    return figures
